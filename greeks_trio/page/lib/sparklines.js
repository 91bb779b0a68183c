// The prices of the last hour, for the rows that are visible.

import { signal, useEffect } from "../vendor/preact.js";
import { getJson } from "./api.js";

const MINUTES = 60;
const POINTS = 30;
const MOST_BRIDGED = 4;
const REFRESH_MS = 60_000;
const RETRY_MS = 10_000;
// Rows come and go while a list is scrolled.
const SOON_MS = 250;
const MOST_SERIES = 60;
// The address of a request has 8 KiB at most.
const MOST_CHARACTERS = 6000;
const MOST_KEPT = 3000;

/** Map of row id to a signal of `{values, at}`. */
const lines = new Map();
/** Map of row id to `{row, users}` of the rows that are visible. */
const visible = new Map();
let timer;
let isReading = false;

/**
 * Return the prices of the last hour, one for each interval; `null` until they are read.
 * The row is read for as long as the component is there.
 */
export function usePriceLine(row) {
  useEffect(() => {
    const entry = visible.get(row.id) ?? { row, users: 0 };
    entry.users += 1;
    visible.set(row.id, entry);
    readSoon(SOON_MS);
    return () => {
      entry.users -= 1;
      if (entry.users === 0) visible.delete(row.id);
    };
  }, [row]);
  return lineOf(row.id).value.values;
}

/**
 * Return the prices with the present one at the end.  Short times without a tick are bridged,
 * so that a contract whose ticks come in turns has a line; longer ones stay open.
 */
export function withPresent(values, price) {
  const points = [...values.slice(0, -1), price ?? values.at(-1)];
  let last = -1;
  for (let at = 0; at < points.length; at += 1) {
    if (points[at] === null) continue;
    const steps = at - last;
    if (last >= 0 && steps > 1 && steps <= MOST_BRIDGED) {
      for (let step = 1; step < steps; step += 1) points[last + step] = points[last] + ((points[at] - points[last]) * step) / steps;
    }
    last = at;
  }
  return points;
}

function lineOf(id) {
  let line = lines.get(id);
  if (line === undefined) {
    line = signal({ values: null, at: -Infinity });
    lines.set(id, line);
  }
  return line;
}

function readSoon(ms) {
  clearTimeout(timer);
  timer = setTimeout(readDue, ms);
}

async function readDue() {
  if (isReading) return;
  isReading = true;
  let pause = REFRESH_MS / 4;
  try {
    if (!document.hidden) for (const part of parts(dueRows())) await readPart(part);
    if (dueRows().length) pause = SOON_MS;
  } catch {
    // The notices say that the database or the service is away; the old lines stay.
    pause = RETRY_MS;
  }
  isReading = false;
  forgetOld();
  if (visible.size) readSoon(pause);
}

function dueRows() {
  const limit = performance.now() - REFRESH_MS;
  return [...visible.values()].map(({ row }) => row).filter((row) => lineOf(row.id).peek().at < limit);
}

function parts(rows) {
  const found = [];
  let length = 0;
  for (const row of rows) {
    const name = encodeURIComponent(nameOfSeries(row));
    if (!found.length || length + name.length > MOST_CHARACTERS || found.at(-1).length === MOST_SERIES) {
      found.push([]);
      length = 0;
    }
    found.at(-1).push(row);
    length += name.length + 3;
  }
  return found;
}

// An OCC symbol needs no spaces; those of other keys have a meaning.
function nameOfSeries({ broker, account_id: account, contract_key: key }) {
  return `${broker}:${account}:${/^\S+ *\d{6}[CP]\d{8}$/.test(key) ? key.replace(/ /g, "") : key}`;
}

async function readPart(rows) {
  const series = rows.map(nameOfSeries).join(",");
  const answer = await getJson("/v1/greeks/sparklines", { minutes: MINUTES, points: POINTS, series });
  const at = performance.now();
  answer.series.forEach(({ values }, place) => {
    lineOf(rows[place].id).value = { values, at };
  });
}

function forgetOld() {
  if (lines.size < MOST_KEPT) return;
  for (const id of lines.keys()) if (!visible.has(id)) lines.delete(id);
}
