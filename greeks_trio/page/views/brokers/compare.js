// How the values of two brokers are compared.

import { MEASURES } from "../../lib/format.js";

// IBKR gives Greeks with three decimals and prices in cents.  At twenty times half of that
// step, the rounding alone makes a difference of 5 %; below, it would make any.
const GREEK_FLOOR = 0.01;
const PRICE_FLOOR = 0.1;

/** The measures that both brokers give: the column of the interface and the least divisor. */
export const COMPARED = [
  { id: "delta", floor: GREEK_FLOOR },
  { id: "gamma", floor: GREEK_FLOOR },
  { id: "theta", floor: GREEK_FLOOR },
  { id: "vega", floor: GREEK_FLOOR },
  { id: "rho", floor: GREEK_FLOOR },
  { id: "implied_volatility", floor: GREEK_FLOOR },
  { id: "price", floor: PRICE_FLOOR },
  { id: "underlying_price", floor: PRICE_FLOOR },
].map((each) => ({ ...each, measure: MEASURES[each.id] }));

/** The rule of `relative` in words. */
export const RULE =
  "A relative difference is the difference divided by the larger of the two values. The divisor is at least 0.01 (for volatility 1\u202f%), for prices at least 0.10: of smaller values, the rounding of IBKR alone would be more than 5\u202f%.";

/** Why thetas near the expiration differ. */
export const THETA =
  "Their thetas differ by definition: that of IBKR is the change of the value over the next calendar day, that of Tastytrade the derivative.";

/** The thresholds to choose from, in per cent. */
export const THRESHOLDS = [1, 2, 5, 10];
const USUAL_THRESHOLD = 5;

// Days to the expiration within which the two thetas differ by definition.
const NEAR_DAYS = 7;
const DAY_MS = 86_400_000;

/** Return the threshold of the address in per cent. */
export function thresholdOf(text) {
  const value = Number(text);
  return value > 0 && value <= 1000 ? value : USUAL_THRESHOLD;
}

/**
 * Return a row of `/v1/divergence` with its relative differences, as fractions.
 * `largest` is the measure with the largest one, `null` if nothing can be compared.
 */
export function compare(row) {
  const relative = Object.fromEntries(COMPARED.map(({ id, floor }) => [id, relativeDifference(row, id, floor)]));
  const known = COMPARED.filter(({ id }) => relative[id] !== null);
  const largest = known.reduce((most, each) => (most === null || relative[each.id] > relative[most.id] ? each : most), null);
  return { ...row, relative, largest, isStale: row.ibkr_is_stale || row.tastytrade_is_stale };
}

function relativeDifference(row, id, floor) {
  const difference = row[`${id}_difference`];
  if (difference === null) return null;
  return Math.abs(difference) / Math.max(Math.abs(row[`ibkr_${id}`]), Math.abs(row[`tastytrade_${id}`]), floor);
}

/** Return whether the thetas of the row differ by definition at this moment. */
export function isNearExpiration(row, at) {
  return row.expiration !== null && Date.parse(`${row.expiration}T21:00:00Z`) - at < NEAR_DAYS * DAY_MS;
}

/**
 * Return the summary of a measure over compared rows without a stale side:
 * `{id, measure, compared, median, p95, beyond, onlyIbkr, onlyTastytrade, neither}`.
 * @param {number} threshold A fraction.
 */
export function summarise({ id, measure }, rows, threshold) {
  const sizes = rows.map((row) => row.relative[id]).filter((size) => size !== null);
  sizes.sort((one, other) => one - other);
  const lacks = (row, broker) => row[`${broker}_${id}`] === null;
  return {
    id,
    measure,
    compared: sizes.length,
    median: quantile(sizes, 0.5),
    p95: quantile(sizes, 0.95),
    beyond: sizes.filter((size) => size > threshold).length,
    onlyIbkr: rows.filter((row) => lacks(row, "tastytrade") && !lacks(row, "ibkr")).length,
    onlyTastytrade: rows.filter((row) => lacks(row, "ibkr") && !lacks(row, "tastytrade")).length,
    neither: rows.filter((row) => lacks(row, "ibkr") && lacks(row, "tastytrade")).length,
  };
}

// Between the two next values, as percentile_cont of PostgreSQL does.
function quantile(sorted, part) {
  if (!sorted.length) return null;
  const place = part * (sorted.length - 1);
  const [low, high] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]];
  return low + (high - low) * (place - Math.floor(place));
}
