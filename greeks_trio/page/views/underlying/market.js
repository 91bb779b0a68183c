// What is known about the underlyings themselves: prices, betas and volatilities.

import { computed } from "../../vendor/preact.js";
import { now } from "../../lib/clock.js";
import { contracts, revision } from "../../lib/contracts.js";
import { age, brokerName, day } from "../../lib/format.js";
import { useResource } from "../../lib/resource.js";
import { isDown } from "../../lib/status.js";

const EVERY_MS = 5000;
// Betas and ranks are of days.
const METRICS_EVERY_MS = 30_000;
const LIST = { isList: true, keep: true };

/** How to write each figure of an underlying. */
export const MARKET = {
  price: { label: "Price", title: "The newest price of the underlying that came with an option on it", digits: 2 },
  beta: { label: "Beta", title: "Beta to the S&P 500", digits: 2 },
  iv_rank: { label: "IV rank", title: "Where the volatility of 30 days lies between the lowest and the highest of a year", digits: 0, percent: true },
  iv_percentile: { label: "IV pct.", title: "IV percentile: the part of the days of a year with a lower volatility", digits: 0, percent: true },
  implied_volatility: { label: "IV 30 d", title: "Implied volatility at the money for 30 days, per year", digits: 1, percent: true },
  days_used: { label: "Days", title: "The days of that volatility: those of the nearest expiration where there are no two around 30 days", digits: 0 },
  skew: { label: "Skew", title: "Volatility of the 25-delta put minus that of the 25-delta call, of the next expiration", digits: 1, percent: true, signed: true },
};

// Small prices, such as those of currencies, have more decimals.
const SMALL = { ...MARKET.price, digits: 4 };

/** Return how to write a price: always with the same decimals, whatever broker it is from. */
export function priceMeasure(price) {
  return Math.abs(price ?? 0) < 10 ? SMALL : MARKET.price;
}

/** The brokers name no currency for some contracts; the service counts those as USD. */
export function currencyOf(row) {
  return row.currency ?? "USD";
}

/** Return the key of an underlying in a currency. */
export function marketKey({ underlying, currency }) {
  return `${underlying}|${currency ?? "USD"}`;
}

/**
 * The newest price of each underlying: `{underlying, currency, price, at, broker, brokers}` by
 * `marketKey`.  `brokers` are those that stream contracts on it.
 */
export const prices = computed(() => {
  revision.value;
  const newest = new Map();
  for (const row of contracts.values()) {
    if (row.underlying === null) continue;
    const key = marketKey(row);
    const at = row.underlying_price === null ? null : (row.underlyingMs ?? Date.parse(row.event_time));
    const old = newest.get(key);
    old?.brokers.add(row.broker);
    if (old !== undefined && (at === null || (old.at !== null && old.at >= at))) continue;
    const brokers = old?.brokers ?? new Set([row.broker]);
    newest.set(key, { underlying: row.underlying, currency: currencyOf(row), price: row.underlying_price, at, broker: row.underlying_price_source ?? row.broker, brokers });
  }
  return newest;
});

/** Return the names of the brokers of an underlying that are down, with commas between them. */
export function downOf(price) {
  return [...(price?.brokers ?? [])].filter(isDown).map(brokerName).join(", ");
}

/** Return the seconds since a price was made; `null` without one. */
export function priceAgeS(price) {
  return price?.at ? Math.max(0, (now.value - price.at) / 1000) : null;
}

/** Read what the service knows; with an underlying, of this one only. */
export function useMarket(underlying) {
  return {
    metrics: useResource("/v1/market-metrics", {}, { ...LIST, everyMs: METRICS_EVERY_MS }),
    terms: useResource("/v1/risk/term-structure", { underlying }, { ...LIST, everyMs: EVERY_MS }),
    skews: useResource("/v1/risk/skew", { underlying }, { ...LIST, everyMs: EVERY_MS }),
  };
}

/**
 * Return the market's figures of an underlying in a currency: the columns of
 * `/v1/market-metrics`, `term` (the row of 30 days) and `next` (the row of the next expiration).
 * Each may be `undefined`.
 */
export function marketOf({ underlying, currency }, { metrics, terms, skews }) {
  const isOwn = (row) => row.underlying === underlying && row.currency === currency;
  return {
    metrics: (metrics.value ?? []).find((row) => row.symbol === underlying),
    term: (terms.value ?? []).find((row) => isOwn(row) && row.days === 30),
    next: (skews.value ?? []).find(isOwn),
  };
}

/** Return `{field, value, title}` of the IV rank or percentile: the source's, or else the own one. */
export function rankOf(metrics, field) {
  if (metrics === undefined) return { field, value: null, title: "No source has sent it" };
  if (metrics[field] !== null) {
    return { field, value: metrics[field], title: `${brokerName(metrics.iv_source)}, ${age(metrics.age_s)} ago` };
  }
  const own = `own_${field}`;
  const title = metrics[own] === null ? `Own: ${metrics.own_iv_missing ?? "not known"}` : `Own, from ${metrics.own_iv_days} days of your ticks`;
  return { field: own, value: metrics[own], title: [metrics.problem, title].filter(Boolean).join(". ") };
}

/** Return where the beta is from, or why there is none. */
export function betaTitle(metrics) {
  if (metrics === undefined) return "No source has sent it";
  if (metrics.beta === null) return metrics.problem ?? "Not known";
  return `${brokerName(metrics.beta_source)}, ${day(metrics.beta_date)}`;
}

/** Return why the volatility of 30 days is not that, or an empty text. */
export function termFault(term) {
  if (term === undefined) return "no expiration 7 to 90 days away has one";
  return term.days_used === term.days ? "" : `of ${Math.round(term.days_used)} days`;
}

/** Return why the skew is not known, or the day of its expiration. */
export function skewNote(next) {
  if (next === undefined) return "no options";
  return next.skew === null ? `${day(next.expiration)}: too few options` : day(next.expiration);
}
