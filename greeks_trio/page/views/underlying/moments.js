// What the moments of a history lack, as intervals with words.

import { age, brokerName, count, moment } from "../../lib/format.js";
import { GAP_REASONS } from "../../lib/words.js";

const GAP = "--gap-shade";
const INCOMPLETE = "--incomplete-shade";

/** The measures of a history, each with the column that counts the positions it lacks. */
export const MISSING = {
  market_value: "missing_value",
  dollar_delta: "missing_dollar_delta",
  net_delta: "missing_net_delta",
  gamma: "missing_gamma",
  dollar_gamma: "missing_dollar_gamma",
  theta: "missing_theta",
  vega: "missing_vega",
  worst: "worst",
};

/**
 * Return the intervals in which a measure is not known (`gap`) or lacks something
 * (`incomplete`): `{kind, from, to, missing, stale}`, in seconds.  A moment stands for the
 * time until half way to its neighbours.
 * @param {object} sums Of one currency.
 * @param {{time: Array<number>, accounts: Array<object>}} history
 */
export function faultsOf(sums, { time: times, accounts }, field) {
  const missing = sums[MISSING[field]];
  const allKnownFrom = Math.max(...accounts.map((each) => each.known_from ?? -Infinity));
  const kinds = times.map((time, at) => {
    if (sums.positions[at] === null) return "gap";
    return (missing?.[at] ?? 0) > 0 || sums.stale[at] > 0 || time < allKnownFrom ? "incomplete" : null;
  });
  const intervals = [];
  kinds.forEach((kind, at) => {
    if (kind === null) return;
    const last = intervals[intervals.length - 1];
    const [from, to] = around(times, at);
    const worst = { missing: missing?.[at] ?? 0, stale: sums.stale[at] ?? 0 };
    if (last?.kind === kind && kinds[at - 1] === kind) {
      last.to = to;
      last.missing = Math.max(last.missing, worst.missing);
      last.stale = Math.max(last.stale, worst.stale);
    } else intervals.push({ kind, from, to, ...worst });
  });
  return intervals;
}

function around(times, at) {
  const half = (other) => (times[at] + (times[other] ?? times[at])) / 2;
  return [half(at - 1), half(at + 1)];
}

/**
 * Return the intervals for a chart, with the outages of brokers and accounts.  That of one
 * contract is in the counts, and may last for weeks.
 */
export function shadesOf(faults, outages) {
  const gaps = [...faults.filter((each) => each.kind === "gap"), ...outages.filter((each) => each.contract_key === null)];
  return [
    ...faults.filter((each) => each.kind === "incomplete").map(({ from, to }) => [from, to, INCOMPLETE]),
    ...merged(gaps).map(([from, to]) => [from, to, GAP]),
  ];
}

function merged(intervals) {
  const found = [];
  for (const { from, to } of intervals.sort((one, other) => one.from - other.from)) {
    const last = found.at(-1);
    if (last && from <= last[1]) last[1] = Math.max(last[1], to);
    else found.push([from, to]);
  }
  return found;
}

/**
 * Return those of the outages that concern the accounts or contracts, each with `from` and
 * `to` in seconds.
 * @param {number} end Of those that last, in milliseconds.
 */
export function outagesOf(outages, accounts, contractKeys, end) {
  const own = new Set(accounts.map((each) => `${each.broker}|${each.account_id}`));
  const brokers = new Set(accounts.map((each) => each.broker));
  return outages
    .filter(({ broker, account_id: account, contract_key: contract }) => {
      if (contract !== null) return contractKeys.has(contract);
      return account === null ? brokers.has(broker) : own.has(`${broker}|${account}`);
    })
    .map((each) => ({ ...each, from: Date.parse(each.started_at) / 1000, to: (each.ended_at ? Date.parse(each.ended_at) : end) / 1000 }));
}

/** Return what an interval lacks, in words. */
export function faultWords({ kind, from, to, missing, stale }) {
  if (kind === "gap") return `${between(from, to)}: the positions are not known`;
  const parts = [missing > 0 && `up to ${count(missing, "position")} missing`, stale > 0 && `up to ${count(stale, "position")} stale`];
  return `${between(from, to)}: ${parts.filter(Boolean).join(", ") || "not all accounts were known"}`;
}

/** Return an outage in words. */
export function outageWords({ broker, account_id: account, contract_key: contract, from, to, ended_at: ended, reasons }) {
  const what = [brokerName(broker), account, contract].filter(Boolean).join(" ");
  const why = reasons.map((reason) => GAP_REASONS[reason] ?? reason).join(" ");
  return `${ended ? between(from, to) : `since ${moment(from * 1000)}`}: no data of ${what}. ${why}`;
}

function between(from, to) {
  return `${moment(from * 1000)} – ${moment(to * 1000)} (${age(to - from)})`;
}
