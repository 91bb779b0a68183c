// The parts of the book: a row for each account, broker, strategy, underlying or expiration.

import { html } from "../../vendor/preact.js";
import { FILTERS, narrowed } from "../../lib/filters.js";
import { change, go } from "../../lib/router.js";
import { isDown } from "../../lib/status.js";
import { Flaw, countColumns, sumColumns } from "../../lib/sums.js";
import { Table } from "../../lib/table.js";

// What the book can be grouped by.
const GROUPINGS = ["underlying", "expiration", "strategy_tag", "account_id", "broker"];

// The grouping that shows the parts of a row.
const PARTS = { broker: "account_id", account_id: "underlying", strategy_tag: "underlying", underlying: "expiration", expiration: "underlying" };

/** The table; at first the largest dollar deltas are above.  A click on a row shows its parts; the address keeps the way. */
export function Parts({ rows, by, filters, sort }) {
  const isMixed = new Set(rows.map((row) => row.currency)).size > 1;
  const isOne = by === "underlying" || Boolean(filters.underlying);
  const columns = [
    { id: by, label: FILTERS[by].label, left: true, width: nameWidth(rows, by), sort: (row) => row[by] ?? "", cell: (row) => html`<${Name} row=${row} by=${by} /><${Flaw} row=${row} />` },
    ...(isMixed ? [{ id: "currency", label: "Curr.", title: "Currency", left: true, width: 54, sort: (row) => row.currency, cell: (row) => row.currency }] : []),
    ...sumColumns(isOne).map((column) => (column.id === "dollar_delta" ? withBars(column, rows) : column)),
    ...countColumns(),
  ];
  return html`<${Table}
    key=${JSON.stringify([by, filters])}
    caption=${`Sums by ${FILTERS[by].label}`}
    columns=${columns}
    rows=${bySize(rows)}
    rowKey=${(row) => [row.broker, row.account_id, row[by], row.currency].filter(Boolean).join(" ") || "none"}
    rowClass=${(row) => (row.broker && isDown(row.broker) ? "unvouched" : "")}
    sort=${sort}
    onSort=${(next) => change({ sort: next })}
    onOpen=${(row) => open(row, by, filters)}
  />`;
}

function bySize(rows) {
  return [...rows].sort((one, other) => sizeOf(other) - sizeOf(one));
}

function sizeOf(row) {
  return Math.abs(row.dollar_delta ?? 0);
}

// A bar below the figure: its size against the largest one.
function withBars(column, rows) {
  const largest = Math.max(1, ...rows.map(sizeOf));
  const bar = (row) => html`<span class="bar" style=${{ width: `${(100 * sizeOf(row)) / largest}%` }} />`;
  return { ...column, title: `${column.title}. The bar is its size against the largest one here.`, cell: (row) => html`${column.cell(row)}${bar(row)}` };
}

// The longest name, within reason.
function nameWidth(rows, by) {
  const longest = Math.max(0, ...rows.map((row) => String(row[by] ?? "").length));
  return Math.min(146, Math.max(by === "expiration" ? 128 : 100, 8 * longest + 36));
}

function open(row, by, filters) {
  const inner = narrowed(by === "account_id" ? { ...filters, broker: row.broker } : filters, by, row[by]);
  const rest = groupingsOf(inner);
  const next = rest.includes(PARTS[by]) ? PARTS[by] : rest[0];
  if (!next || (inner.underlying && by === "expiration")) go("contracts", inner);
  else go("book", { ...inner, by: next });
}

/** Return what a part of the book can still be grouped by. */
export function groupingsOf(filters) {
  const known = [...Object.keys(filters), ...(filters.without?.split(",") ?? [])];
  if (known.includes("account_id")) known.push("broker");
  return GROUPINGS.filter((name) => !known.includes(name));
}

function Name({ row, by }) {
  if (row[by] === null) return html`<span class="none">${by === "strategy_tag" ? "no strategy" : "no expiration"}</span>`;
  const text = FILTERS[by].text(row[by]);
  return html`<span title=${text}>${text}</span>`;
}
