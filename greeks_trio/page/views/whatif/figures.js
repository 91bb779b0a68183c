// The figures of the scenario beside the heat map: the profit, and each figure now and after.

import { html, useMemo } from "../../vendor/preact.js";
import { Figure } from "../../lib/figure.js";
import { count, number } from "../../lib/format.js";
import { GRID_MEASURES, scenarioText } from "./choices.js";

const ROWS = ["value", "dollar_delta", "delta", "gamma", "theta", "vega", "rho"];
// Units of several underlyings do not add up.
const OF_ONE = ["delta", "gamma"];

/**
 * @param {object} props
 * @param {object | null} props.now The figures without any change.
 * @param {object | null} props.after Those of the scenario; `null` before the first answer.
 * @param {{move: number, vol: number, days: number}} props.scenario That of `after`.
 * @param {boolean} props.isBehind The figures are of another scenario than that of the sliders.
 */
export function ScenarioFigures({ group, now, after, scenario, choices, isBehind }) {
  const rows = ROWS.filter((name) => group.underlyings === 1 || !OF_ONE.includes(name));
  const words = scenarioText(scenario, choices);
  // Told when the scenario changes, not each time that the figures are read again.
  const told = useMemo(() => (isBehind ? "" : `${words}: ${number(after?.profit_loss, GRID_MEASURES.profit_loss)} ${group.currency}`), [words, isBehind]);
  return html`<div class="scenario" aria-busy=${String(isBehind)}>
    <p class="hidden" role="status">${told}</p>
    <h3>${words}</h3>
    <p class="profit"><${Figure} field="profit_loss" value=${after?.profit_loss ?? null} measure=${GRID_MEASURES.profit_loss} coloured /> <span class="unit">${group.currency}</span></p>
    <p class="note" title=${GRID_MEASURES.taylor_profit_loss.title}>
      By the Greeks alone: <${Figure} field="taylor_profit_loss" value=${after?.taylor_profit_loss ?? null} measure=${GRID_MEASURES.taylor_profit_loss} />
    </p>
    <table class="now-after">
      <caption class="hidden">Figures in ${group.currency} by the model, now and after the move</caption>
      <thead>
        <tr><th scope="col"><span class="hidden">Figure</span></th><th scope="col">Now</th><th scope="col">After</th></tr>
      </thead>
      <tbody>
        ${rows.map(
          (name) => html`<tr key=${name}>
            <th scope="row" title=${GRID_MEASURES[name].title}>${GRID_MEASURES[name].label}</th>
            <td><${Figure} field=${name} value=${now?.[name] ?? null} measure=${GRID_MEASURES[name]} /></td>
            <td data-column="after"><${Figure} field=${name} value=${after?.[name] ?? null} measure=${GRID_MEASURES[name]} /></td>
          </tr>`,
        )}
      </tbody>
    </table>
    <p class="note">${noteOf(group, after)}</p>
  </div>`;
}

function noteOf(group, after) {
  const expired = after?.expired ? `${count(after.expired, "option")} expired by then: value at exercise, no Greeks. ` : "";
  return group.underlyings === 1 ? expired : `${expired}Delta and gamma in units need one underlying.`;
}

/** Return the figures of one cell of a group; `null` if the group has no such cell. */
export function cellOf(group, { moves, vols }, { move, vol, days }) {
  const [x, y] = [moves.indexOf(move), vols.indexOf(vol)];
  const grid = group?.grids.find((each) => each.days === days);
  if (grid === undefined || x < 0 || y < 0) return null;
  const names = ["profit_loss", "taylor_profit_loss", "dollar_delta", "delta", "gamma", "theta", "vega", "rho"];
  const cell = Object.fromEntries(names.map((name) => [name, grid[name][y][x]]));
  const value = group.model_value === null || cell.profit_loss === null ? null : group.model_value + cell.profit_loss;
  return { ...cell, value, expired: grid.expired };
}
