// The units of the grid, the benchmark, and the part of the book.

import { html, useId } from "../../vendor/preact.js";
import { contracts } from "../../lib/contracts.js";
import { FilterPicker, Fold } from "../../lib/picker.js";
import { Segments } from "../../lib/parts.js";
import { change } from "../../lib/router.js";
import { MOVE_UNITS, SCALINGS, VOL_UNITS, moveText, volText } from "./choices.js";
import { TextField } from "./facts.js";

/** The controls above the sliders. */
export function Controls({ params, choices }) {
  return html`<${Fold} summary=${summaryOf(choices)}>
    <div class="controls choices"><${FilterPicker} params=${params} /></div>
    <${Units} choices=${choices} />
  <//>`;
}

function summaryOf({ moveUnit, volUnit, range, volRange, benchmark }) {
  const both = (text) => text.replace("+", "±");
  return `Moves ${both(moveText(range, moveUnit))}${benchmark ? ` of ${benchmark}` : ""}, volatility ${both(volText(volRange, volUnit))}`;
}

function Units({ choices }) {
  const { moveUnit, volUnit, range, volRange, scaling, benchmark, betas } = choices;
  const names = useId();
  return html`<div class="controls choices">
      <span class="label" role="group" aria-label="Moves"
        >Moves
        <${Segments} label="Unit of the moves" options=${unitsOf(MOVE_UNITS)} value=${moveUnit} onPick=${(unit) => change({ move_unit: unit, range: null, move: null })} />
        <${Range} label="Range of the moves" ranges=${MOVE_UNITS[moveUnit].ranges} value=${range} text=${(each) => moveText(each, moveUnit)} onPick=${(value) => change({ range: value })} />
      </span>
      <span class="label" role="group" aria-label="Volatility"
        >Volatility
        <${Segments} label="Unit of the volatility" options=${unitsOf(VOL_UNITS)} value=${volUnit} onPick=${(unit) => change({ vol_unit: unit, vol_range: null, vol: null, line_vols: null })} />
        <${Range} label="Range of the volatility" ranges=${VOL_UNITS[volUnit].ranges} value=${volRange} text=${(each) => volText(each, volUnit)} onPick=${(value) => change({ vol_range: value, line_vols: null })} />
        <${Segments} label="Shift by expiration" options=${SCALINGS} value=${scaling} onPick=${(value) => change({ vol_scaling: value })} />
      </span>
      <${TextField} label="Benchmark" value=${benchmark ?? ""} placeholder="each by itself" list=${names} onPick=${(text) => change({ benchmark: text || null })} />
      <datalist id=${names}>${underlyings().map((name) => html`<option key=${name} value=${name} />`)}</datalist>
      ${benchmark && html`<${TextField} label="Own betas" value=${betas ?? ""} placeholder="QQQ:1.2,/ES:1" onPick=${(text) => change({ betas: text || null })} />`}
    </div>`;
}

function unitsOf(units) {
  return Object.entries(units).map(([name, { label }]) => [name, label]);
}

function Range({ label, ranges, value, text, onPick }) {
  const all = ranges.includes(value) ? ranges : [...ranges, value].sort((one, other) => one - other);
  return html`<select class="field" aria-label=${label} value=${value} onChange=${(event) => onPick(event.target.value)}>
    ${all.map((each) => html`<option key=${each} value=${each}>${text(each).replace("+", "±")}</option>`)}
  </select>`;
}

function underlyings() {
  return [...new Set(["SPY", ...[...contracts.values()].map((row) => row.underlying)])].filter(Boolean).sort();
}
