// The contracts that both brokers have, side by side.

import { html } from "../../vendor/preact.js";
import { now } from "../../lib/clock.js";
import { Figure } from "../../lib/figure.js";
import { age, brokerName, contractName, number } from "../../lib/format.js";
import { Badge } from "../../lib/parts.js";
import { change, go } from "../../lib/router.js";
import { isDown } from "../../lib/status.js";
import { Table } from "../../lib/table.js";
import { COMPARED, isNearExpiration } from "./compare.js";

const SHARE = { digits: 1, percent: true };
const BROKERS = ["ibkr", "tastytrade"];

/**
 * @param {{rows: Array<object>, id: string, threshold: number, at: number, sort: string}} props
 *   `rows`: compared rows; `id`: the measure, or `all`; `threshold` in per cent; `at`: the
 *   service's time of the rows.
 */
export function ComparedContracts({ rows, id, threshold, at, sort }) {
  const one = COMPARED.find((each) => each.id === id);
  // IBKR sends no rho; the summary says so.
  const comparable = COMPARED.filter((each) => rows.some((row) => row.relative[each.id] !== null));
  const measures = one === undefined ? comparable : [one];
  const columns = [
    { id: "contract", label: "Contract", left: true, width: 240, narrow: 132, sort: contractName, cell: (row) => html`<span title=${contractName(row)}>${contractName(row)}</span>` },
    ...(one === undefined ? [largestColumn()] : []),
    ...BROKERS.map((broker) => valueColumn(broker, one)),
    differenceColumn(one),
    ...measures.map((each) => relativeColumn(each, threshold, one !== undefined)),
    ...BROKERS.map((broker) => ageColumn(broker, at)),
  ];
  return html`<${Table}
    caption=${one === undefined ? "Contracts at both brokers, all measures" : `Contracts at both brokers, ${one.measure.label}`}
    columns=${columns}
    rows=${rows}
    rowKey=${(row) => row.contract_key}
    rowClass=${() => (BROKERS.some(isDown) ? "unvouched" : "")}
    sort=${sort ?? (one === undefined ? "-largest" : `-${id}`)}
    onSort=${(next) => change({ sort: next })}
    onOpen=${(row) => go("contract", { contract_key: row.contract_key })}
    tall
  />`;
}

function largestColumn() {
  return {
    id: "largest",
    label: "Largest in",
    title: "The measure with the largest relative difference; the next columns show its values",
    left: true,
    width: 96,
    sort: (row) => (row.largest === null ? null : row.relative[row.largest.id]),
    cell: (row) => row.largest?.measure.label ?? html`<span class="none">nothing</span>`,
  };
}

function valueColumn(broker, one) {
  return {
    id: broker,
    label: brokerName(broker),
    width: broker === "tastytrade" ? 90 : 80,
    sort: one && ((row) => row[`${broker}_${one.id}`]),
    cell: (row) => html`<${Value} row=${row} field=${`${broker}_${(one ?? row.largest)?.id}`} of=${one ?? row.largest} isAligned=${Boolean(one)} />`,
  };
}

function differenceColumn(one) {
  return {
    id: "difference",
    label: "Difference",
    title: "IBKR minus Tastytrade",
    width: 84,
    sort: one && ((row) => row[`${one.id}_difference`]),
    cell: (row) => html`<${Value} row=${row} field=${`${(one ?? row.largest)?.id}_difference`} of=${one ?? row.largest} isAligned=${Boolean(one)} signed />`,
  };
}

function Value({ row, field, of, isAligned, signed = false }) {
  if (of === null) return html`<span class="none">–</span>`;
  const { digits, most = digits } = of.measure;
  const decimals = isAligned || isSmall(row, of.id) ? most : digits;
  return html`<${Figure} field=${field} value=${row[field]} measure=${{ ...of.measure, digits: decimals, most: decimals, signed }} />`;
}

function isSmall(row, id) {
  return BROKERS.every((broker) => Math.abs(row[`${broker}_${id}`] ?? 0) < 1);
}

function relativeColumn(each, threshold, isAlone) {
  return {
    id: each.id,
    label: isAlone ? "Relative" : each.measure.label,
    title: `${each.measure.title}: the relative difference`,
    width: isAlone ? 92 : each.id === "underlying_price" ? 84 : 64,
    sort: (row) => row.relative[each.id],
    cell: (row) => html`<${Relative} row=${row} of=${each} threshold=${threshold} />`,
  };
}

function Relative({ row, of: { id, measure }, threshold }) {
  const size = row.relative[id];
  const isBeyond = size !== null && size > threshold / 100;
  const isNear = id === "theta" && size !== null && isNearExpiration(row, now.value);
  const values = BROKERS.map((broker) => `${brokerName(broker)} ${number(row[`${broker}_${id}`], measure)}`).join(", ");
  const words = [isBeyond && `beyond ${threshold} %`, isNear && "the definitions differ near the expiration"].filter(Boolean).join("; ");
  return html`<span class=${`relative ${isBeyond ? "beyond" : ""}`} title=${[values, words].filter(Boolean).join("; ")}
    ><span aria-hidden="true">${isNear ? "\u2020" : ""}</span><${Figure} field=${`${id}_relative`} value=${size} measure=${SHARE} /><span
      class="mark"
      aria-hidden="true"
      >${isBeyond ? "\u25b2" : ""}</span
    >${words && html`<span class="hidden"> (${words})</span>`}</span
  >`;
}

function ageColumn(broker, at) {
  const field = `${broker}_age_s`;
  return {
    id: field,
    label: `${broker === "ibkr" ? "IBKR" : "Tasty"} age`,
    title: `Time since the newest tick of ${brokerName(broker)} was received`,
    width: 80,
    sort: (row) => row[field],
    cell: (row) => html`<${Age} value=${row[field]} isStale=${row[`${broker}_is_stale`]} at=${at} />`,
  };
}

function Age({ value, isStale, at }) {
  // It grows until the next answer.
  const seconds = value === null ? null : value + Math.max(0, (now.value - at) / 1000);
  const text = seconds === null ? "no tick" : age(seconds);
  return isStale ? html`<${Badge} state="warn" title="Stale: not in the summary">${text}<//>` : text;
}
