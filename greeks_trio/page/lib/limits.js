// The limits of alerts.toml with their states: read from the interface, and changed at once
// by the messages of the stream.

import { computed, effect, signal } from "../vendor/preact.js";
import { getItems, needsLogin } from "./api.js";
import { serverNow } from "./clock.js";
import { alerts, link } from "./live.js";
import { status } from "./status.js";

const EVERY_MS = 30_000;
const SOON_MS = 200;
// The service looks at least once a minute (GREEKS_ALERTS_INTERVAL_S).
const NOT_WATCHED_S = 90;

/** How bad a breach is, as the levels of badges and notices. */
export const SEVERITY_LEVELS = { critical: "critical", warning: "warn", info: "info" };

/** `{rows, at, error, isLoading}`: the answer of `/v1/alerts`; the last one stays through an error. */
export const limitsRead = signal({ rows: null, at: null, error: null, isLoading: true });

let isReading = false;
let isWanted = false;
let soon;

/** Read the limits now, or again after the reading that is under way. */
export async function readLimits() {
  isWanted = isReading;
  if (isReading) return;
  isReading = true;
  try {
    limitsRead.value = { rows: await getItems("/v1/alerts"), at: serverNow(), error: null, isLoading: false };
  } catch (error) {
    limitsRead.value = { ...limitsRead.peek(), error, isLoading: false };
  }
  isReading = false;
  if (isWanted) readLimits();
}

/** Read the limits at intervals and after each message, as long as the page is open. */
export function followLimits() {
  effect(() => {
    alerts.value;
    clearTimeout(soon);
    // Messages come together.
    if (link.value.state === "live") soon = setTimeout(readLimits, SOON_MS);
  });
  setInterval(() => document.hidden || needsLogin.peek() || readLimits(), EVERY_MS);
}

/** The rules with their states.  A message that is newer than the reading counts. */
export const limits = computed(() => {
  const { rows } = limitsRead.value;
  return rows?.map((row) => {
    const message = alerts.value.find((each) => each.rule === row.rule);
    if (!message || message.kind === "ended" || Date.parse(message.at) <= Date.parse(row.evaluated_at)) return row;
    return { ...row, state: message.to_state, since: message.at, value: message.value ?? row.value, reason: message.message };
  });
});

/** The service's time of the last look at any rule; `null` without rules. */
export const lookedAt = computed(() => {
  const times = (limitsRead.value.rows ?? []).map((row) => Date.parse(row.evaluated_at));
  return times.length ? Math.max(...times) : null;
});

/** Whether no service watches the limits, so that their states are old. */
export const isUnwatched = computed(() => {
  const isLate = lookedAt.value !== null && (limitsRead.value.at - lookedAt.value) / 1000 > NOT_WATCHED_S;
  return isLate || (status.value?.conditions["limits not watched"] ?? 0) > 0;
});

/**
 * Return the bounds of a comparison such as `above 500` or `outside -20,000 to 20,000`.
 * @returns {{low: number, high: number}} Infinite where there is no bound.
 */
export function boundsOf(threshold) {
  const [first, second] = (threshold.match(/-?[\d.,]+(?:e[+-]?\d+)?/g) ?? []).map((text) => Number(text.replaceAll(",", "")));
  if (threshold.startsWith("above")) return { low: -Infinity, high: first };
  if (threshold.startsWith("below")) return { low: first, high: Infinity };
  return { low: first, high: second };
}
