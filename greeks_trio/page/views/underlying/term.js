// The term structure, and the skew of each expiration.

import { html, useMemo } from "../../vendor/preact.js";
import { Chart } from "../../lib/chart.js";
import { Figure } from "../../lib/figure.js";
import { age, count, day, number } from "../../lib/format.js";
import { Badge, Empty, Freshness, Unread } from "../../lib/parts.js";
import { Table } from "../../lib/table.js";
import { IV, ivText } from "./smile.js";

const HEIGHT = 300;

/**
 * @param {{skews: Array<object>, terms: Array<object>, resource: object}} props Rows of one
 *   underlying in one currency.
 */
export function TermPanel({ skews, terms, resource }) {
  const data = useMemo(() => curves(skews, terms), [skews, terms]);
  const unknown = skews.filter((row) => row.at_the_money === null).length;
  return html`<section class="panel" aria-label="Term structure">
    <header>
      <h2>Term structure</h2>
      <span class="meta"><${Freshness} resource=${resource} /></span>
    </header>
    ${data.x.length
      ? html`<div class="body">
          <${Chart} label="Implied volatility at the money by days" summary=${summaryOf(skews)} x=${data.x} series=${data.series} height=${HEIGHT} isTime=${false} labelX="Days" range=${data.range} formatX=${daysText} />
          <p class="note">${termNotes(unknown, terms)}</p>
        </div>`
      : resource.value === null
        ? html`<${NotRead} error=${resource.error} />`
        : html`<${Empty} title="No volatility at the money">${unknown ? `${count(unknown, "expiration")} with too few options near the money.` : "No option on it is held or watched."}<//>`}
  </section>`;
}

function NotRead({ error }) {
  return error ? html`<${Unread} title="The volatilities cannot be read" error=${error} />` : html`<p class="body note">Loading</p>`;
}

// Expirations and constant maturities on one axis of days.
function curves(skews, terms) {
  const expirations = new Map(skews.filter((row) => row.at_the_money !== null).map((row) => [tenths(row.days), row.at_the_money]));
  const constant = new Map(terms.map((row) => [tenths(row.days_used), row.implied_volatility]));
  const x = [...new Set([...expirations.keys(), ...constant.keys()])].sort((one, other) => one - other);
  const common = { format: ivText, spansGaps: true };
  const series = [
    { ...common, label: "Expirations", marker: "circle", colour: "--series-1", values: x.map((days) => expirations.get(days) ?? null) },
    { ...common, label: "Constant days", marker: "square-open", colour: "--series-2", dash: [5, 3], values: x.map((days) => constant.get(days) ?? null) },
  ];
  return { x, series, range: [0, (x[x.length - 1] ?? 0) * 1.06] };
}

// The two answers are of different moments, and a day apart by seconds is the same one.
function tenths(days) {
  return Math.round(days * 10) / 10;
}

function daysText(days) {
  return `${number(days, { most: 1 })} d`;
}

function summaryOf(skews) {
  return skews.filter((row) => row.at_the_money !== null).map((row) => `${day(row.expiration)}: ${ivText(row.at_the_money)}.`).join(" ");
}

function termNotes(unknown, terms) {
  const nearest = terms.find((row) => row.days_used !== row.days);
  const sentences = [
    unknown && `${count(unknown, "expiration")} without a point: too few options near the money.`,
    nearest && `The value for ${nearest.days} days is that of ${Math.round(nearest.days_used)} days, the nearest expiration.`,
    !terms.length && "Constant days need two expirations around them.",
  ];
  return sentences.filter(Boolean).join(" ") || "Constant days lie between the expirations on both sides.";
}

/** The skew of each expiration. */
export function SkewTable({ rows }) {
  const volatility = (id, label, title, measure = IV) => ({
    id,
    label,
    title,
    width: 96,
    sort: (row) => row[id],
    cell: (row) => html`<${Figure} field=${id} value=${row[id]} measure=${measure} />`,
  });
  const columns = [
    { id: "expiration", label: "Expiration", left: true, width: 112, narrow: 92, cell: (row) => day(row.expiration) },
    { id: "days", label: "Days", title: "Until 16:00 in New York on that day", width: 60, cell: (row) => html`<${Figure} field="days" value=${row.days} measure=${{ digits: 0 }} />` },
    volatility("at_the_money", "At the money", "Implied volatility at a call's delta of 0.50"),
    volatility("put_25_delta", "25-delta put", "Implied volatility at a put's delta of −0.25"),
    volatility("call_25_delta", "25-delta call", "Implied volatility at a call's delta of 0.25"),
    volatility("skew", "Skew", "25-delta put minus 25-delta call", { ...IV, signed: true }),
    { id: "options", label: "Options", title: "Options that are points of the smile", width: 72, cell: (row) => html`<${Figure} field="options" value=${row.options} />` },
    { id: "not_used", label: "Not used", title: NOT_USED, width: 80, cell: (row) => html`<${Figure} field="not_used" value=${row.not_used} />` },
    { id: "oldest_age_s", label: "Oldest", title: "Age of the oldest tick of these options", width: 76, cell: (row) => age(row.oldest_age_s) },
    { id: "lacks", label: "Lacks", left: true, width: 240, cell: (row) => html`<${Lacks} row=${row} />` },
  ];
  return html`<section class="panel" aria-label="Skew">
    <header><h2>Skew</h2></header>
    <${Table} caption="Skew by expiration" columns=${columns} rows=${rows} rowKey=${(row) => row.expiration} />
    <div class="body note">
      <p>From the options that are held or watched, at both brokers. Not used: ${NOT_USED[0].toLowerCase()}${NOT_USED.slice(1)}. More strikes in
        <code> GREEKS_WATCHLIST</code> fill what is lacking.</p>
    </div>
  </section>`;
}

const NOT_USED = "Options that are stale, adjusted, without delta or volatility, with values from an older tick, or with a delta below 0.01 or above 0.99";

function Lacks({ row }) {
  const names = [
    ["at_the_money", "at the money"],
    ["put_25_delta", "put"],
    ["call_25_delta", "call"],
  ].filter(([field]) => row[field] === null);
  if (!names.length) return html`<${Badge} state="ok">nothing<//>`;
  return html`<${Badge} state="warn" title="No option is near enough to this delta">too few options: ${names.map(([, name]) => name).join(", ")}<//>`;
}
