// The newest values of every contract that is held or watched.  The list comes from
// `/v1/greeks/latest`, the changes from the stream.

import { computed, signal } from "../vendor/preact.js";
import { getItems } from "./api.js";
import { now, serverNow } from "./clock.js";

/** The values that a tick may lack; the last known one then stays and counts as carried. */
export const MEASURES = ["delta", "gamma", "theta", "vega", "rho", "implied_volatility", "price"];

const RELOAD_MS = 60_000;
const SOON_MS = 2000;
// The points of a sparkline that the page itself has seen.
const MOST_POINTS = 60;

/** Map of `contractId` to row.  The rows change in place; `revision` says that some did. */
export const contracts = new Map();
export const revision = signal(0);

/** `loading`, `ready`, or the error of the last reading. */
export const contractsState = signal("loading");

/** Seconds after which a contract without a tick is stale; from the service's status. */
export const staleAfterS = signal(300);

let isDrawing = false;
let reloading;
let timer;

/** Return the key of a row: one contract of one account at one broker. */
export function contractId(row) {
  return `${row.broker}|${row.account_id}|${row.contract_key}`;
}

/** Read the list again now; the next reading follows after a minute. */
export async function reloadContracts() {
  clearTimeout(timer);
  reloading?.abort();
  const abort = new AbortController();
  reloading = abort;
  try {
    const items = await getItems("/v1/greeks/latest", {}, { abort: abort.signal });
    replaceRows(items);
    contractsState.value = "ready";
  } catch (error) {
    if (error.name === "AbortError") return;
    contractsState.value = error;
  }
  timer = setTimeout(reloadContracts, contractsState.peek() === "ready" ? RELOAD_MS : SOON_MS);
}

function replaceRows(items) {
  const present = new Set();
  for (const item of items) {
    const id = contractId(item);
    present.add(id);
    const row = contracts.get(id);
    if (row === undefined) contracts.set(id, newRow(id, item));
    else if (!isLater(row.received_at, item.received_at)) Object.assign(row, item);
    else Object.assign(row, definition(item));
  }
  for (const id of contracts.keys()) if (!present.has(id)) contracts.delete(id);
  draw();
}

function newRow(id, item) {
  return { id, points: [], changedAt: 0, ...item };
}

// What a tick does not change.
function definition({ kind, multiplier, currency, price_factor, quantity, exchange, instrument_id }) {
  return { kind, multiplier, currency, price_factor, quantity, exchange, instrument_id };
}

/** Take ticks of the stream.  A contract that is not in the list yet brings a new reading. */
export function addTicks(ticks) {
  for (const tick of ticks) {
    const row = contracts.get(contractId(tick));
    if (row === undefined) {
      readSoon();
      continue;
    }
    if (isLater(row.received_at, tick.received_at)) continue;
    addTick(row, tick);
  }
  if (ticks.length) draw();
}

function addTick(row, tick) {
  for (const name of MEASURES) {
    const isMissing = tick[name] === null;
    row[`carried_${name}`] = isMissing && row[name] !== null;
    if (!isMissing) row[name] = tick[name];
  }
  // A price of another contract may be the newer one.
  if (tick.underlying_price !== null && !isLater(row.underlying_price_at, tick.underlying_price_at)) {
    row.underlying_price = tick.underlying_price;
    row.underlying_price_at = tick.underlying_price_at;
    row.underlying_price_source = null;
  }
  row.event_time = tick.event_time;
  row.received_at = tick.received_at;
  row.quantity = tick.quantity;
  row.bid = tick.bid;
  row.ask = tick.ask;
  row.availability = tick.availability;
  row.in_rotation = tick.in_rotation;
  row.changedAt = serverNow();
  if (row.price !== null) row.points.splice(0, Math.max(0, row.points.push(row.price) - MOST_POINTS));
}

// Texts of times do not sort: the fraction of a second is left out where it is zero.
function isLater(one, other) {
  return Date.parse(one) > Date.parse(other);
}

/** Return seconds since the newest tick of the row was received; `null` without a tick. */
export function ageS(row, at = now.value) {
  return row.received_at === null ? null : Math.max(0, (at - Date.parse(row.received_at)) / 1000);
}

/** Return why the row is stale, in the words of the service; `null` if it is fresh. */
export function staleReason(row, at = now.value) {
  const age = ageS(row, at);
  if (age === null) return "no tick";
  if (age > staleAfterS.value) return "old";
  return row.availability === "realtime" ? null : row.availability;
}

/** The rows as a list, made anew after each change. */
export const rows = computed(() => {
  revision.value;
  return [...contracts.values()];
});

function readSoon() {
  clearTimeout(timer);
  timer = setTimeout(reloadContracts, SOON_MS);
}

// Many events come at a time; the page draws them together, in the next frame.  A hidden
// page gets no frames, and draws when it is seen again.
function draw() {
  if (isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    revision.value += 1;
  });
}
