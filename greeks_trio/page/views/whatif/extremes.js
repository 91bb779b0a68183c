// The worst and the best cell of a grid.

import { html } from "../../vendor/preact.js";
import { Figure } from "../../lib/figure.js";
import { GRID_MEASURES, moveText, scenarioText, volText } from "./choices.js";

const LABELS = { worst: "Worst of the grid", best: "Best of the grid" };

/** Return both as `{value, move, vol}`; `null` where no cell is known. */
export function extremesOf(profits, { moves, vols }) {
  const cells = profits.flatMap((row, y) => row.map((value, x) => ({ value, move: moves[x], vol: vols[y] }))).filter((cell) => cell.value !== null);
  const worst = cells.reduce((low, cell) => (low === null || cell.value < low.value ? cell : low), null);
  const best = cells.reduce((high, cell) => (high === null || cell.value > high.value ? cell : high), null);
  return { worst, best };
}

/** Both as buttons that choose their scenario. */
export function Extremes({ grid, choices, onPick }) {
  const found = Object.entries(extremesOf(grid.profit_loss, choices)).filter(([, cell]) => cell !== null);
  return html`<div class="extremes">
    ${found.map(([name, { value, move, vol }]) => {
      const at = { move, vol, days: grid.days };
      return html`<button key=${name} class="button" type="button" title=${`Show this scenario: ${scenarioText(at, choices)}`} onClick=${() => onPick({ move, vol })}>
        <span class="meta">${LABELS[name]}</span>
        <${Figure} field=${name} value=${value} measure=${GRID_MEASURES.profit_loss} coloured />
        <span class="meta">${moveText(move, choices.moveUnit)}, ${volText(vol, choices.volUnit)}</span>
      </button>`;
    })}
  </div>`;
}
