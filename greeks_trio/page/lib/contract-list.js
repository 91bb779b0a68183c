// The list of contracts that a person sees: filtered, in order, in groups.

import { isCarried, kindOf, reasonOf } from "./contract-state.js";
import { brokerName, contractName } from "./format.js";
import { POSITION_FIELDS, positionFigure } from "./position-greeks.js";
import { strategyOf } from "./positions.js";

/** Return the name of a row as traders write it. */
export function nameOf(row) {
  row.name ??= contractName(row);
  return row.name;
}

/** Return a text by which rows are in the order of underlying, expiration, strike and right. */
export function naturalKey(row) {
  row.natural ??= [
    row.underlying ?? row.contract_key,
    row.expiration && row.strike !== null ? row.expiration : "",
    // Strikes may be below zero.
    ((row.strike ?? 0) + 1e7).toFixed(4).padStart(14, "0"),
    row.option_type ?? "",
    row.contract_key,
    row.broker,
    row.account_id,
  ].join(" ");
  return row.natural;
}

// The text in which the text filter searches; it changes with the strategy only.
function wordsOf(row) {
  const strategy = strategyOf(row);
  if (row.words === undefined || row.wordsStrategy !== strategy) {
    row.wordsStrategy = strategy;
    row.words = [nameOf(row), row.contract_key, row.underlying, row.account_id, brokerName(row.broker), strategy, kindOf(row), row.option_type, row.currency, row.exchange]
      .filter(Boolean)
      .join(" ")
      .toLowerCase();
  }
  return row.words;
}

function valueOf(row, name) {
  return name === "strategy_tag" ? strategyOf(row) : (row[name] ?? null);
}

/**
 * Return the rows that the criteria leave.
 * @param {object} criteria The filters of the address, `option_type`, `isStale`, and `q`: words
 *   that all have to be in the texts of the row.
 * @param {number} at The service's time, for stale rows.
 */
export function filterRows(rows, { q = "", option_type: type, isStale, strategy_tag: strategy, without = "", ...equal }, at) {
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  const absent = without.split(",").filter(Boolean);
  const pairs = Object.entries(equal).filter(([, value]) => value);
  return rows.filter(
    (row) =>
      pairs.every(([name, value]) => row[name] === value) &&
      (!type || row.option_type === type) &&
      (!strategy || strategyOf(row) === strategy) &&
      absent.every((name) => !(name === "strategy_tag" ? strategyOf(row) : row[name])) &&
      (!words.length || words.every((word) => wordsOf(row).includes(word))) &&
      (!isStale || reasonOf(row, at) !== null),
  );
}

/**
 * Return the rows in order.  Rows without a value are last; equal ones keep their natural order.
 * @param {string} sort `id` or `-id` of a column.
 */
export function orderRows(rows, columns, sort) {
  const column = columns.find((each) => each.id === sort.replace(/^-/, ""));
  const value = column?.sort ?? naturalKey;
  const sign = sort.startsWith("-") ? -1 : 1;
  const keyed = rows.map((row) => [value(row), naturalKey(row), row]);
  return keyed.sort((one, two) => compare(one[0], two[0], sign) || compare(one[1], two[1], 1)).map(([, , row]) => row);
}

function compare(one, two, sign) {
  if (one === two) return 0;
  if (one === null || one === undefined) return 1;
  if (two === null || two === undefined) return -1;
  return one < two ? -sign : sign;
}

/**
 * Return the rows with a heading before each group, and the headings.
 * @param {string} by A column, or `strategy_tag`.
 * @param {Map} old The headings of before, which stay the same objects.
 */
export function groupRows(rows, by, old) {
  const groups = new Map();
  for (const row of rows) {
    const value = valueOf(row, by);
    const id = `group|${by === "account_id" ? `${row.broker}|` : ""}${value}`;
    if (!groups.has(id)) groups.set(id, Object.assign(old.get(id) ?? { id, isGroup: true, by, value, broker: row.broker, version: 0 }, { rows: [] }));
    groups.get(id).rows.push(row);
  }
  const ordered = [...groups.values()].sort((one, two) => compare(one.value, two.value, 1));
  return { list: ordered.flatMap((group) => [group, ...group.rows]), groups };
}

/**
 * Return the sums of a group, with what they lack.
 *
 * Units of several underlyings, and money of several currencies, do not add up: such a sum is
 * `null`, and `reason` says so.
 */
export function sumsOf(rows, at) {
  const held = rows.filter((row) => row.quantity !== null && row.kind !== "other");
  const mixed = { units: new Set(held.map((row) => row.underlying)).size > 1, money: new Set(held.map((row) => row.currency)).size > 1 };
  const sums = { positions: rows.length, stale: rows.filter((row) => reasonOf(row, at) !== null).length };
  for (const field of Object.keys(POSITION_FIELDS)) sums[field] = sumOf(held, field, mixed);
  return sums;
}

function sumOf(rows, field, mixed) {
  const isUnits = field === "position_delta" || field === "position_gamma";
  if (isUnits ? mixed.units : mixed.money) return { value: null, reason: isUnits ? "Units of several underlyings do not add up" : "Money of several currencies does not add up" };
  const sum = { value: null, missing: 0, carried: 0, of: rows.length };
  for (const row of rows) {
    const value = positionFigure(row, field);
    if (value !== null) sum.value = (sum.value ?? 0) + value;
    else if (!lacksByKind(row, field)) sum.missing += 1;
    if (isCarried(row, POSITION_FIELDS[field])) sum.carried += 1;
  }
  return sum;
}

// A share has neither gamma nor theta: its sum lacks nothing.
function lacksByKind(row, field) {
  const isShareOrFuture = row.kind === "equity" || row.kind === "future";
  return isShareOrFuture && field !== "position_delta" && field !== "position_value";
}
