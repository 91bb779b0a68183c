// The time of charts to choose: a length up to now, or two moments, moved by buttons.

import { html } from "../vendor/preact.js";
import { moment } from "./format.js";
import { Segments } from "./parts.js";
import { RANGES, RANGE_NAMES, between, movesOf } from "./ranges.js";
import { change } from "./router.js";

/**
 * @param {{range: object, nowS: number}} props `range`: of `rangeOf`; `nowS`: the service's time
 *   in seconds.
 */
export function RangePicker({ range, nowS }) {
  const options = Object.keys(RANGES).map((name) => [name, name, RANGE_NAMES[name]]);
  const pick = (name) => change({ range: name, from: null, to: null }, { replace: false });
  return html`
    <${Segments} label="Range up to now" options=${options} value=${range.name} onPick=${pick} />
    <div class="segments" role="group" aria-label="Move the range">
      ${movesOf(range, nowS).map(
        ({ id, label, symbol, params, isOff }) => html`<button
          key=${id}
          type="button"
          aria-label=${label}
          title=${label}
          disabled=${isOff}
          onClick=${() => change(params, { replace: false })}
        >
          ${symbol}
        </button>`,
      )}
    </div>
    ${!range.isLive &&
    html`<span class="note">${moment(range.from * 1000)} – ${moment(range.to * 1000)}</span>
      <button class="button" type="button" onClick=${() => change({ from: null, to: null }, { replace: false })}>Back to now</button>`}
  `;
}

/** Put a dragged range into the address, in seconds; Back returns from it. */
export function zoomTo(from, to, nowS) {
  change(between(from, to, nowS), { replace: false });
}
