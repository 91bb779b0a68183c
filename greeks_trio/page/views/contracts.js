// The contracts: every option that is held or watched, live, and every other position.

import { html, useEffect, useMemo, useRef } from "../vendor/preact.js";
import { now } from "../lib/clock.js";
import { contractsState, revision } from "../lib/contracts.js";
import { FilterChips, filtersOf } from "../lib/filters.js";
import { count, moment, number } from "../lib/format.js";
import { Badge, Empty, Unread } from "../lib/parts.js";
import { positionsRevision, positionsState, strategyOf, usePositions } from "../lib/positions.js";
import { change, go, href } from "../lib/router.js";
import { contractsError, isDown, readError } from "../lib/status.js";
import { Table } from "../lib/table.js";
import { columnsOf } from "./contracts/columns.js";
import { Controls } from "./contracts/controls.js";
import { useList } from "./contracts/list.js";

// The shares and futures come a moment after the options; so long the list waits for them.
const PATIENCE_MS = 1500;
const GROUPINGS = ["underlying", "expiration", "account_id", "broker", "strategy_tag"];

/** The view `contracts`. */
export function Contracts({ params }) {
  usePositions();
  const isHeld = useRef(false);
  const by = GROUPINGS.includes(params.by) ? params.by : "";
  const isPosition = params.greeks === "position";
  const list = useList(params, by, isPosition, isHeld);
  const { places, hasStrategies, hasLongNames } = list;
  const columns = useMemo(
    () => columnsOf({ isPosition, places, hasStrategies, hasLongNames, by }),
    [isPosition, places, hasStrategies, hasLongNames, by],
  );
  const isEarly = useEarly();
  return html`
    <div class="head">
      <h1>Contracts</h1>
      <${FilterChips} params=${params} />
      <${Counts} list=${list} />
    </div>
    <section class="panel contracts">
      <${Controls} params=${params} by=${by} groupings=${GROUPINGS} isPosition=${isPosition} />
      ${list.rows.length && !isEarly
        ? html`<${Rows} ...${{ rows: list.rows, columns, sort: params.sort, isHeld }} />`
        : html`<div class="tall-empty">${isEarly ? html`<${Loading} />` : html`<${Nothing} params=${params} list=${list} />`}</div>`}
    </section>
  `;
}

function Counts({ list }) {
  const { shown, total, stale, orderedAt, isSorted, isHeld } = list;
  // It has its room always: nothing may move when the pointer enters the list.
  return html`<span class="meta">
    ${isSorted && html`<span class="order" style=${{ visibility: isHeld ? "visible" : "hidden" }}>order of ${moment(orderedAt)}, while you are in the list · </span>`}
    <${Faults} />
    <span role="status"><span class="order">shown </span><b data-field="shown" data-value=${shown}>${number(shown)}</b> of <b data-field="total" data-value=${total}>${number(total)}</b></span>,
    ${" "}<b data-field="stale" data-value=${stale}>${number(stale)}</b> stale
  </span>`;
}

// What the list lacks, if one of its two sources was not read.
function Faults() {
  const { value: listError } = contractsError;
  const { error: failure, at } = positionsState.value;
  const error = readError(failure);
  return html`
    ${listError && html`<${Badge} state="warn" title=${listError.message}>Options: ${listError.message}<//> `}
    ${error &&
    html`<${Badge} state="warn" title=${error.message}
        >Strategies, shares and futures${at === null ? " are missing" : ` are those of ${moment(at)}`}: ${error.message}<//
      > `}
  `;
}

function Rows({ rows, columns, sort, isHeld }) {
  const host = useHold(isHeld);
  return html`<div ref=${host}>
    <${Table}
      caption="Contracts"
      columns=${columns}
      rows=${rows}
      rowKey=${idOf}
      rowClass=${lookOf}
      sort=${sort}
      onSort=${sortBy}
      onOpen=${open}
      version=${versionOf}
      isOrdered=${true}
      tall=${true}
    />
  </div>`;
}

// The table draws a row only when these functions say so: they are always the same ones.
function idOf(row) {
  return row.id;
}

function versionOf(row) {
  revision.value;
  positionsRevision.value;
  return row.isGroup ? row.version : `${row.version} ${strategyOf(row)}`;
}

function lookOf(row) {
  return !row.isGroup && isDown(row.broker) ? "unvouched" : "";
}

function sortBy(sort) {
  change({ sort });
}

function open(row) {
  go("contract", { contract_key: row.contract_key, broker: row.broker, account_id: row.account_id });
}

// Nothing moves under a mouse, or under the row that has the focus.
function useHold(isHeld) {
  const host = useRef(null);
  useEffect(() => {
    const element = host.current;
    let hasPointer = false;
    const update = () => {
      isHeld.current = hasPointer || element.querySelector("tbody :focus-visible") !== null;
    };
    const onPointer = (event) => {
      if (event.pointerType !== "mouse") return;
      hasPointer = event.type === "pointermove";
      update();
    };
    // Not pointerenter: the pointer may be there when the list appears.
    const listeners = { pointermove: onPointer, pointerleave: onPointer, focusin: update, focusout: () => setTimeout(update) };
    for (const [name, listener] of Object.entries(listeners)) element.addEventListener(name, listener);
    return () => {
      isHeld.current = false;
      for (const [name, listener] of Object.entries(listeners)) element.removeEventListener(name, listener);
    };
  }, []);
  return host;
}

function useEarly() {
  const since = useRef(performance.now());
  now.value;
  const { at, error } = positionsState.value;
  return at === null && error === null && performance.now() - since.current < PATIENCE_MS;
}

function Loading() {
  return html`<${Empty} title="Loading">The list of contracts is being read.<//>`;
}

function Nothing({ params, list }) {
  now.value;
  const { value: error } = contractsError;
  if (error && list.total === 0) return html`<${Unread} title="The contracts cannot be read" error=${error} />`;
  if (contractsState.value === "loading") return html`<${Loading} />`;
  if (list.total > 0) {
    const isFiltered = Object.keys(filtersOf(params)).length > 0;
    const all = href("contracts", { by: params.by, sort: params.sort, greeks: params.greeks });
    return html`<${Empty} title="No contract fits"
      >None of ${count(list.total, "contract")} and positions fits ${isFiltered ? "the filters" : "what you typed or chose"}.${" "}<a href=${all}>Show all</a><//
    >`;
  }
  return html`<${Empty} title="No contracts yet"
    >Contracts appear here as soon as a broker reports a position. <a href=${href("health")}>Health</a> says whether the brokers are connected. A
    watch-list (<code>GREEKS_WATCHLIST</code>) streams contracts without a position.<//
  >`;
}
