// The sums of positions, as `/v1/risk/totals` gives them: the whole book, or any part of it.

import { html } from "../vendor/preact.js";
import { Figure, Sum, faultsOfSum } from "./figure.js";
import { MEASURES, age, brokerName, count, number } from "./format.js";
import { Badge } from "./parts.js";
import { profitRemark } from "./profit.js";
import { route } from "./router.js";
import { isDown, oldBrokers } from "./status.js";
import { Table } from "./table.js";

/** The sums: the column of the interface, its counts, its estimated part, and the text of a figure. */
export const SUMS = [
  { field: "profit_loss", missing: "left_out", width: 102, coloured: true, remark: profitRemark, isExact: true },
  { field: "market_value", missing: "missing_value", carried: "carried_value", width: 102 },
  { field: "dollar_delta", missing: "missing_dollar_delta", carried: "carried_delta", estimated: "estimated_dollar_delta", width: 102 },
  { field: "beta_weighted_delta", missing: "missing_beta_weighted", carried: "carried_delta", width: 94, large: 1e6, remark: betaRemark, unit: (row) => `${row.benchmark ?? "benchmark"} shares` },
  { field: "net_delta", missing: "missing_net_delta", carried: "carried_delta", estimated: "estimated_net_delta", width: 94, large: 1e6, onlyOne: true },
  { field: "dollar_gamma", missing: "missing_dollar_gamma", carried: "carried_gamma", estimated: "estimated_dollar_gamma", width: 102 },
  { field: "theta", missing: "missing_theta", carried: "carried_theta", estimated: "estimated_theta", measure: MEASURES.position_theta, width: 82, large: 1e6 },
  { field: "vega", missing: "missing_vega", carried: "carried_vega", estimated: "estimated_vega", measure: MEASURES.position_vega, width: 82, large: 1e6 },
];
// From here on in millions.  A table has room for whole numbers, a tile for fewer letters.
const LARGE_IN_TABLE = 1e8;
const LARGE_IN_TILE = 1e6;
const MOST_NAMED = 3;

/** The sums of the whole.  Money of two currencies does not add up: the one of most positions is large. */
export function Totals({ rows, error = null }) {
  const [first, ...others] = [...(rows ?? [{ currency: "" }])].sort((one, other) => other.positions - one.positions);
  return html`
    <section aria-label=${`Totals in ${first.currency}`} data-currency=${first.currency}>
      <${Tiles} row=${first} />
      <${WhatIsIn} row=${first} isRead=${rows !== null} error=${error} />
    </section>
    ${others.length > 0 && html`<${OtherCurrencies} rows=${others} />`}
  `;
}

function Tiles({ row }) {
  const shown = SUMS.filter((sum) => !sum.onlyOne || row.underlyings === 1);
  return html`<dl class=${`figures sums ${shown.length % 2 ? "odd" : ""}`}>
    ${shown.map((sum) => html`<${Tile} key=${sum.field} sum=${sum} row=${row} />`)}
  </dl>`;
}

// A sum that lacks something says so in words, and stands out.
function Tile({ sum, row }) {
  const measure = measureOf(sum);
  const { missing, estimated, stale } = faultsOf(sum, row);
  const words = [missing && `${missing} missing`, estimated && `${estimated} estimated`, stale && `${stale} stale`].filter(Boolean).join(", ");
  const note = sum.remark?.(row) || sum.unit?.(row) || measure.unit;
  return html`<div class=${words ? "faulty" : ""}>
    <dt title=${measure.title}>${measure.label}${isMoney(sum) && row.currency ? ` ${row.currency}` : ""}</dt>
    <dd>
      <${SumCell} sum=${sum} row=${row} large=${sum.isExact ? true : LARGE_IN_TILE} />
      <span class="meta" title=${words || note}>${words ? html`<span aria-hidden="true">▲ </span>${words}` : note}</span>
    </dd>
  </div>`;
}

function OtherCurrencies({ rows }) {
  const isOne = rows.every((row) => row.underlyings === 1);
  const columns = [
    { id: "currency", label: "Currency", left: true, width: 110, cell: (row) => html`${row.currency}<${Flaw} row=${row} />` },
    ...sumColumns(isOne),
    ...countColumns(),
  ];
  return html`<section class="panel others" aria-label="Other currencies">
    <${Table} caption="Totals in other currencies" columns=${columns} rows=${rows} rowKey=${(row) => row.currency} />
  </section>`;
}

function WhatIsIn({ row, isRead, error }) {
  if (!isRead) return html`<p class="note">${error ? "No sum could be read so far." : "Loading"}</p>`;
  const kinds = [
    count(row.contracts ?? 0, "option"),
    row.shares_futures ? count(row.shares_futures, "share or future", "shares and futures") : "",
    row.other_positions ? `${count(row.other_positions, "other position")} in no sum` : "",
    row.unnamed_currency ? `${count(row.unnamed_currency, "position")} without a currency, counted as USD` : "",
  ];
  const oldest = row.oldest_age_s ? ` · oldest value ${age(row.oldest_age_s)}` : "";
  return html`<p class="note">${count(row.positions ?? 0, "position")}: ${kinds.filter(Boolean).join(", ")}${oldest} <${OldParts} /></p>`;
}

// Those that are down, of the brokers that the view has.
function downNames() {
  const { broker: only } = route.value.params;
  return oldBrokers.value.filter(({ broker }) => !only || only === broker).map(({ broker }) => brokerName(broker));
}

/** That sums over all brokers have values of one that is down. */
export function OldParts() {
  const names = downNames();
  if (!names.length) return null;
  const words = names.length === 1 ? "is not connected: its part" : "are not connected: their part";
  return html`<${Badge} state="warn">${names.join(" and ")} ${words} of the sums is old<//>`;
}

/** Return the columns of the sums; `hasUnits`: each row is of one underlying. */
export function sumColumns(hasUnits) {
  return SUMS.filter((sum) => !sum.onlyOne || hasUnits).map((sum) => ({
    id: sum.field,
    label: measureOf(sum).label,
    title: measureOf(sum).title,
    width: sum.width,
    look: "has-sums",
    sort: (row) => row[sum.field],
    cell: (row) => html`<${SumCell} sum=${sum} row=${row} large=${sum.large ?? LARGE_IN_TABLE} />`,
  }));
}

/** Return the columns of how many positions there are, and of what the sums lack. */
export function countColumns() {
  return [
    { id: "positions", label: "Pos.", title: "Positions of any kind", width: 52, sort: (row) => row.positions, cell: (row) => html`<${Figure} field="positions" value=${row.positions} />` },
    { id: "state", label: "State", left: true, width: 116, sort: (row) => row.stale, cell: (row) => html`<${State} row=${row} />` },
  ];
}

/** The mark of a row whose sums lack something, beside its name: its state may be out of sight. */
export function Flaw({ row }) {
  const [missing, stale] = [mostMissing(row), row.stale ?? 0];
  if (!missing && !stale) return null;
  const words = faultsOfSum({ missing, of: row.positions, stale }).join(", ");
  return html`<span class="flaw" title=${words}><span aria-hidden="true"> ▲</span><span class="hidden"> (${words})</span></span>`;
}

function State({ row }) {
  if (row.broker && isDown(row.broker)) return html`<${Badge} state="critical">broker is down<//>`;
  const missing = mostMissing(row);
  // Which brokers a sum is of is not known here.
  const down = row.broker ? [] : downNames();
  const isComplete = missing + row.stale + row.other_positions + down.length === 0;
  return html`
    ${down.length > 0 && html`<${Badge} state="warn" title=${`What is of ${down.join(" and ")} has its last values`}>${down.length > 1 ? "old values" : `${down[0]} old`}<//>`}
    ${missing > 0 && html`<${Badge} state="warn" title="Positions that at least one sum lacks">${missing} missing<//>`}
    ${row.stale > 0 && html`<${Badge} state="warn" title="Positions with stale values">${row.stale} stale<//>`}
    ${row.other_positions > 0 && html`<${Badge} title="Positions that no sum includes">${row.other_positions} not counted<//>`}
    ${isComplete && html`<${Badge} state="ok">complete<//>`}
  `;
}

function mostMissing(row) {
  return Math.max(...SUMS.map((sum) => row[sum.missing] ?? 0));
}

// One sum of a row, with its marks.  Of positions that no sum includes, a sum of zero says nothing.
function SumCell({ sum, row, large }) {
  const isEmpty = row.positions > 0 && row.positions === row.other_positions;
  const value = isEmpty ? null : (row[sum.field] ?? null);
  const measure = { ...measureOf(sum), large };
  return html`<${Sum} field=${sum.field} value=${value} measure=${measure} faults=${faultsOf(sum, row)} coloured=${sum.coloured} remark=${sum.remark?.(row)} />`;
}

function faultsOf(sum, row) {
  const part = row[sum.estimated] || 0;
  const estimated = part ? number(part, measureOf(sum)) : "";
  return { missing: row[sum.missing] ?? 0, of: row.positions, estimated, stale: row.stale ?? 0, carried: row[sum.carried] ?? 0 };
}

function betaRemark({ without_beta: without }) {
  if (!without?.length) return "";
  const more = without.length > MOST_NAMED ? ` and ${without.length - MOST_NAMED} more` : "";
  return `no beta of ${without.slice(0, MOST_NAMED).join(", ")}${more}`;
}

function measureOf(sum) {
  return sum.measure ?? MEASURES[sum.field];
}

function isMoney(sum) {
  return sum.field !== "net_delta" && sum.field !== "beta_weighted_delta";
}
