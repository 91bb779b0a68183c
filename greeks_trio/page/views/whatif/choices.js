// The choices of the view `what-if`: its address, and the parameters of the interface.

import { filtersOf } from "../../lib/filters.js";
import { MEASURES, number } from "../../lib/format.js";
import { groupingsOf } from "../../lib/picker.js";

/** The groups, with their label. */
export const GROUPINGS = ["underlying", "expiration", "strategy_tag", "account_id", "broker"];

/** The units: their ranges, the shifts or moves of the grid within a range of 1, and the steps of the sliders. */
export const MOVE_UNITS = {
  percent: { label: "Per cent", ranges: [5, 10, 15, 30, 50], usual: 15, suffix: "\u202f%", step: (range) => (range > 5 ? 0.5 : 0.1) },
  sigma: { label: "Standard deviations", ranges: [1, 2, 3, 5, 10], usual: 3, suffix: "\u202fσ", step: () => 0.1 },
};
export const VOL_UNITS = {
  points: { label: "Points", ranges: [3, 6, 9, 15, 30], usual: 15, suffix: "\u202fpts", step: (range) => (range > 6 ? 1 : 0.5) },
  percent: { label: "Per cent", ranges: [15, 30, 60, 90], usual: 30, suffix: "\u202f%", step: () => 1 },
};
export const SCALINGS = [
  ["parallel", "Parallel", "The same shift for every expiration"],
  ["square_root", "Square root of time", "The shift is that of an option with 30 days; others get it times the root of 30 / days"],
];

/** The days that the slider reaches. */
export const MOST_DAYS = 90;
/** The days that a line can have. */
export const LINE_DAYS = [0, 1, 7, 14, 30, 60, 90];
/** As many lines as there are colours. */
export const MOST_LINES = 6;

const MOVES_EACH_SIDE = 5;
const VOLS_EACH_SIDE = 3;
const CURVE_EACH_SIDE = 20;

/** Return the choices that an address has; what it lacks or has wrong is the usual choice. */
export function choicesOf(params) {
  const moveUnit = Object.hasOwn(MOVE_UNITS, params.move_unit) ? params.move_unit : "percent";
  const volUnit = Object.hasOwn(VOL_UNITS, params.vol_unit) ? params.vol_unit : "points";
  const range = positive(params.range, MOVE_UNITS[moveUnit].usual);
  const volRange = positive(params.vol_range, VOL_UNITS[volUnit].usual);
  const vols = around(volRange, VOLS_EACH_SIDE);
  // The currency chooses among the blocks of the view, so that one can go to the others.
  const { currency, ...filters } = filtersOf(params);
  const groupings = groupingsOf(GROUPINGS, filters);
  return {
    moveUnit,
    volUnit,
    range,
    volRange,
    moves: around(range, MOVES_EACH_SIDE),
    vols,
    curveMoves: around(range, CURVE_EACH_SIDE),
    scaling: params.vol_scaling === "square_root" ? "square_root" : "parallel",
    benchmark: params.benchmark?.trim() || null,
    betas: params.betas?.trim() || null,
    rate: finite(params.rate, null),
    yields: params.dividend_yields?.trim() || null,
    groupings,
    by: groupings.includes(params.by) ? params.by : (groupings[0] ?? "underlying"),
    move: finite(params.move, 0),
    vol: finite(params.vol, 0),
    days: Math.max(0, finite(params.days, 0)),
    lines: params.lines === "days" ? "days" : "vols",
    lineVols: listed(params.line_vols, vols) ?? [-volRange, 0, volRange],
    lineDays: listed(params.line_days, LINE_DAYS) ?? [0, 7, 30],
    filters,
    currency: currency ?? null,
  };
}

function finite(text, usual) {
  const value = Number(text);
  return text === undefined || text === "" || !Number.isFinite(value) ? usual : value;
}

function positive(text, usual) {
  const value = finite(text, usual);
  return value > 0 ? value : usual;
}

function listed(text, known) {
  if (text === undefined) return null;
  const wanted = text.split(",").map(Number);
  return known.filter((each) => wanted.includes(each)).slice(0, MOST_LINES);
}

/** Return numbers from `-range` to `range`, with 0 in the middle. */
export function around(range, eachSide) {
  return Array.from({ length: 2 * eachSide + 1 }, (_, at) => rounded(((at - eachSide) * range) / eachSide));
}

function rounded(value) {
  return Math.round(value * 1e6) / 1e6;
}

/** Return the parameters that all requests of the view have. */
export function baseParams({ moveUnit, volUnit, scaling, benchmark, betas, rate, yields, filters }) {
  return {
    move_unit: moveUnit,
    vol_unit: volUnit,
    vol_scaling: scaling,
    benchmark,
    betas: benchmark ? betas : null,
    rate,
    dividend_yields: yields,
    ...filters,
  };
}

/** Return a list for the interface, in ascending order and without repetitions. */
export function list(...values) {
  return [...new Set(values)].sort((one, other) => one - other).join(",");
}

/** Return a move as text, such as `+5 %`. */
export function moveText(value, unit) {
  return signed(value) + MOVE_UNITS[unit].suffix;
}

/** Return a shift of the volatility as text, such as `−3 pts`. */
export function volText(value, unit) {
  return signed(value) + VOL_UNITS[unit].suffix;
}

/** Return days forward as text. */
export function daysText(days) {
  if (days === 0) return "now";
  return `${number(days, { most: 2 })}\u202fd`;
}

/** Return when the scenario is, in words. */
export function laterText(days) {
  return days === 0 ? "now" : `in ${number(days, { most: 2 })} ${days === 1 ? "day" : "days"}`;
}

/** Return the scenario in words, for headings and screen readers. */
export function scenarioText({ move, vol, days }, { moveUnit, volUnit, benchmark }) {
  if (move === 0 && vol === 0 && days === 0) return "No change";
  const mover = benchmark ? `${benchmark.toUpperCase()} ` : "";
  return `${mover}${moveText(move, moveUnit)}, volatility ${volText(vol, volUnit)}, ${laterText(days)}`;
}

function signed(value) {
  return number(value, { digits: 0, most: 2, signed: true });
}

/** How the figures of a grid are written. */
export const GRID_MEASURES = {
  profit_loss: { label: "Profit or loss", title: "Full repricing minus the value now, by the model", digits: 0, large: true, signed: true },
  taylor_profit_loss: { label: "By the Greeks alone", title: "The same by delta, gamma, vega and theta of now, for comparison", digits: 0, large: true, signed: true },
  value: { label: "Value", title: "Value by the model", digits: 0, large: true },
  dollar_delta: MEASURES.dollar_delta,
  delta: MEASURES.net_delta,
  gamma: MEASURES.position_gamma,
  theta: MEASURES.position_theta,
  vega: MEASURES.position_vega,
  rho: MEASURES.position_rho,
};
