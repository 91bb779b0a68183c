// The scenario by groups: the profit of each, and its worst and best cell of the grid.

import { html } from "../../vendor/preact.js";
import { Sparkline } from "../../lib/chart.js";
import { Figure } from "../../lib/figure.js";
import { FILTERS, narrowed } from "../../lib/filters.js";
import { NOTHING } from "../../lib/format.js";
import { Badge } from "../../lib/parts.js";
import { groupingsOf } from "../../lib/picker.js";
import { change } from "../../lib/router.js";
import { Table } from "../../lib/table.js";
import { GRID_MEASURES, GROUPINGS, moveText, volText } from "./choices.js";
import { extremesOf } from "./extremes.js";

/**
 * @param {object} props
 * @param {Array<object>} props.rows `{group, after, worst, best, curve}`, see `groupRows`.
 * @param {object} props.choices Those of the answer.
 * @param {string} props.scenarioWords
 */
export function GroupTable({ rows, choices, scenarioWords, sort = "-size" }) {
  const { by } = choices;
  const isMixed = new Set(rows.map((row) => row.group.currency)).size > 1;
  const money = (id, label, title, value, extra = {}) => ({
    id,
    label,
    title,
    width: 104,
    sort: value,
    cell: (row) => html`<${Figure} field=${id} value=${value(row)} measure=${GRID_MEASURES.profit_loss} coloured />`,
    ...extra,
  });
  const columns = [
    { id: by, label: FILTERS[by].label, left: true, width: 130, sort: (row) => row.group[by] ?? "", cell: (row) => nameOf(row.group, by) },
    ...(isMixed ? [{ id: "currency", label: "Currency", left: true, width: 80, sort: (row) => row.group.currency, cell: (row) => row.group.currency }] : []),
    money("profit_loss", "Scenario", `Profit or loss: ${scenarioWords}`, (row) => row.after?.profit_loss ?? null),
    { id: "curve", label: "By move", title: "Profit or loss by move, without a shift of the volatility", width: 108, narrow: false, cell: (row) => html`<${Curve} row=${row} />` },
    money("worst", "Worst", "The lowest cell of the grid", (row) => row.worst?.value ?? null),
    place("worst", choices),
    money("best", "Best", "The highest cell of the grid", (row) => row.best?.value ?? null),
    place("best", choices),
    { id: "value", label: "Value now", title: "By the model", width: 104, sort: (row) => row.group.model_value, cell: (row) => html`<${Figure} field="model_value" value=${row.group.model_value} measure=${GRID_MEASURES.value} />` },
    { id: "state", label: "State", left: true, width: 156, sort: (row) => row.group.left_out, cell: (row) => html`<${State} group=${row.group} />` },
  ];
  return html`<${Table}
    caption=${`Profit or loss by ${FILTERS[by].label}`}
    columns=${columns}
    rows=${sort === "-size" ? bySize(rows) : rows}
    rowKey=${(row) => keyOf(row.group, by)}
    sort=${sort === "-size" ? undefined : sort}
    onSort=${(next) => change({ sort: next })}
    onOpen=${(row) => open(row, choices)}
  />`;
}

function bySize(rows) {
  return [...rows].sort((one, other) => Math.abs(other.after?.profit_loss ?? 0) - Math.abs(one.after?.profit_loss ?? 0));
}

function place(which, { moveUnit, volUnit }) {
  const text = ({ [which]: cell }) => (cell ? `${moveText(cell.move, moveUnit)}, ${volText(cell.vol, volUnit)}` : NOTHING);
  return { id: `${which}_at`, label: "at", title: `The move and the shift of the volatility of the ${which} cell`, left: true, width: 116, cell: text };
}

function Curve({ row }) {
  return html`<${Sparkline} points=${row.curve ?? []} label="Profit or loss by move" />`;
}

function State({ group }) {
  return html`
    ${group.left_out > 0 && html`<${Badge} state="warn" title="Positions that are in no sum">${group.left_out} left out<//>`}
    ${group.stale > 0 && html`<${Badge} state="warn" title="Positions with a stale tick or price of the underlying">${group.stale} stale<//>`}
    ${group.left_out + group.stale === 0 && html`<${Badge} state="ok">complete<//>`}
  `;
}

function nameOf(group, by) {
  if (group[by] === null) return html`<span class="none">${by === "strategy_tag" ? "no strategy" : "no expiration"}</span>`;
  return by === "account_id" ? `${FILTERS.broker.text(group.broker)} ${group.account_id}` : FILTERS[by].text(group[by]);
}

function keyOf(group, by) {
  return [by === "account_id" ? group.broker : null, group[by], group.currency].filter(Boolean).join(" ");
}

// A click shows the parts of the group.
function open({ group }, { by, filters }) {
  const inner = narrowed(by === "account_id" ? { ...filters, broker: group.broker } : filters, by, group[by]);
  const next = groupingsOf(GROUPINGS, inner)[0];
  change({ ...inner, by: next, sort: null }, { replace: false });
}

/** Return the rows of the table: the groups of the grid, each with its cell of the scenario. */
export function groupRows(groups, { moves, vols, by }, days, afterOf) {
  return groups.map((group) => {
    const profits = group.grids.find((each) => each.days === days)?.profit_loss ?? [];
    return { group, after: afterOf(keyOf(group, by)), ...extremesOf(profits, { moves, vols }), curve: profits[vols.indexOf(0)] };
  });
}

/** Return the groups by their keys. */
export function groupsByKey(groups, by) {
  return new Map(groups.map((group) => [keyOf(group, by), group]));
}
