// The book: the sums of the whole, and of each account, broker, strategy, underlying or
// expiration.  A click on a row shows the parts of it.

import { html } from "../vendor/preact.js";
import { Figure } from "../lib/figure.js";
import { FILTERS, FilterChips, filtersOf } from "../lib/filters.js";
import { Badge, Empty, Freshness, Segments } from "../lib/parts.js";
import { useResource } from "../lib/resource.js";
import { change, go, href } from "../lib/router.js";
import { isDown } from "../lib/status.js";
import { SUMS, SumCell, Totals, measureOf } from "../lib/sums.js";
import { Table } from "../lib/table.js";

const EVERY_MS = 2000;

const GROUPINGS = ["underlying", "expiration", "strategy_tag", "account_id", "broker"];
// The grouping that shows the parts of a row.
const PARTS = { broker: "account_id", account_id: "underlying", strategy_tag: "underlying", underlying: "expiration", expiration: "underlying" };

/** The view `book`. */
export function Book({ params }) {
  const filters = filtersOf(params);
  const by = GROUPINGS.includes(params.by) ? params.by : "underlying";
  const whole = useResource("/v1/risk/totals", { group_by: "book", ...filters }, { everyMs: EVERY_MS, isList: true, keep: true });
  const parts = useResource("/v1/risk/totals", { group_by: by, ...filters }, { everyMs: EVERY_MS, isList: true, keep: true });
  return html`
    <div class="head">
      <h1>Book</h1>
      <${FilterChips} params=${params} />
      <span class="meta"><${Freshness} resource=${whole} /></span>
    </div>
    ${whole.value?.length === 0 ? html`<div class="panel"><${NoPositions} filters=${filters} /></div>` : html`<${Totals} rows=${whole.value} />`}
    ${whole.value?.length !== 0 &&
    html`<section class="panel">
      <header>
        <${Segments}
          label="Group by"
          options=${GROUPINGS.filter((name) => !(name in filters)).map((name) => [name, FILTERS[name].label])}
          value=${by}
          onPick=${(name) => change({ by: name })}
        />
        <span class="meta"><a href=${href("contracts", filters)}>All contracts of this part</a></span>
      </header>
      <${Parts} rows=${parts.value ?? []} by=${by} filters=${filters} sort=${params.sort} />
    </section>`}
  `;
}

function NoPositions({ filters }) {
  if (Object.keys(filters).length) return html`<${Empty} title="No positions here">No open position has these properties. Remove a filter.<//>`;
  return html`<${Empty} title="No positions yet"
    >The service has read no open position. They appear here as soon as a broker reports one. <a href=${href("health")}>Health</a> says whether the
    brokers are connected. A watch-list (<code>GREEKS_WATCHLIST</code>) streams contracts without a position.<//
  >`;
}

function Parts({ rows, by, filters, sort = "-dollar_delta_size" }) {
  const isMixed = new Set(rows.map((row) => row.currency)).size > 1;
  const largest = Math.max(1, ...rows.map((row) => Math.abs(row.dollar_delta ?? 0)));
  const columns = [
    { id: by, label: FILTERS[by].label, left: true, width: 128, sort: (row) => row[by] ?? "", cell: (row) => html`<${Name} row=${row} by=${by} />` },
    ...(isMixed ? [{ id: "currency", label: "Currency", left: true, width: 80, sort: (row) => row.currency, cell: (row) => row.currency }] : []),
    {
      id: "dollar_delta_size",
      label: "Size",
      title: "Size of the dollar delta, against the largest one here",
      left: true,
      width: 64,
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
    { id: "positions", label: "Positions", width: 78, sort: (row) => row.positions, cell: (row) => html`<${Figure} field="positions" value=${row.positions} />` },
    { id: "state", label: "State", left: true, width: 170, sort: (row) => row.stale, cell: (row) => html`<${State} row=${row} />` },
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
  if (row[by] === null) return;
  const inner = { ...filters, [by]: row[by], ...(by === "account_id" ? { broker: row.broker } : {}) };
  const next = PARTS[by] in inner ? GROUPINGS.find((name) => !(name in inner)) : PARTS[by];
  if (inner.underlying && inner.expiration) go("contracts", inner);
  else go("book", { ...inner, by: next });
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
