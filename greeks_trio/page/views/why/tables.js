// The numbers of the waterfall as a table, and the table of the groups.

import { html } from "../../vendor/preact.js";
import { contractId, contracts } from "../../lib/contracts.js";
import { Figure } from "../../lib/figure.js";
import { FILTERS, narrowed } from "../../lib/filters.js";
import { contractName, number } from "../../lib/format.js";
import { Badge } from "../../lib/parts.js";
import { groupingsOf } from "../../lib/picker.js";
import { change, go } from "../../lib/router.js";
import { Table } from "../../lib/table.js";
import { PARTS, lackOf, moneyMeasure, residualParts } from "./parts.js";

/** The groups of the interface, with their label. */
export const GROUPINGS = {
  underlying: "Underlying",
  expiration: "Expiration",
  contract_key: "Contract",
  strategy_tag: "Strategy",
  account_id: "Account",
  broker: "Broker",
};
// The groups that the parts of a group are shown by.
const INNER = { broker: "account_id", account_id: "underlying", strategy_tag: "underlying", underlying: "expiration", expiration: "contract_key" };

/** The parts of one currency, with their share of the profit or loss and what they lack. */
export function PartTable({ row }) {
  const measure = moneyMeasure(row);
  const plain = { ...measure, signed: false };
  return html`<div class="scroller"><table class="table parts">
    <caption class="hidden">Parts of the profit or loss in ${row.currency}</caption>
    <thead>
      <tr>
        <th scope="col" class="left"><span class="title">Part</span></th>
        <th scope="col"><span class="title">${row.currency}</span></th>
        <th scope="col"><span class="title">% of P/L</span></th>
        <th scope="col" class="left"><span class="title">What it is</span></th>
      </tr>
    </thead>
    <tbody>
      <${Line} label="Value at the start" field="start_value" value=${row.start_value} measure=${plain} />
      <${Line} label="Trades" field="trades" value=${row.trades} measure=${measure} about=${`Value bought less value sold. ${tradeWords(row)}`} />
      ${PARTS.map(
        (part) => html`<${Line}
          key=${part.field}
          label=${part.label}
          field=${part.field}
          value=${row[part.field]}
          measure=${measure}
          share=${row.profit_loss && row[part.field] !== null ? row[part.field] / row.profit_loss : null}
          about=${part.title}
          lack=${lackOf(row, part)}
          coloured
        />`,
      )}
      <${Line} label="Profit or loss" field="profit_loss" value=${row.profit_loss} measure=${measure} share=${row.profit_loss ? 1 : null} about="Value at the end less value at the start less trades" coloured isTotal />
      <${Line} label="Value at the end" field="end_value" value=${row.end_value} measure=${plain} />
    </tbody>
  </table></div>`;
}

function Line({ label, field, value, measure, share = null, about = "", lack = "", coloured = false, isTotal = false }) {
  return html`<tr class=${isTotal ? "total" : ""}>
    <th scope="row" class="left">${label}${lack && html`<span class="lack">${lack}</span>`}</th>
    <td><${Figure} field=${field} value=${value} measure=${measure} coloured=${coloured} /></td>
    <td><span class="fig">${share === null ? "" : number(share, { digits: 1, percent: true })}</span></td>
    <td class="left about">${about}${lack && html` <${Badge} state=${field === "rho" ? "info" : "warn"}>${lack}<//>`}</td>
  </tr>`;
}

function tradeWords(row) {
  const parts = [
    [row.first_seen, "first seen, counted as opened then"],
    [row.trades_at_price, "at the price of recorded trades"],
    [row.trades_at_mark, "at the next mark, because no recorded trade fits"],
    [row.expired, "ended by expiration"],
  ];
  const named = parts.filter(([number_]) => number_ > 0).map(([number_, words]) => `${number_} ${words}`);
  return named.length ? `Positions: ${named.join("; ")}.` : "";
}

/** The groups: each with its parts; a click shows the parts of it. */
export function GroupTable({ rows, by, filters, sort }) {
  const isMixed = new Set(rows.map((row) => row.currency)).size > 1;
  const largest = rows.reduce((most, row) => Math.max(most, Math.abs(row.profit_loss)), 0);
  const measure = moneyMeasure({ profit_loss: largest });
  const money = (field, label, title, extra = {}) => ({
    id: field,
    label,
    title,
    width: 98,
    sort: (row) => row[field],
    cell: (row) => html`<${Figure} field=${field} value=${row[field]} measure=${measure} coloured />`,
    ...extra,
  });
  const part = (name) => {
    const { label, title } = PARTS.find(({ field }) => field === name);
    return money(name, label, title, { width: 90 });
  };
  const columns = [
    { id: by, label: GROUPINGS[by], left: true, narrow: 150, width: by === "contract_key" ? 310 : 168, sort: (row) => textOf(row.group, by), cell: (row) => nameOf(row.group, by) },
    ...(isMixed ? [{ id: "currency", label: "Currency", left: true, width: 80, sort: (row) => row.currency, cell: (row) => row.currency }] : []),
    money("profit_loss", "P/L", "Profit or loss between the two moments", { width: 108 }),
    ...["delta", "gamma", "theta", "vega", "residual"].map(part),
    { id: "residual_part", label: "Residual %", title: "The residual as a part of the P/L", width: 88, sort: (row) => residualParts(row).ofProfit, cell: (row) => number(residualParts(row).ofProfit, { digits: 1, percent: true }) },
    money("trades", "Trades", "Value bought less value sold"),
    ...["trading", "vanna", "vomma", "charm"].map(part),
    ...["start_value", "end_value"].map((field) =>
      money(field, field === "start_value" ? "Start" : "End", "Value", { cell: (row) => html`<${Figure} field=${field} value=${row[field]} measure=${{ ...measure, signed: false }} />` }),
    ),
  ];
  return html`<${Table}
    caption=${`Profit or loss by ${GROUPINGS[by]}`}
    columns=${columns}
    rows=${rows}
    rowKey=${(row) => [...Object.values(row.group), row.currency].filter(Boolean).join(" ") || "none"}
    sort=${sort}
    onSort=${(next) => change({ sort: next })}
    onOpen=${(row) => open(row, by, filters)}
    tall=${rows.length > 60}
  />`;
}

function textOf(group, by) {
  if (group[by] === null) return "";
  if (by === "account_id") return `${FILTERS.broker.text(group.broker)} ${group.account_id}`;
  if (by === "expiration") return `${group.underlying} ${group.expiration}`;
  return by === "contract_key" ? group.contract_key : FILTERS[by].text(group[by]);
}

function nameOf(group, by) {
  if (by === "expiration") return html`${group.underlying} <span class="none">${group.expiration ? FILTERS.expiration.text(group.expiration) : "no expiration"}</span>`;
  if (by === "contract_key") return html`${contractText(group)} <span class="none">${FILTERS.broker.text(group.broker)} ${group.account_id}</span>`;
  if (group[by] === null) return html`<span class="none">${by === "strategy_tag" ? "no strategy" : "none"}</span>`;
  return textOf(group, by);
}

// A contract that is no longer held has its key only.
function contractText(group) {
  const row = contracts.get(contractId(group));
  return row === undefined ? group.contract_key : contractName(row);
}

// A contract opens its history; another group shows its parts.
function open({ group }, by, filters) {
  if (by === "contract_key") return go("contract", { broker: group.broker, account_id: group.account_id, contract_key: group.contract_key });
  const own = by === "account_id" ? { broker: group.broker } : by === "expiration" ? { underlying: group.underlying } : {};
  const inner = narrowed({ ...filters, ...own }, by, group[by]);
  const next = groupingsOf([INNER[by], "contract_key"], inner)[0];
  return change({ ...inner, by: next, sort: null }, { replace: false });
}
