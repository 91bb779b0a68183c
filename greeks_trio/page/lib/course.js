// The course of the latency while the page is open.

import { signal } from "../vendor/preact.js";
import { serverNow } from "./clock.js";
import { link, slo } from "./live.js";

const EVERY_MS = 5000;
// Half an hour.
const MOST_POINTS = 360;

/** `{at, durable, table}`: lists of the seconds since 1970 and the p95 in milliseconds. */
export const course = signal({ at: [], durable: [], table: [] });

/** Note the latency every few seconds, as long as the page is open. */
export function followLatency() {
  setInterval(() => {
    const isKnown = link.value.state === "live" && slo.value !== null;
    const { last_minute: durable, to_commit: table } = isKnown ? slo.value.latency_ms : {};
    const { at, durable: before, table: beforeTable } = course.peek();
    course.value = {
      at: extended(at, serverNow() / 1000),
      durable: extended(before, durable?.p95 ?? null),
      table: extended(beforeTable, table?.last_minute.p95 ?? null),
    };
  }, EVERY_MS);
}

function extended(values, value) {
  return [...values.slice(-MOST_POINTS + 1), value];
}
