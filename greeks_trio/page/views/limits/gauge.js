// Where a value lies between its bounds.

import { html } from "../../vendor/preact.js";
import { boundsOf } from "../../lib/limits.js";
import { MINUS, NOTHING } from "../../lib/format.js";

// The part of the gauge beyond each bound.
const BEYOND = 0.2;

/** A gauge of 100 %: the values within the bounds are its middle. */
export function Gauge({ value, threshold, state }) {
  if (value === null) return html`<span class="none">${NOTHING}</span>`;
  const { low, high, least, most } = scaleOf(boundsOf(threshold), value);
  const place = (each) => 100 * Math.min(1, Math.max(0, (each - least) / (most - least)));
  const left = low === -Infinity ? 0 : place(low);
  const right = high === Infinity ? 100 : place(high);
  return html`<span class=${`gauge ${state}`} aria-hidden="true">
    <span class="within" style=${{ left: `${left}%`, width: `${right - left}%` }} />
    ${low > -Infinity && html`<span class="bound" style=${{ left: `${left}%` }} />`}
    ${high < Infinity && html`<span class="bound" style=${{ left: `${right}%` }} />`}
    <span class="needle" style=${{ left: `${place(value)}%` }} />
  </span>`;
}

function scaleOf({ low, high }, value) {
  const inner = [low, high, value, 0].filter(Number.isFinite);
  // With two bounds the scale stays as it is; a value far beyond one lies at the edge.
  const [from, to] = low > -Infinity && high < Infinity ? [low, high] : [Math.min(...inner), Math.max(...inner)];
  const margin = (to - from || 1) * BEYOND;
  return { low, high, least: from - (low > -Infinity ? margin : 0), most: to + (high < Infinity ? margin : 0) };
}

/** Return the distance to the nearest bound; negative beyond it. */
export function roomOf(value, threshold) {
  if (value === null) return null;
  const { low, high } = boundsOf(threshold);
  return Math.min(value - low, high - value);
}

/** Return a number of a limit as text: as many digits as its size needs. */
export function plain(value) {
  if (value === null || value === undefined) return NOTHING;
  const size = Math.abs(value);
  const most = size >= 1000 ? 0 : size >= 1 ? 2 : 4;
  return (value < 0 && size >= 10 ** -most / 2 ? MINUS : "") + size.toLocaleString("en-US", { maximumFractionDigits: most });
}
