// The profit or loss by move, a line for each shift of the volatility or each number of days.

import { html, useMemo } from "../../vendor/preact.js";
import { Chart } from "../../lib/chart.js";
import { number } from "../../lib/format.js";
import { Segments } from "../../lib/parts.js";
import { change } from "../../lib/router.js";
import { useNarrow } from "../../lib/table.js";
import { LINE_DAYS, MOST_LINES, daysText, moveText, volText } from "./choices.js";
import { short } from "./heatmap.js";

// Colour is not the only sign of a line.
const DASHES = [undefined, [8, 4], [2, 3], [10, 3, 2, 3], [16, 4], [4, 2]];

/** The curves of one currency.  `choices` and `scenario` are those of the answer. */
export function Curves({ group, choices, scenario }) {
  const { curveMoves, moveUnit } = choices;
  const x = useMemo(() => curveMoves, [curveMoves.join()]);
  const marks = useMemo(() => [{ x: scenario.move, label: moveText(scenario.move, moveUnit) }], [scenario.move, moveUnit]);
  const isNarrow = useNarrow();
  const series = useMemo(() => linesOf(group, choices).map((line, at) => ({ ...line, dash: DASHES[at], endLabel: isNarrow ? undefined : line.label })), [group, isNarrow]);
  const label = `Profit or loss in ${group.currency} by move`;
  return html`<${Chart}
    label=${label}
    summary=${summaryOf(series, curveMoves, moveUnit)}
    x=${x}
    series=${series}
    marks=${marks}
    restX=${scenario.move}
    isTime=${false}
    labelX="Move"
    formatX=${(value) => moveText(value, moveUnit)}
    height=${280}
  />`;
}

function linesOf(group, { lines, lineVols, lineDays, volUnit }) {
  if (lines === "days") {
    return lineDays.map((days) => ({ label: daysText(days), values: group.grids.find((each) => each.days === days)?.profit_loss[0] ?? [], format: short }));
  }
  return lineVols.map((vol, at) => ({ label: volText(vol, volUnit), values: group.grids[0].profit_loss[at], format: short }));
}

function summaryOf(series, moves, unit) {
  const parts = series.map(({ label, values }) => {
    const known = values.filter((each) => each !== null);
    if (!known.length) return `${label}: not known.`;
    const [low, high] = [Math.min(...known), Math.max(...known)];
    const at = (value) => moveText(moves[values.indexOf(value)], unit);
    return `${label}: lowest ${number(low, { signed: true })} at ${at(low)}, highest ${number(high, { signed: true })} at ${at(high)}.`;
  });
  return parts.join(" ");
}

/** The choice of the lines. */
export function LinePicker({ choices, scenario }) {
  const { lines, lineVols, lineDays, vols, volUnit } = choices;
  const isDays = lines === "days";
  const [all, chosen, text] = isDays ? [LINE_DAYS, lineDays, daysText] : [vols, lineVols, (each) => volText(each, volUnit)];
  const toggle = (value) => {
    const next = chosen.includes(value) ? chosen.filter((each) => each !== value) : [...chosen, value];
    change({ [isDays ? "line_days" : "line_vols"]: next.sort((one, other) => one - other).join(",") });
  };
  return html`
    <${Segments}
      label="A line for each"
      options=${[
        ["vols", "By volatility"],
        ["days", "By days"],
      ]}
      value=${lines}
      onPick=${(value) => change({ lines: value === "vols" ? null : value })}
    />
    <div class="segments" role="group" aria-label="Lines">
      ${all.map((each) => {
        const isShown = chosen.includes(each);
        const isOff = isShown ? chosen.length === 1 : chosen.length >= MOST_LINES;
        return html`<button key=${each} type="button" aria-pressed=${String(isShown)} disabled=${isOff} onClick=${() => toggle(each)}>${text(each)}</button>`;
      })}
    </div>
    <span class="meta">${isDays ? `volatility ${volText(scenario.vol, volUnit)}` : daysText(scenario.days)}</span>
  `;
}
