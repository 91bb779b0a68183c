// The points of the volatility smile, from the live rows.  A value of a broker that is down is
// as stale as one that is too old.

import { staleReason } from "../../lib/contracts.js";
import { brokerName, number } from "../../lib/format.js";
import { isDown } from "../../lib/status.js";
import { currencyOf } from "./market.js";

const BROKERS = ["ibkr", "tastytrade"];
const MOST_AT_FIRST = 3;
const COLOURS = 6;

/** How to write a volatility. */
export const IV = { digits: 1, percent: true };
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const MARKERS = { ibkr: "circle", tastytrade: "square" };

/** Return a volatility as text; `step` is that between two labels of an axis. */
export function ivText(value, step = 1) {
  return number(value, step < 0.001 ? { ...IV, digits: 2 } : IV);
}

/** Return an expiration as text of few letters, with the year if it is another one. */
export function shortDay(expiration, year) {
  const text = DAY.format(new Date(`${expiration}T00:00:00Z`));
  return expiration.startsWith(year) ? text : `${text} ${expiration.slice(2, 4)}`;
}

/**
 * Return the smile of an underlying in a currency:
 * `{expirations: [{expiration, points, withoutIv, stale}], strikes}`.
 * A point is one contract at one broker, with its newest row.
 */
export function smileOf(rows, { underlying, currency }, at) {
  const newest = new Map();
  for (const row of rows) {
    if (row.underlying !== underlying || currencyOf(row) !== currency || row.strike === null || row.expiration === null) continue;
    const key = `${row.broker}|${row.contract_key}`;
    const other = newest.get(key);
    if (other === undefined || (row.receivedMs ?? 0) > (other.receivedMs ?? 0)) newest.set(key, row);
  }
  const expirations = new Map();
  for (const row of newest.values()) {
    if (!expirations.has(row.expiration)) expirations.set(row.expiration, { expiration: row.expiration, points: [], withoutIv: 0, stale: 0 });
    addPoint(expirations.get(row.expiration), row, at);
  }
  return [...expirations.values()].sort((one, other) => (one.expiration < other.expiration ? -1 : 1));
}

function addPoint(smile, row, at) {
  if (row.implied_volatility === null) {
    smile.withoutIv += 1;
    return;
  }
  const isStale = staleReason(row, at) !== null || isDown(row.broker);
  smile.stale += Number(isStale);
  smile.points.push({ strike: Number(row.strike), iv: row.implied_volatility, broker: row.broker, right: row.option_type, isStale });
}

/** Return the expirations that the address names, or the next ones with a smile. */
export function chosenExpirations(smiles, text) {
  const named = (text ?? "").split(",");
  const chosen = smiles.filter((each) => named.includes(each.expiration));
  if (chosen.length) return chosen;
  const withSmile = smiles.filter((each) => new Set(each.points.map((point) => point.strike)).size > 1);
  return (withSmile.length ? withSmile : smiles).slice(0, MOST_AT_FIRST);
}

/** Return the colour of an expiration: the same, whichever are chosen. */
export function colourOf(smiles, expiration) {
  return `--series-${(smiles.findIndex((each) => each.expiration === expiration) % COLOURS) + 1}`;
}

/** Return all strikes of the smiles, ascending. */
export function strikesOf(smiles) {
  return [...new Set(smiles.flatMap((each) => each.points.map((point) => point.strike)))].sort((one, other) => one - other);
}

/** Return the strike that is nearest to a price. */
export function nearestStrike(strikes, price) {
  if (price === null || price === undefined || !strikes.length) return null;
  return strikes.reduce((best, strike) => (Math.abs(strike - price) < Math.abs(best - price) ? strike : best));
}

/**
 * Return the series of a chart: for each expiration and broker a line through the options out
 * of the money, then the points of calls (filled) and puts (hollow).  Stale ones are crosses.
 */
export function seriesOf(chosen, { smiles, strikes, price, year }) {
  const series = [];
  for (const smile of chosen) {
    const colour = colourOf(smiles, smile.expiration);
    const name = shortDay(smile.expiration, year);
    const brokers = BROKERS.filter((broker) => smile.points.some((point) => point.broker === broker));
    brokers.forEach((broker, at) => {
      const points = smile.points.filter((point) => point.broker === broker);
      const common = { colour, format: ivText, strikes };
      series.push(line(points, { ...common, label: `${name} ${brokerName(broker)}`, price, dash: broker === "tastytrade" ? [5, 3] : undefined, endLabel: at === 0 ? name : undefined }));
      for (const right of ["call", "put"]) {
        const own = points.filter((point) => point.right === right);
        const marker = `${MARKERS[broker] ?? "circle"}${right === "put" ? "-open" : ""}`;
        series.push(...dots(own, { ...common, label: `${name} ${right} ${brokerName(broker)}`, marker }));
      }
    });
  }
  return series;
}

function line(points, { price, strikes, ...looks }) {
  // In the money, a volatility follows from little time value, and is less exact.
  const isOut = ({ right, strike }) => price === null || (right === "put" ? strike <= price : strike >= price);
  return { ...looks, spansGaps: true, values: valuesAt(strikes, points.filter((point) => isOut(point) && !point.isStale)) };
}

function dots(points, { strikes, marker, ...looks }) {
  const fresh = points.filter((point) => !point.isStale);
  const stale = points.filter((point) => point.isStale);
  const result = fresh.length ? [{ ...looks, marker, hasLine: false, values: valuesAt(strikes, fresh) }] : [];
  if (stale.length) result.push({ ...looks, label: `${looks.label}, stale`, marker: "cross", hasLine: false, values: valuesAt(strikes, stale) });
  return result;
}

function valuesAt(strikes, points) {
  const byStrike = new Map(points.map((point) => [point.strike, point.iv]));
  return strikes.map((strike) => byStrike.get(strike) ?? null);
}
