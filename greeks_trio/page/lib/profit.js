// The P/L since midnight in New York, beside the sums of the book.

import { useResource } from "./resource.js";

// It costs the service more than the sums.
const EVERY_MS = 5000;
const FIELDS = ["profit_loss", "left_out", "from_first_price", "first_price_at", "trades_at_mark", "started_at"];

/** Read the P/L of each group; `by` and the filters are those of the totals. */
export function useProfit(by, filters) {
  return useResource("/v1/risk/profit", { group_by: by, ...filters }, { everyMs: EVERY_MS, isList: true, keep: true });
}

/**
 * Return the rows of the totals with the P/L of the same group and currency.
 *
 * A row without one has a P/L that is not known.  So has every row while the two answers are
 * those of different filters.
 * @param {object} totals The `useResource` of `/v1/risk/totals`; its rows may be `null`.
 * @param {object} profits That of `useProfit`.
 */
export function withProfit(totals, profits) {
  if (totals.value === null || !profits.value || !isSamePart(totals.params, profits.params)) return totals.value;
  const by = totals.params.group_by;
  const found = new Map(profits.value.map((profit) => [groupKey(profit, by), profit]));
  return totals.value.map((row) => {
    const profit = found.get(groupKey(row, by)) ?? {};
    return { ...row, ...Object.fromEntries(FIELDS.map((name) => [name, profit[name] ?? null])) };
  });
}

function isSamePart({ with_estimates: _, ...one }, other) {
  const names = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...names].every((name) => one[name] === other[name]);
}

function groupKey(row, by) {
  return JSON.stringify([row.broker, row.account_id, row[by] ?? null, row.currency]);
}

/** Return in words how the P/L of a row was counted, if not for all positions since the start. */
export function profitRemark({ from_first_price: young, positions, trades_at_mark: guessed }) {
  const since = young === positions ? "since the first prices" : `${young} of ${positions} since first price`;
  return [young && since, guessed && `${guessed} trades at the next price`].filter(Boolean).join("; ");
}
