// One underlying: its price, the book in it, and its volatilities.

import { html } from "../../vendor/preact.js";
import { contractsState } from "../../lib/contracts.js";
import { Figure } from "../../lib/figure.js";
import { FilterChips, filtersOf } from "../../lib/filters.js";
import { age, brokerName } from "../../lib/format.js";
import { Badge, Empty, Freshness } from "../../lib/parts.js";
import { useProfit, withProfit } from "../../lib/profit.js";
import { useResource } from "../../lib/resource.js";
import { href } from "../../lib/router.js";
import { isDown } from "../../lib/status.js";
import { Totals } from "../../lib/sums.js";
import { HistoryPanel } from "./history.js";
import { MARKET, betaTitle, downOf, marketOf, priceAgeS, priceMeasure, prices, rankOf, skewNote, termFault, useMarket } from "./market.js";
import { SmilePanel } from "./smile-chart.js";
import { SkewTable, TermPanel } from "./term.js";

/** The view of one underlying. */
export function OneUnderlying({ params }) {
  const { underlying, ...filters } = filtersOf(params);
  const totals = useResource("/v1/risk/totals", { group_by: "book", underlying, ...filters }, { everyMs: 2000, isList: true, keep: true });
  const profit = useProfit("book", { underlying, ...filters });
  const market = useMarket(underlying);
  const own = [...prices.value.values()].filter((price) => price.underlying === underlying);
  const currencies = currenciesOf(totals.value ?? [], own, market);
  const isUnknown = totals.value !== null && market.skews.value !== null && contractsState.value !== "loading" && !currencies.length;
  return html`
    <div class="head">
      <h1>${underlying}</h1>
      ${own.map((price) => html`<${Price} key=${price.currency} price=${price} />`)}
      <${FilterChips} params=${filters} />
      <span class="meta"><${Freshness} resource=${totals} /></span>
    </div>
    <${Links} underlying=${underlying} filters=${filters} />
    ${isUnknown && html`<div class="panel"><${Unknown} underlying=${underlying} /></div>`}
    ${totals.value?.length !== 0 ? html`<${Sums} rows=${withProfit(totals, profit)} own=${own} error=${totals.error} />` : !isUnknown && html`<p class="note">No open position: its options are only watched.</p>`}
    ${!isUnknown && html`<${HistoryPanel} ...${{ underlying, filters, params }} />`}
    ${currencies.map((currency) => html`<${Volatilities} key=${currency} ...${{ underlying, currency, market, own, wanted: params.expirations, isAlone: currencies.length === 1 }} />`)}
  `;
}

// The sums of the book; they say that they have the last values of a broker that is down.
function Sums({ rows, own, error }) {
  const down = own.map(downOf).find(Boolean);
  return html`<div class=${down ? "unvouched" : ""}>
    <${Totals} rows=${rows} error=${error} />
  </div>`;
}

// Those of anything that is shown; dollars first.
function currenciesOf(totals, own, { skews }) {
  const all = [...totals, ...own, ...(skews.value ?? [])].map((row) => row.currency);
  return [...new Set(all)].sort((one, other) => (other === "USD") - (one === "USD") || one.localeCompare(other));
}

function Price({ price }) {
  const isVouched = !isDown(price.broker);
  return html`<span class=${`price ${isVouched ? "" : "unvouched"}`}>
    <${Figure} field="underlying_price" value=${price.price} measure=${priceMeasure(price.price)} title=${MARKET.price.title} />${" "}
    <span class="meta">${price.currency}${price.at ? `, ${age(priceAgeS(price))} ago, ${brokerName(price.broker)}` : ": no option brings a price"}</span>
    ${!isVouched && html`<${Badge} state="critical">${brokerName(price.broker)} is down<//>`}
  </span>`;
}

function Links({ underlying, filters }) {
  const part = { underlying, ...filters };
  const links = [
    [href("underlying"), "All underlyings"],
    [href("contracts", part), "Contracts"],
    [href("book", { ...part, by: "expiration" }), "By expiration"],
    [href("what-if", part), "What if"],
    [href("why", part), "Why"],
  ];
  return html`<nav class="links" aria-label=${`More about ${underlying}`}>
    ${links.map(([address, text]) => html`<a key=${text} href=${address}>${text}</a>`)}
  </nav>`;
}

function Unknown({ underlying }) {
  return html`<${Empty} title=${`Nothing about ${underlying}`}
    >No position and no watched contract has this underlying. <a href=${href("underlying")}>All underlyings</a> has those that have.<//
  >`;
}

function Volatilities({ underlying, currency, market, own, wanted, isAlone }) {
  const isOwn = (row) => row.underlying === underlying && row.currency === currency;
  const skews = (market.skews.value ?? []).filter(isOwn);
  const terms = (market.terms.value ?? []).filter(isOwn);
  return html`<section class="stack" aria-label=${`Volatilities in ${currency}`} data-currency=${currency}>
    ${!isAlone && html`<h2>Options in ${currency}</h2>`}
    <${MarketFigures} ...${marketOf({ underlying, currency }, market)} market=${market} />
    <div class="wide-left">
      <${SmilePanel} underlying=${underlying} currency=${currency} price=${own.find((price) => price.currency === currency)} wanted=${wanted} />
      <${TermPanel} skews=${skews} terms=${terms} resource=${market.skews} />
    </div>
    ${skews.length > 0 && html`<${SkewTable} rows=${skews} />`}
  </section>`;
}

// Before an answer, it is not known what is lacking.
function unread({ value, error }) {
  return value === null ? (error?.message ?? "Loading") : "";
}

function MarketFigures({ metrics, term, next, market }) {
  const rank = rankOf(metrics, "iv_rank");
  const percentile = rankOf(metrics, "iv_percentile");
  const figures = [
    { id: "implied_volatility", field: "implied_volatility", value: term?.implied_volatility ?? null, note: unread(market.terms) || termFault(term) || "at the money" },
    { id: "iv_rank", ...rank, note: unread(market.metrics) || rank.title },
    { id: "iv_percentile", ...percentile, note: unread(market.metrics) || percentile.title },
    { id: "skew", field: "skew", value: next?.skew ?? null, note: unread(market.skews) || skewNote(next) },
    { id: "beta", field: "beta", value: metrics?.beta ?? null, note: unread(market.metrics) || betaTitle(metrics) },
  ];
  return html`<dl class="figures">
    ${figures.map(
      ({ id, field, value, note }) => html`<div key=${id}>
        <dt title=${MARKET[id].title}>${id === "iv_percentile" ? "IV percentile" : MARKET[id].label}</dt>
        <dd>
          <${Figure} field=${field} value=${value} measure=${MARKET[id]} />
          <span class="meta" title=${note}>${note}</span>
        </dd>
      </div>`,
    )}
  </dl>`;
}
