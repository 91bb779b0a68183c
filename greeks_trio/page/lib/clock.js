// The time of the service.  Every age on the page is by the service's clock, because the
// clock of the browser may be wrong.

import { computed, signal } from "../vendor/preact.js";

/** Milliseconds to add to this browser's clock, for the time of the service. */
const offsetMs = signal(0);
let precisionMs = Infinity;
let notedAt = -Infinity;

/** The service's time in milliseconds, anew every second; for ages. */
export const now = signal(Date.now());

/** Seconds by which this browser's clock is ahead of the service's, rounded. */
export const browserAheadS = computed(() => Math.round(-offsetMs.value / 1000));

/**
 * Compare the clocks.  A more precise time wins; it is forgotten after a minute.
 * @param {string | null} text The service's time.
 * @param {number} resolutionMs The precision of the text.
 */
export function noteServerTime(text, resolutionMs) {
  const theirs = Date.parse(text ?? "");
  if (Number.isNaN(theirs)) return;
  const elapsed = performance.now() - notedAt;
  if (resolutionMs > precisionMs && elapsed < 60_000) return;
  const difference = theirs + resolutionMs / 2 - Date.now();
  precisionMs = resolutionMs;
  notedAt = performance.now();
  // The way of the text here takes time too: small differences say nothing.
  offsetMs.value = Math.abs(difference) < 1000 + resolutionMs ? 0 : difference;
}

/** Return the service's time in milliseconds. */
export function serverNow() {
  return Date.now() + offsetMs.peek();
}

/** Advance `now` every second, as long as the page is open. */
export function startClock() {
  setInterval(() => {
    now.value = serverNow();
  }, 1000);
}
