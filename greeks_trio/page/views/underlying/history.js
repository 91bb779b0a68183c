// The sums of the book in one underlying over time.

import { html, useMemo, useState } from "../../vendor/preact.js";
import { Chart } from "../../lib/chart.js";
import { now } from "../../lib/clock.js";
import { contracts } from "../../lib/contracts.js";
import { Figure } from "../../lib/figure.js";
import { MEASURES, axisNumber, brokerName, count, moment, number } from "../../lib/format.js";
import { Empty, Freshness } from "../../lib/parts.js";
import { RangePicker, zoomTo } from "../../lib/range-picker.js";
import { iso, rangeOf } from "../../lib/ranges.js";
import { useResource } from "../../lib/resource.js";
import { MARKET } from "./market.js";
import { faultWords, faultsOf, outageWords, outagesOf, shadesOf } from "./moments.js";

const POINTS = 120;
const FEWEST_POINTS = 12;
// The service reads at most 30,000 values for one answer; some contracts are no longer live.
const VALUES = 20_000;
const HEIGHT = 170;
const MOST_WORDS = 8;

const MONTH = new Intl.DateTimeFormat("en-GB", { month: "long", year: "numeric", timeZone: "UTC" });

const CHARTS = [
  { field: "underlying_price", measure: { ...MARKET.price, label: "Price of the underlying" } },
  { field: "market_value", measure: MEASURES.market_value, isMoney: true },
  { field: "net_delta", measure: MEASURES.net_delta },
  { field: "dollar_delta", measure: MEASURES.dollar_delta, isMoney: true },
  { field: "gamma", measure: { ...MEASURES.position_gamma, title: "Change of the net delta for a move of the underlying by 1.00" } },
  { field: "dollar_gamma", measure: MEASURES.dollar_gamma, isMoney: true },
  { field: "theta", measure: MEASURES.position_theta, isMoney: true },
  { field: "vega", measure: MEASURES.position_vega, isMoney: true },
];

/**
 * @param {{underlying: string, filters: object, params: object}} props `filters`: the part of
 *   the book; `params`: of the address.
 */
export function HistoryPanel({ underlying, filters, params }) {
  const keys = liveKeys(underlying);
  const points = Math.max(FEWEST_POINTS, Math.min(POINTS, Math.floor(VALUES / Math.max(1, keys.size))));
  const nowS = now.value / 1000;
  const range = rangeOf(params, nowS);
  const asked = { start: iso(range.start), end: range.end && iso(range.end) };
  const answer = useResource("/v1/risk/history", { underlying, ...asked, points, ...filters }, { keep: true });
  const outages = useResource("/v1/outages", asked, { keep: true, isList: true });
  return html`<section class="panel" aria-label="The book over time">
    <header>
      <h2>Over time</h2>
      <${RangePicker} range=${range} nowS=${nowS} />
      <span class="meta"><${Freshness} resource=${answer} /></span>
    </header>
    ${answer.value === null
      ? html`<${Waiting} answer=${answer} />`
      : html`<${Histories} history=${answer.value} outages=${outages} keys=${keys} />`}
  </section>`;
}

function Waiting({ answer: { error, reload } }) {
  if (!error) return html`<div class="body over-time waiting" aria-busy="true"><p class="note">Loading</p></div>`;
  return html`<${Empty} title="The history cannot be read"
    >${error.message} <button class="button" type="button" onClick=${reload}>Try again</button><//
  >`;
}

function liveKeys(underlying) {
  return new Set([...contracts.values()].filter((row) => row.underlying === underlying).map((row) => row.contract_key));
}

function Histories({ history, outages, keys }) {
  const own = outagesOf(outages.value ?? [], history.accounts, keys, Date.parse(history.end));
  if (!history.currencies.length) {
    return html`<${Empty} title="No positions in this time">The book had no position in ${history.underlying}. Choose another time.<//>`;
  }
  return html`<div class="body">
    ${history.currencies.map((sums) => html`<${Charts} key=${sums.currency} ...${{ sums, history, own, isAlone: history.currencies.length === 1 }} />`)}
    <${Notes} history=${history} own=${own} outagesError=${outages.error} />
  </div>`;
}

// One block of charts for each currency.  They show the same moment under the pointer.
function Charts({ sums, history, own, isAlone }) {
  const [cursor, setCursor] = useState(null);
  const times = history.time;
  const at = cursor ?? times.length - 1;
  return html`<section aria-label=${`Over time in ${sums.currency}`} data-currency=${sums.currency}>
    <p class="note at" data-moment=${times[at]}>
      ${isAlone ? "" : `${sums.currency}. `}Values of ${moment(times[at] * 1000)}${cursor === null ? ", the last moment" : ""}: ${momentWords(sums, at)}
    </p>
    <div class="over-time">
      ${CHARTS.map((each) => html`<${OneChart} key=${each.field} ...${each} ...${{ sums, history, own, at, onCursor: setCursor }} />`)}
    </div>
  </section>`;
}

function momentWords(sums, at) {
  if (sums.positions[at] === null) return "the positions are not known.";
  const stale = sums.stale[at] ? `, ${sums.stale[at]} stale` : "";
  const carried = sums.carried[at] ? `, ${count(sums.carried[at], "option")} with a value from an older tick` : "";
  return `${count(sums.positions[at], "position")}${stale}${carried}.`;
}

function OneChart({ field, measure, isMoney, sums, history, own, at, onCursor }) {
  const values = sums[field];
  const faults = useMemo(() => (field === "underlying_price" ? [] : faultsOf(sums, history, field)), [sums]);
  const gaps = useMemo(() => shadesOf(faults, own), [faults, JSON.stringify(own)]);
  const format = (value, step) => (step === undefined ? number(value, measure) : axisNumber(value, step));
  const series = useMemo(() => [{ label: measure.label, values, format, points: "alone" }], [values]);
  const missing = sums[`missing_${field === "market_value" ? "value" : field}`]?.[at];
  return html`<div>
    <h3 title=${measure.title}>
      ${measure.label}${isMoney ? ` ${sums.currency}` : ""}${" "}
      <span class="now"
        ><${Figure} field=${field} value=${values[at] ?? null} measure=${measure} isStill />${missing > 0 && html`<span class="mark" title=${`${missing} missing`}>*</span>`}</span
      >
    </h3>
    ${values.every((value) => value === null)
      ? html`<p class="nothing note" style=${{ minHeight: `${HEIGHT}px` }}>Not known at any moment of this time.</p>`
      : html`<${Chart}
          label=${`${measure.label} over time`}
          summary=${summaryOf(values, measure, faults)}
          x=${history.time}
          series=${series}
          gaps=${gaps}
          height=${HEIGHT}
          hasLegend=${false}
          sync="underlying-history"
          onZoom=${(from, to) => zoomTo(from, to, now.peek() / 1000)}
          onCursor=${onCursor}
        />`}
  </div>`;
}

function summaryOf(values, measure, faults) {
  const known = values.filter((value) => value !== null);
  if (!known.length) return "Nothing is known.";
  const text = (value) => number(value, measure);
  const lacking = faults.length ? ` ${count(faults.length, "interval")} not known or incomplete.` : "";
  return `From ${text(known[0])} to ${text(known[known.length - 1])}, lowest ${text(Math.min(...known))}, highest ${text(Math.max(...known))}.${lacking}`;
}

// What the shades mean, and everything that the charts lack, in words.
function Notes({ history, own, outagesError }) {
  const lines = [
    ...archivedWords(history.archived),
    ...accountWords(history.accounts.filter((each) => each.known_from !== null)),
    ...own.map(outageWords),
    ...history.currencies.flatMap((sums) => allFaults(sums, history).map(faultWords)),
  ];
  return html`
    <p class="key note">
      <span><span class="swatch gap" aria-hidden="true" />no data of a broker, or of all</span>
      <span><span class="swatch incomplete" aria-hidden="true" />positions missing or stale</span>
      <span>Drag over a chart to see a part of the time.</span>
      ${outagesError && html`<span>The outages could not be read: ${outagesError.message}</span>`}
    </p>
    ${lines.length > 0 &&
    html`<details class="lacks" open=${lines.length < 3}>
      <summary>${count(lines.length, "interval or account", "intervals or accounts")} with something lacking</summary>
      <ul class="note">
        ${lines.slice(0, MOST_WORDS).map((line) => html`<li key=${line}>${line}</li>`)}
        ${lines.length > MOST_WORDS && html`<li>and ${lines.length - MOST_WORDS} more; zoom in to see them</li>`}
      </ul>
    </details>`}
  `;
}

function accountWords(accounts) {
  if (!accounts.length) return [];
  const names = accounts.map((each) => `${brokerName(each.broker)} ${each.account_id}`).join(", ");
  const all = moment(Math.max(...accounts.map((each) => each.known_from)) * 1000);
  return [`${count(accounts.length, "account")} not known at first: ${names}. All positions are known from ${all} on; before that the sums lack some.`];
}

function archivedWords(archived) {
  if (archived === null) return ["The service may not read which months have left the database."];
  return archived.map(([from]) => `${MONTH.format(from * 1000)}: its ticks have left the database.`);
}

// Of all measures together: a moment lacks what the worst of them lacks.
function allFaults(sums, history) {
  const worst = sums.positions.map((_, at) => Math.max(...["value", "net_delta", "gamma", "theta", "vega"].map((name) => sums[`missing_${name}`][at] ?? 0)));
  return faultsOf({ ...sums, worst }, history, "worst");
}
