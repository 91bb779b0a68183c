// All underlyings of the book and of the watch-list.

import { html } from "../../vendor/preact.js";
import { contractsState } from "../../lib/contracts.js";
import { Figure, Sum, faultsOfSum } from "../../lib/figure.js";
import { MEASURES, age, brokerName, day } from "../../lib/format.js";
import { Badge, Empty, Freshness } from "../../lib/parts.js";
import { useResource } from "../../lib/resource.js";
import { change, go, href } from "../../lib/router.js";
import { Table } from "../../lib/table.js";
import { MARKET, betaTitle, downOf, priceMeasure, marketKey, marketOf, priceAgeS, prices, rankOf, skewNote, termFault, useMarket } from "./market.js";

/** The list of the underlyings. */
export function UnderlyingList({ params }) {
  const totals = useResource("/v1/risk/totals", { group_by: "underlying" }, { everyMs: 3000, isList: true, keep: true });
  const market = useMarket();
  const rows = rowsOf(totals.value ?? [], market);
  const isKnown = totals.value !== null && contractsState.value !== "loading";
  return html`
    <div class="head">
      <h1>Underlyings</h1>
      <span class="meta"><${Freshness} resource=${totals} /></span>
    </div>
    <section class="panel">
      ${isKnown && rows.length === 0
        ? html`<${Empty} title="No underlyings yet"
            >The underlyings of open positions and of watched contracts appear here. <a href=${href("health")}>Health</a> says whether the brokers are
            connected. <code>GREEKS_WATCHLIST</code> names contracts to watch.<//
          >`
        : html`<${Underlyings} rows=${rows} sort=${params.sort} isKnown=${isKnown} />`}
    </section>
    ${isKnown &&
    html`<p class="note">
      Prices come with the options: an underlying without a streamed option has none. IV and skew are from the options that are held or watched. A dash
      means that there are too few options or no source; the page of the underlying says which.
      <${Faults} market=${market} />
    </p>`}
  `;
}

function Faults({ market: { metrics, terms, skews } }) {
  const failed = [
    [metrics, "Betas and ranks"],
    [terms, "IV"],
    [skews, "Skew"],
  ].filter(([resource]) => resource.error);
  return failed.map(([{ error }, name]) => html` <${Badge} key=${name} state="warn">${name}: ${error.message}<//>`);
}

// The rows of the sums, and one for each underlying that is only watched; the largest first.
function rowsOf(totals, market) {
  const held = totals.map((sums) => ({ underlying: sums.underlying, currency: sums.currency, sums }));
  const known = new Set(held.map(marketKey));
  const watched = [...prices.value.values()].filter((each) => !known.has(marketKey(each)));
  const all = [...held, ...watched.map(({ underlying, currency }) => ({ underlying, currency, sums: null }))];
  return all
    .map((row) => ({ ...row, price: prices.value.get(marketKey(row)), ...marketOf(row, market) }))
    .sort((one, other) => sizeOf(other) - sizeOf(one) || one.underlying.localeCompare(other.underlying));
}

function sizeOf({ sums }) {
  return Math.abs(sums?.dollar_delta ?? 0);
}

function Underlyings({ rows, sort, isKnown }) {
  const isMixed = new Set(rows.map((row) => row.currency)).size > 1;
  return html`<${Table}
    caption="Underlyings"
    columns=${columns(isMixed)}
    rows=${isKnown ? rows : []}
    rowKey=${marketKey}
    rowClass=${({ price }) => (downOf(price) ? "unvouched" : "")}
    sort=${sort}
    onSort=${(next) => change({ sort: next })}
    onOpen=${({ underlying }) => go("underlying", { underlying })}
    tall
  />`;
}

function columns(isMixed) {
  const figure = (id, valueOf, extra) => ({
    id,
    label: MARKET[id].label,
    title: MARKET[id].title,
    sort: (row) => valueOf(row).value,
    cell: (row) => html`<${Figure} measure=${MARKET[id]} ...${valueOf(row)} />`,
    ...extra,
  });
  return [
    { id: "underlying", label: "Underlying", left: true, width: 128, narrow: 110, sort: (row) => row.underlying, cell: (row) => html`${row.underlying}<${Flaw} row=${row} />` },
    ...(isMixed ? [{ id: "currency", label: "Curr.", title: "Currency", left: true, width: 54, sort: (row) => row.currency, cell: (row) => row.currency }] : []),
    figure("price", ({ price }) => ({ field: "underlying_price", value: price?.price ?? null, measure: priceMeasure(price?.price), title: priceTitle(price) }), { width: 92 }),
    { id: "age", label: "Age", title: "Time since this price was made", width: 60, sort: ({ price }) => priceAgeS(price), cell: ({ price }) => age(priceAgeS(price)) },
    { id: "positions", label: "Pos.", title: "Positions of any kind", width: 56, sort: (row) => row.sums?.positions ?? 0, cell: (row) => html`<${Figure} field="positions" value=${row.sums?.positions ?? 0} />` },
    {
      id: "dollar_delta",
      label: MEASURES.dollar_delta.label,
      title: MEASURES.dollar_delta.title,
      width: 102,
      look: "has-sums",
      sort: (row) => row.sums?.dollar_delta ?? null,
      cell: ({ sums }) => html`<${Sum} field="dollar_delta" value=${sums?.dollar_delta ?? null} faults=${faultsOf(sums)} measure=${{ ...MEASURES.dollar_delta, large: 1e8 }} />`,
    },
    figure("beta", ({ metrics }) => ({ field: "beta", value: metrics?.beta ?? null, title: betaTitle(metrics) }), { width: 58 }),
    figure("iv_rank", ({ metrics }) => rankOf(metrics, "iv_rank"), { width: 70 }),
    figure("iv_percentile", ({ metrics }) => rankOf(metrics, "iv_percentile"), { width: 66 }),
    figure("implied_volatility", ({ term }) => ({ field: "implied_volatility", value: term?.implied_volatility ?? null, title: termFault(term) }), { width: 74 }),
    figure("days_used", ({ term }) => ({ field: "days_used", value: term?.days_used ?? null }), { width: 56 }),
    figure("skew", ({ next }) => ({ field: "skew", value: next?.skew ?? null, title: skewNote(next) }), { width: 64 }),
    { id: "expiration", label: "Next expiration", left: true, width: 110, sort: ({ next }) => next?.expiration ?? null, cell: ({ next }) => (next ? day(next.expiration) : html`<span class="none">–</span>`) },
    { id: "state", label: "State", left: true, width: 116, sort: (row) => row.sums?.stale ?? null, cell: (row) => html`<${State} row=${row} />` },
  ];
}

function priceTitle(price) {
  return price?.at ? `${price.price}, from ${brokerName(price.broker)}` : "No option on it brings a price";
}

function faultsOf(sums) {
  if (sums === null) return {};
  return { missing: sums.missing_dollar_delta, of: sums.positions, stale: sums.stale, carried: sums.carried_delta };
}

// Its state may be out of sight.
function Flaw({ row: { sums } }) {
  const words = faultsOfSum({ ...faultsOf(sums), carried: 0 }).join(", ");
  return words && html`<span class="flaw" title=${words}><span aria-hidden="true"> ▲</span><span class="hidden"> (${words})</span></span>`;
}

function State({ row: { sums, price } }) {
  const down = downOf(price);
  if (down) return html`<${Badge} state="critical" title="The sums have its last values">${down} down<//>`;
  if (sums === null) return html`<${Badge}>only watched<//>`;
  const { missing_dollar_delta: missing, stale, other_positions: others } = sums;
  return html`
    ${missing > 0 && html`<${Badge} state="warn" title="Positions that the dollar delta lacks">${missing} missing<//>`}
    ${stale > 0 && html`<${Badge} state="warn" title="Positions with stale values">${stale} stale<//>`}
    ${others > 0 && html`<${Badge} title="Positions that no sum includes">${others} not counted<//>`}
    ${missing + stale + others === 0 && html`<${Badge} state="ok">complete<//>`}
  `;
}
