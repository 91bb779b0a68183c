// The newest values of every contract that is held or watched.  The list comes from
// `/v1/greeks/latest`, the changes from the stream.

import { computed, signal } from "../vendor/preact.js";
import { getItems } from "./api.js";
import { now, serverNow } from "./clock.js";

/** The values that a tick may lack; the last known one then stays and counts as carried. */
export const MEASURES = ["delta", "gamma", "theta", "vega", "rho", "implied_volatility", "price"];

const RELOAD_MS = 60_000;
const SOON_MS = 2000;
// A longer page of the list would hold up the drawing while it is decoded.
const PAGE_SIZE = 2000;
// The points of a sparkline that the page itself has seen.
const MOST_POINTS = 60;

/**
 * Map of `contractId` to row.  The rows change in place: `revision` says that some did,
 * `row.version` that this one did, and `membership` that rows have come or gone.
 */
export const contracts = new Map();
export const revision = signal(0);
export const membership = signal(0);

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
    const items = await getItems("/v1/greeks/latest", {}, { abort: abort.signal, pageSize: PAGE_SIZE });
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
  let hasNew = false;
  for (const item of items) {
    const id = contractId(item);
    present.add(id);
    const row = contracts.get(id);
    if (row === undefined) {
      contracts.set(id, newRow(id, item));
      hasNew = true;
      continue;
    }
    takeItem(row, isLater(row.received_at, item.received_at) ? definition(item) : item);
    noteUnits(row, item);
    row.version += 1;
  }
  const gone = [...contracts.keys()].filter((id) => !present.has(id));
  for (const id of gone) contracts.delete(id);
  if (hasNew || gone.length) membership.value += 1;
  draw();
}

function newRow(id, item) {
  const row = { id, points: [], changedAt: 0, version: 0 };
  takeItem(row, item);
  noteUnits(row, item);
  return row;
}

function takeItem(row, item) {
  Object.assign(row, item);
  noteTimes(row);
}

// The currency of one contract for 1.00 of its price: for an adjusted option it is not the
// multiplier, and only the value of the position tells it.
function noteUnits(row, { position_value: value, price, quantity }) {
  if (value && price && quantity) row.valueUnits = Number((value / (price * quantity)).toPrecision(12));
}

// As numbers, because ages of all rows are compared every second.
function noteTimes(row) {
  row.receivedMs = row.received_at === null ? null : Date.parse(row.received_at);
  row.oldestMs = row.received_at === null ? null : Math.min(row.receivedMs, Date.parse(row.event_time));
  row.underlyingMs = row.underlying_price_at === null ? null : Date.parse(row.underlying_price_at);
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
  noteTimes(row);
  row.changedAt = serverNow();
  row.version += 1;
  if (row.price !== null) row.points.splice(0, Math.max(0, row.points.push(row.price) - MOST_POINTS));
}

// Texts of times do not sort: the fraction of a second is left out where it is zero.
function isLater(one, other) {
  return Date.parse(one) > Date.parse(other);
}

/** Return seconds since the newest tick of the row was received; `null` without a tick. */
export function ageS(row, at = now.value) {
  return row.receivedMs === null ? null : Math.max(0, (at - row.receivedMs) / 1000);
}

/** Return why the row is stale, in the words of the service; `null` if it is fresh. */
export function staleReason(row, at = now.value) {
  if (row.receivedMs === null) return "no tick";
  if (at - row.oldestMs > staleAfterS.value * 1000) return "old";
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
