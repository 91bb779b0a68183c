// The rows that the list shows, once a second.

import { useRef } from "../../vendor/preact.js";
import { now } from "../../lib/clock.js";
import { filterRows, groupRows, nameOf, orderRows, sumsOf } from "../../lib/contract-list.js";
import { reasonOf } from "../../lib/contract-state.js";
import { membership } from "../../lib/contracts.js";
import { filtersOf } from "../../lib/filters.js";
import { priceDigits } from "../../lib/format.js";
import { allRows, positionsRevision, strategyOf } from "../../lib/positions.js";
import { columnsOf } from "./columns.js";

// The order does not depend on these.
const ANY = { places: 2, hasStrategies: true };
const LONG_NAME = 24;

/**
 * Return `{rows, shown, total, stale, places, hasStrategies, hasLongNames, orderedAt, isSorted, isHeld}`.
 *
 * The rows stay the same array as long as the order is the same.  While the list is held, only
 * a choice of the person changes the order.
 *
 * @param {object} params Of the address.
 * @param {string} by What the rows are grouped by.
 * @param {boolean} isPosition The figures are those of whole positions.
 * @param {{current: boolean}} isHeld
 */
export function useList(params, by, isPosition, isHeld) {
  const at = now.value;
  const kept = useRef({ key: null, rows: [], groups: new Map() });
  const choice = { ...filtersOf(params), q: params.q, option_type: params.option_type, isStale: params.is_stale === "true" };
  const key = JSON.stringify([choice, by, isPosition, params.sort]);
  // Rows that have come or gone are seen at once.
  membership.value;
  positionsRevision.value;
  const all = allRows();
  const state = kept.current;
  if (state.key !== key || !isHeld.current || !state.rows.length) {
    const filtered = filterRows(all, choice, at);
    const ordered = orderRows(filtered, columnsOf({ ...ANY, isPosition, by }), params.sort ?? "contract");
    Object.assign(state, { key, shown: filtered, orderedAt: at, ...grouped(ordered, by, state) });
  }
  noteSums(state, at);
  return { ...summary(state, all, at), isSorted: Boolean(params.sort), isHeld: isHeld.current };
}

function grouped(ordered, by, { rows, groups: old }) {
  const { list, groups } = by ? groupRows(ordered, by, old) : { list: ordered, groups: new Map() };
  const isSame = list.length === rows.length && list.every((row, place) => row === rows[place]);
  return { rows: isSame ? rows : list, groups };
}

function noteSums({ groups }, at) {
  for (const group of groups.values()) {
    group.sums = sumsOf(group.rows, at);
    group.version += 1;
  }
}

function summary({ rows, shown, orderedAt }, all, at) {
  return {
    rows,
    shown: shown.length,
    total: all.length,
    stale: shown.filter((row) => reasonOf(row, at) !== null).length,
    places: shown.reduce((most, row) => Math.max(most, priceDigits(row)), 2),
    hasStrategies: all.some((row) => strategyOf(row) !== null),
    hasLongNames: shown.some((row) => nameOf(row).length > LONG_NAME),
    orderedAt,
  };
}
