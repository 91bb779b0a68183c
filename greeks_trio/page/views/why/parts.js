// The parts of a profit or loss: their order, names, and the counts that say what they lack.

import { count } from "../../lib/format.js";

/** The parts in the order of the waterfall: the column of the interface, label, meaning, and what it may lack. */
export const PARTS = [
  { field: "delta", label: "Delta", title: "Delta times the move of the underlying; all of it for shares and futures", missing: "missing_delta" },
  { field: "gamma", label: "Gamma", title: "Half of gamma times the squared move of the underlying", missing: "missing_gamma" },
  { field: "theta", label: "Theta", title: "Theta times the time", missing: "missing_theta" },
  { field: "vega", label: "Vega", title: "Vega times the change of the implied volatility", missing: "missing_vega" },
  { field: "rho", label: "Rho", title: "The stored values have no rates of interest; their effect is in the residual" },
  { field: "vanna", label: "Vanna", title: "By the model: move of the underlying times change of the volatility", missing: "missing_second_order" },
  { field: "vomma", label: "Vomma", title: "By the model: half of the squared change of the volatility", missing: "missing_second_order" },
  { field: "charm", label: "Charm", title: "By the model: move of the underlying times time", missing: "missing_second_order" },
  { field: "trading", label: "Trading", title: "From the price of each trade to the next mark" },
  { field: "residual", label: "Residual", title: "What no part explains" },
];

/** How amounts are written: with cents where the whole is small. */
export function moneyMeasure(row, signed = true) {
  const isSmall = Math.abs(row.profit_loss) < 1000;
  return { digits: isSmall ? 2 : 0, large: true, signed };
}

/**
 * Return the steps of the waterfall of a row.
 *
 * start value + trades + parts = end value; what the interface does not know has no step.
 * @returns {Array<{field, label, title, kind, from, to, value}>} `kind`: `total`, `trades`, `part` or `residual`.
 */
export function stepsOf(row) {
  let level = row.start_value;
  const steps = [{ field: "start_value", label: "Start", title: "Value at the start", kind: "total", from: 0, to: level, value: level }];
  const add = (field, label, title, kind) => {
    if (row[field] === null) return;
    steps.push({ field, label, title, kind, from: level, to: level + row[field], value: row[field] });
    level += row[field];
  };
  if (row.trades !== 0) add("trades", "Trades", "Value bought less value sold", "trades");
  for (const { field, label, title } of PARTS) add(field, label, title, field === "residual" ? "residual" : "part");
  steps.push({ field: "end_value", label: "End", title: "Value at the end", kind: "total", from: 0, to: row.end_value, value: row.end_value });
  return steps;
}

/**
 * Return the range of values that the waterfall shows.  The parts fill it; the bars of the
 * values, and of large trades, may begin outside of it.
 */
export function domainOf(steps) {
  const inner = steps.filter((step) => step.kind === "part" || step.kind === "residual").flatMap(({ from, to }) => [from, to]);
  const last = steps.at(-1).value;
  const [low, high] = [Math.min(...inner, last), Math.max(...inner, last)];
  const span = high - low || Math.abs(high) || 1;
  // Zero is shown where it does not press the parts together.
  const [from, to] = [Math.min(low, 0), Math.max(high, 0)];
  return to - from <= 3 * span ? [from - (from < 0 ? 0.12 * span : 0), to + (to > 0 ? 0.12 * span : 0)] : [low - 0.25 * span, high + 0.25 * span];
}

/** Return what a part lacks, in words; empty if it is complete. */
export function lackOf(row, { field, missing }) {
  if (row[field] === null) return field === "rho" ? "not known; in the residual" : "not known";
  const lacking = row[missing] ?? 0;
  return lacking ? `${count(lacking, "position")} of ${row.contracts} ${lacking === 1 ? "lacks" : "lack"} it at times; that is in the residual` : "";
}

/** Return the residual as a part of the profit or loss, and of the sizes of all parts. */
export function residualParts(row) {
  const size = PARTS.filter(({ field }) => field !== "residual").reduce((sum, { field }) => sum + Math.abs(row[field] ?? 0), 0);
  return {
    ofProfit: row.profit_loss === 0 ? null : Math.abs(row.residual / row.profit_loss),
    ofSizes: size === 0 ? null : Math.abs(row.residual) / size,
  };
}
