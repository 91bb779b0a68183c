// The state of a contract in words.

import { ageS, staleAfterS, staleReason } from "./contracts.js";
import { age, brokerName } from "./format.js";
import { isDown } from "./status.js";

/** Values that a row may carry from an older tick, with their names. */
const CARRIED = {
  delta: "delta",
  gamma: "gamma",
  theta: "theta",
  vega: "vega",
  rho: "rho",
  implied_volatility: "IV",
  price: "price",
};

const KINDS = { equity: "share", future: "future", other: "other", unknown: "not identified" };

/** Return what a row is, if it is no option; an empty text for an option. */
export function kindOf(row) {
  return KINDS[row.kind] ?? "";
}

/** Return why a row is stale, as a column of the interface; `null` if it is fresh. */
export function reasonOf(row, at) {
  if (row.isOther) return row.stale_reason;
  return staleReason(row, at) ?? (hasOldUnderlying(row, at) ? "underlying price" : null);
}

function hasOldUnderlying(row, at) {
  if (row.underlying_price === null || row.underlying_price_at === null) return false;
  return at - row.underlyingMs > staleAfterS.value * 1000;
}

/** Return whether a value is from an older tick than the newest. */
export function isCarried(row, name) {
  return row.isOther ? row.carried.includes(name === "price" ? "value" : name) : row[`carried_${name}`];
}

/** Return the names of the values that are from an older tick than the newest. */
export function carriedOf(row) {
  return Object.keys(CARRIED).filter((name) => isCarried(row, name)).map((name) => CARRIED[name]);
}

const STALE_WORDS = {
  "no tick": ["no tick yet", "No tick of this contract has come yet"],
  delayed: ["delayed data", "The broker sends delayed data, not those of this moment"],
  frozen: ["frozen data", "The broker sends the values of the last close"],
  unknown: ["real-time unknown", "The broker does not say whether the values are of this moment"],
  "underlying price": ["old underlying price", "The price of the underlying is too old"],
  "no price": ["no price", "No tick tells the price of this position"],
};

/**
 * Return the states of a row: `{id, level, text, title}`, worst first.
 * @param {number} at The service's time in milliseconds.
 */
export function statesOf(row, at) {
  return [...downState(row), ...staleState(row, at), ...kindStates(row), ...tickStates(row)];
}

/** Return a number by which rows are sorted: the worse the state, the larger. */
export function severityOf(row, at) {
  const worst = (isDown(row.broker) ? 8 : 0) + (reasonOf(row, at) === null ? 0 : 4) + (row.kind === "unknown" ? 4 : 0);
  return worst + (carriedOf(row).length ? 2 : 0) + (row.in_rotation || row.kind === "other" ? 1 : 0);
}

function downState(row) {
  if (!isDown(row.broker)) return [];
  return [state("down", "critical", "broker is down", `${brokerName(row.broker)} sends nothing at this moment`)];
}

function staleState(row, at) {
  const reason = reasonOf(row, at);
  if (reason === null) return [];
  const [text, title] = reason === "old" ? oldWords(row, at) : (STALE_WORDS[reason] ?? [reason, reason]);
  return [state("stale", "warn", text, `Stale. ${title}.`)];
}

function oldWords(row, at) {
  const text = `stale: ${age(ageS(row, at))} old`;
  return [text, `The newest tick is older than ${age(staleAfterS.value)}`];
}

function kindStates(row) {
  if (row.kind === "other") return [state("other", "info", "in no sum", "Neither option, share nor future: the service knows no Greeks and no price of it.")];
  if (row.kind === "unknown") return [state("unknown", "warn", "not identified", "The broker's entry was not understood. No sum includes this position.")];
  if (row.quantity === null) return [state("watched", "info", "watched", "On the watch-list; no account holds it.")];
  return [];
}

function tickStates(row) {
  const carried = carriedOf(row);
  return [
    ...(carried.length ? [state("carried", "info", `carried: ${carried.join(", ")}`, "The newest tick lacks these values; they are from an older one.")] : []),
    ...(row.in_rotation ? [state("rotation", "info", "in rotation", "The contract shares its market data line; its ticks come in turns.")] : []),
  ];
}

function state(id, level, text, title) {
  return { id, level, text, title };
}
