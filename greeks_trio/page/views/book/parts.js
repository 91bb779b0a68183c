// The parts of the book: a row for each account, broker, strategy, underlying or expiration.

import { html } from "../../vendor/preact.js";
import { Figure } from "../../lib/figure.js";
import { FILTERS, narrowed } from "../../lib/filters.js";
import { Badge } from "../../lib/parts.js";
import { change, go } from "../../lib/router.js";
import { isDown } from "../../lib/status.js";
import { SUMS, SumCell, measureOf } from "../../lib/sums.js";
import { Table } from "../../lib/table.js";

// What the book can be grouped by.
const GROUPINGS = ["underlying", "expiration", "strategy_tag", "account_id", "broker"];

// The grouping that shows the parts of a row.
const PARTS = { broker: "account_id", account_id: "underlying", strategy_tag: "underlying", underlying: "expiration", expiration: "underlying" };

/** The table.  A click on a row shows its parts; the address keeps the way. */
export function Parts({ rows, by, filters, sort = "-dollar_delta_size" }) {
  const isMixed = new Set(rows.map((row) => row.currency)).size > 1;
  const largest = Math.max(1, ...rows.map((row) => Math.abs(row.dollar_delta ?? 0)));
  const columns = [
    { id: by, label: FILTERS[by].label, left: true, width: 100, sort: (row) => row[by] ?? "", cell: (row) => html`<${Name} row=${row} by=${by} />` },
    ...(isMixed ? [{ id: "currency", label: "Currency", left: true, width: 80, sort: (row) => row.currency, cell: (row) => row.currency }] : []),
    {
      id: "dollar_delta_size",
      label: "Size",
      title: "Size of the dollar delta, against the largest one here",
      left: true,
      width: 66,
      narrow: false,
      sort: (row) => Math.abs(row.dollar_delta ?? 0),
      cell: (row) => html`<span class="bar" style=${{ width: `${(100 * Math.abs(row.dollar_delta ?? 0)) / largest}%` }} />`,
    },
    ...SUMS.filter((sum) => !sum.onlyOne || by === "underlying" || filters.underlying).map((sum) => ({
      id: sum.field,
      label: measureOf(sum).label,
      title: measureOf(sum).title,
      width: sum.width,
      sort: (row) => row[sum.field],
      cell: (row) => html`<${SumCell} sum=${sum} row=${row} />`,
    })),
    { id: "positions", label: "Pos.", title: "Positions of any kind", width: 64, sort: (row) => row.positions, cell: (row) => html`<${Figure} field="positions" value=${row.positions} />` },
    { id: "state", label: "State", left: true, width: 122, sort: (row) => row.stale, cell: (row) => html`<${State} row=${row} />` },
  ];
  return html`<${Table}
    caption=${`Sums by ${FILTERS[by].label}`}
    columns=${columns}
    rows=${rows}
    rowKey=${(row) => [row.broker, row.account_id, row[by], row.currency].filter(Boolean).join(" ") || "none"}
    rowClass=${(row) => (row.broker && isDown(row.broker) ? "unvouched" : "")}
    sort=${sort}
    onSort=${(next) => change({ sort: next })}
    onOpen=${(row) => open(row, by, filters)}
  />`;
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
  return FILTERS[by].text(row[by]);
}

function State({ row }) {
  if (row.broker && isDown(row.broker)) return html`<${Badge} state="critical">broker is down<//>`;
  const missing = Math.max(...SUMS.map((sum) => row[sum.missing] ?? 0));
  return html`
    ${missing > 0 && html`<${Badge} state="warn" title="Positions that at least one sum lacks">${missing} missing<//>`}
    ${row.stale > 0 && html`<${Badge} state="warn" title="Positions with stale values">${row.stale} stale<//>`}
    ${row.other_positions > 0 && html`<${Badge} title="Positions that no sum includes">${row.other_positions} not counted<//>`}
    ${missing + row.stale + row.other_positions === 0 && html`<${Badge} state="ok">complete<//>`}
  `;
}
