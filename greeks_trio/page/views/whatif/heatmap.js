// The grid as a heat map: moves from left to right, shifts of the volatility from below to above.
// Gains are blue, losses orange, and each cell has its number with the sign.

import { html, useEffect, useRef } from "../../vendor/preact.js";
import { NOTHING, number } from "../../lib/format.js";
import { moveText, scenarioText, volText } from "./choices.js";

const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/**
 * @param {object} props
 * @param {object} props.grid One of the answer, with the lists `moves` and `vols` of its cells.
 * @param {object} props.choices Those of the answer.
 * @param {{move: number, vol: number, days: number}} props.scenario The one that is shown beside.
 * @param {string} props.currency
 * @param {(scenario: {move: number, vol: number}) => void} props.onPick
 */
export function HeatMap({ grid, choices, scenario, currency, onPick }) {
  const table = useRef(null);
  const { moves, vols, moveUnit, volUnit } = choices;
  const most = Math.max(...grid.profit_loss.flat().map((each) => Math.abs(each ?? 0)));
  const at = [moves.indexOf(scenario.move), vols.indexOf(scenario.vol)];
  // Without a cell of the scenario, the keyboard begins in the middle.
  const entry = at.includes(-1) ? [moves.indexOf(0), vols.indexOf(0)] : at;
  useScrollTo(table, [nearest(moves, scenario.move), nearest(vols, scenario.vol)]);
  const onKeyDown = (event) => move(event, table.current, [moves, vols], onPick);

  return html`<div class="scroller heat">
    <table ref=${table} role="grid" aria-label=${`Profit or loss in ${currency} by move and shift of the volatility`} onKeyDown=${onKeyDown}>
      <thead>
        <tr role="row">
          <th role="columnheader" class="corner"><span class="hidden">Shift of the volatility</span><span aria-hidden="true">move \u2192<br />vol. \u2193</span></th>
          ${moves.map((each, x) => html`<th key=${each} role="columnheader" class=${x === at[0] ? "here" : ""}>${moveText(each, moveUnit)}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${[...vols.keys()].reverse().map(
          (y) => html`<tr key=${vols[y]} role="row">
            <th role="rowheader" class=${y === at[1] ? "here" : ""}>${volText(vols[y], volUnit)}</th>
            ${moves.map(
              (_, x) => html`<${Cell}
                key=${x}
                value=${grid.profit_loss[y][x]}
                most=${most}
                x=${x}
                y=${y}
                words=${scenarioText({ move: moves[x], vol: vols[y], days: grid.days }, choices)}
                isHere=${x === at[0] && y === at[1]}
                isEntry=${x === entry[0] && y === entry[1]}
                onPick=${() => onPick({ move: moves[x], vol: vols[y] })}
              />`,
            )}
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

function Cell({ value, most, x, y, words, isHere, isEntry, onPick }) {
  const text = short(value);
  const sign = !value ? "" : value < 0 ? "loss" : "gain";
  const full = `${words}: ${value === null ? "not known" : number(value, { signed: true })}`;
  return html`<td
    role="gridcell"
    class=${`${sign} ${isHere ? "here" : ""}`}
    style=${{ "--heat": `${heat(value, most)}%` }}
    data-x=${x}
    data-y=${y}
    tabindex=${isEntry ? 0 : -1}
    aria-selected=${String(isHere)}
    title=${full}
    aria-label=${full}
    onClick=${onPick}
  >
    <span class="fig" data-field="profit_loss" data-value=${value ?? ""}>${text}</span>
  </td>`;
}

// The root spreads the small values, which are those of every day.
function heat(value, most) {
  return value && most ? Math.round(100 * Math.sqrt(Math.abs(value) / most)) : 0;
}

/**
 * Return an amount with three digits: `+1.82M`, `−365k`.
 * @param {number} step Between the labels of an axis, which have no more digits than they need.
 */
export function short(value, step) {
  if (value === null || value === undefined) return NOTHING;
  const size = Math.abs(value);
  const [unit, factor] = size >= 999_500_000 ? ["B", 1e9] : size >= 999_500 ? ["M", 1e6] : size >= 9_995 ? ["k", 1e3] : ["", 1];
  return number(value / factor, { ...digitsOf(size / factor, unit, step), signed: true }) + unit;
}

function digitsOf(shown, unit, step) {
  if (step !== undefined) return { digits: 0, most: 2 };
  return { digits: unit === "" || shown >= 99.95 ? 0 : shown >= 9.995 ? 1 : 2 };
}

function move(event, table, [moves, vols], onPick) {
  const { x, y } = event.target.closest("td")?.dataset ?? {};
  if (x === undefined) return;
  const [right, up] = KEYS[event.key] ?? [];
  let target = right === undefined ? null : [Number(x) + right, Number(y) + up];
  if (event.key === "Home") target = [0, Number(y)];
  if (event.key === "End") target = [moves.length - 1, Number(y)];
  if (event.key === "PageUp") target = [Number(x), vols.length - 1];
  if (event.key === "PageDown") target = [Number(x), 0];
  if (event.key === "Enter" || event.key === " ") target = [Number(x), Number(y)];
  if (target === null) return;
  event.preventDefault();
  const [to, level] = [clamp(target[0], moves.length), clamp(target[1], vols.length)];
  table.querySelector(`td[data-x="${to}"][data-y="${level}"]`).focus();
  onPick({ move: moves[to], vol: vols[level] });
}

function clamp(at, length) {
  return Math.min(Math.max(at, 0), length - 1);
}

function nearest(values, wanted) {
  const distances = values.map((each) => Math.abs(each - wanted));
  return distances.indexOf(Math.min(...distances));
}

// On a narrow screen the cell of the scenario is scrolled into view, without moving the page.
function useScrollTo(table, [x, y]) {
  useEffect(() => {
    const cell = table.current.querySelector(`td[data-x="${x}"][data-y="${y}"]`);
    const scroller = table.current.parentElement;
    if (cell === null || scroller.scrollWidth <= scroller.clientWidth) return;
    scroller.scrollLeft = cell.offsetLeft - (scroller.clientWidth - cell.offsetWidth) / 2;
  }, [x, y]);
}

/** The colours of the heat map and their amounts. */
export function HeatScale({ grid, currency }) {
  const most = Math.max(...grid.profit_loss.flat().map((each) => Math.abs(each ?? 0)));
  const parts = [-1, -0.5, -0.1, 0, 0.1, 0.5, 1];
  return html`<div class="heat-scale" aria-hidden="true">
    ${parts.map((part) => {
      const value = part * most;
      return html`<span key=${part} class=${value < 0 ? "loss" : value > 0 ? "gain" : ""} style=${{ "--heat": `${heat(value, most)}%` }}
        >${part === 0 ? `0 ${currency}` : short(value)}</span
      >`;
    })}
  </div>`;
}
