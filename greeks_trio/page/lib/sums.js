// The sums of positions, as `/v1/risk/totals` gives them: the whole book, or any part of it.

import { html } from "../vendor/preact.js";
import { Sum, faultsOfSum } from "./figure.js";
import { MEASURES, age, brokerName, count, number } from "./format.js";
import { Badge } from "./parts.js";
import { profitRemark } from "./profit.js";
import { route } from "./router.js";
import { downBrokers } from "./status.js";

/** The sums: the column of the interface, its counts, its estimated part, and the text of a figure. */
export const SUMS = [
  { field: "market_value", missing: "missing_value", carried: "carried_value", width: 92 },
  { field: "profit_loss", missing: "left_out", width: 92, coloured: true, remark: profitRemark },
  { field: "dollar_delta", missing: "missing_dollar_delta", carried: "carried_delta", estimated: "estimated_dollar_delta", width: 100, coloured: true },
  { field: "beta_weighted_delta", missing: "missing_beta_weighted", carried: "carried_delta", width: 90, coloured: true, unit: (row) => `${row.benchmark ?? "benchmark"} shares` },
  { field: "net_delta", missing: "missing_net_delta", carried: "carried_delta", estimated: "estimated_net_delta", width: 84, coloured: true, onlyOne: true },
  { field: "dollar_gamma", missing: "missing_dollar_gamma", carried: "carried_gamma", estimated: "estimated_dollar_gamma", width: 104, coloured: true },
  { field: "theta", missing: "missing_theta", carried: "carried_theta", estimated: "estimated_theta", measure: MEASURES.position_theta, width: 78, coloured: true },
  { field: "vega", missing: "missing_vega", carried: "carried_vega", estimated: "estimated_vega", measure: MEASURES.position_vega, width: 78, coloured: true },
];

/** One block of figures for each currency: money of two currencies does not add up. */
export function Totals({ rows }) {
  return (rows ?? [{ currency: "" }]).map(
    (row) => html`<section key=${row.currency} aria-label=${`Totals in ${row.currency}`} data-currency=${row.currency}>
      <dl class="figures">
        ${SUMS.filter((sum) => !sum.onlyOne || row.underlyings === 1).map(
          (sum) => html`<div key=${sum.field}>
            <dt title=${measureOf(sum).title}>${measureOf(sum).label}${isMoney(sum) && row.currency ? ` ${row.currency}` : ""}</dt>
            <dd>
              <${SumCell} sum=${sum} row=${row} />
              <span class="meta">${faultsOfSum({ ...faults(sum, row), carried: 0 })[0] ?? (sum.remark?.(row) || sum.unit?.(row)) ?? measureOf(sum).unit}</span>
            </dd>
          </div>`,
        )}
      </dl>
      <${WhatIsIn} row=${row} isLoading=${rows === null} />
    </section>`,
  );
}

function WhatIsIn({ row, isLoading }) {
  if (isLoading) return html`<p class="note">Loading</p>`;
  const kinds = [
    count(row.contracts ?? 0, "option"),
    row.shares_futures ? count(row.shares_futures, "share or future", "shares and futures") : "",
    row.other_positions ? `${count(row.other_positions, "other position")} in no sum` : "",
    row.unnamed_currency ? `${count(row.unnamed_currency, "position")} without a currency, counted as USD` : "",
  ];
  const oldest = row.oldest_age_s ? ` · oldest value ${age(row.oldest_age_s)}` : "";
  return html`<p class="note">${count(row.positions ?? 0, "position")}: ${kinds.filter(Boolean).join(", ")}${oldest} <${OldParts} /></p>`;
}

// A sum over all brokers has values of one that is down.
function OldParts() {
  const { broker: only } = route.value.params;
  const names = downBrokers.value.filter(({ broker }) => !only || only === broker).map(({ broker }) => brokerName(broker));
  if (!names.length) return null;
  const words = names.length === 1 ? "is not connected: its part" : "are not connected: their part";
  return html`<${Badge} state="warn">${names.join(" and ")} ${words} of the sums is old<//>`;
}

/** One sum of a row, with its marks. */
export function SumCell({ sum, row }) {
  return html`<${Sum} field=${sum.field} value=${row[sum.field] ?? null} measure=${measureOf(sum)} faults=${faults(sum, row)} coloured=${sum.coloured} remark=${sum.remark?.(row)} />`;
}

function faults(sum, row) {
  const part = row[sum.estimated] || 0;
  const estimated = part ? number(part, measureOf(sum)) : "";
  return { missing: row[sum.missing] ?? 0, of: row.positions, estimated, stale: row.stale ?? 0, carried: row[sum.carried] ?? 0 };
}

/** Return how to write a sum. */
export function measureOf(sum) {
  return sum.measure ?? MEASURES[sum.field];
}

function isMoney(sum) {
  return sum.field !== "net_delta" && sum.field !== "beta_weighted_delta";
}
