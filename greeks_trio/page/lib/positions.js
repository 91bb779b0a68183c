// The open positions, as `/v1/risk/positions` gives them.  The contracts have the live values of
// options; from here come the strategies, and the shares, futures and other positions.

import { signal, useEffect } from "../vendor/preact.js";
import { getItems } from "./api.js";
import { serverNow } from "./clock.js";
import { contractId, contracts } from "./contracts.js";

const PAUSE_MS = 10_000;
// A long list takes the service longer; it is read less often.
const PAUSE_TIMES = 10;
const PAGE_SIZE = 2000;

/** Map of `contractId` to the position as a row like those of the contracts. */
export const positions = new Map();
export const positionsRevision = signal(0);

/** `{at, error}` of the last reading; `at` is the service's time of the values. */
export const positionsState = signal({ at: null, error: null });

let users = 0;
let timer;
let abort;

/** Read the positions now and again, for as long as a view that needs them is shown. */
export function usePositions() {
  useEffect(() => {
    users += 1;
    if (users === 1) read();
    return () => {
      users -= 1;
      if (users === 0) stop();
    };
  }, []);
}

function stop() {
  clearTimeout(timer);
  abort.abort();
}

async function read() {
  const began = performance.now();
  abort = new AbortController();
  const { signal: aborted } = abort;
  try {
    if (!document.hidden) {
      replace(await getItems("/v1/risk/positions", {}, { abort: aborted, pageSize: PAGE_SIZE }));
      positionsState.value = { at: serverNow(), error: null };
    }
  } catch (error) {
    if (aborted.aborted) return;
    positionsState.value = { ...positionsState.peek(), error };
  }
  timer = setTimeout(read, Math.max(PAUSE_MS, PAUSE_TIMES * (performance.now() - began)));
}

function replace(items) {
  const present = new Set();
  for (const item of items) {
    const id = contractId(item);
    present.add(id);
    const old = positions.get(id);
    if (old === undefined) positions.set(id, newRow(id, item));
    else takeItem(old, item);
  }
  for (const id of [...positions.keys()]) if (!present.has(id)) positions.delete(id);
  positionsRevision.value += 1;
}

function newRow(id, item) {
  const row = { id, isOther: true, points: [], version: 0 };
  takeItem(row, item);
  return row;
}

function takeItem(row, item) {
  if (row.strategy_tag !== item.strategy_tag) row.words = undefined;
  Object.assign(row, item);
  row.receivedMs = item.received_at === null ? null : Date.parse(item.received_at);
  // A share or future moves as its price does; nothing else is known of other positions.
  row.delta = item.position_delta === null ? null : item.position_delta / (item.quantity * item.multiplier);
  row.version += 1;
}

/** Return the strategy of a row; `null` without one. */
export function strategyOf(row) {
  return positions.get(row.id)?.strategy_tag ?? null;
}

/** Return all rows: the contracts, and the positions that are no options. */
export function allRows() {
  const others = [...positions.values()].filter((row) => !contracts.has(row.id));
  return [...contracts.values(), ...others];
}
