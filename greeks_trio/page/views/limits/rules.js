// The rules: what each watches, its bounds, its value between them, and its state.

import { html } from "../../vendor/preact.js";
import { now } from "../../lib/clock.js";
import { Reading } from "../../lib/figure.js";
import { MINUS, age, count, moment } from "../../lib/format.js";
import { SEVERITY_LEVELS, isUnwatched, limitsRead } from "../../lib/limits.js";
import { Badge } from "../../lib/parts.js";
import { change } from "../../lib/router.js";
import { Table } from "../../lib/table.js";
import { Gauge, plain, roomOf } from "./gauge.js";

const STATES = ["breached", "unknown", "new", "ok"];
const LEVELS = { unknown: "warn", new: "info", ok: "ok" };
const SEVERITIES = ["critical", "warning", "info"];
// More of them scroll inside.
const MOST_SHORT = 10;

/** The table of the rules; a click on one shows its messages only. */
export function Rules({ rows, params }) {
  const isOld = isUnwatched.value || limitsRead.value.error !== null;
  return html`<section class="panel limits" aria-label="Rules">
    <header>
      <h2>Rules</h2>
      <${Summary} rows=${rows ?? []} />
    </header>
    <${Table}
      caption="The rules with their states"
      columns=${COLUMNS}
      rows=${rows ?? []}
      rowKey=${(row) => row.rule}
      rowClass=${(row) => (isOld || row.state === "unknown" ? "unvouched" : "")}
      sort=${params.sort ?? "state"}
      onSort=${(sort) => change({ sort })}
      onOpen=${(row) => change({ rule: params.rule === row.rule ? null : row.rule })}
      tall=${rows?.length > MOST_SHORT}
    />
    <${Unknown} rows=${rows ?? []} />
  </section>`;
}

function Summary({ rows }) {
  return STATES.map((state) => {
    const found = rows.filter((row) => row.state === state).sort((one, other) => order(one) - order(other));
    return found.length > 0 && html`<${Badge} key=${state} state=${levelOf(found[0])}>${found.length} ${state}<//>`;
  });
}

// Why a rule has no value: beside the table, whose last column a phone shows only after scrolling.
function Unknown({ rows }) {
  const found = rows.filter(({ state, reason }) => reason && (state === "unknown" || state === "new"));
  if (found.length === 0) return null;
  return html`<div class="body">
    <p class="note">Not known at the last look:</p>
    <ul class="reasons">
      ${found.map((row) => html`<li key=${row.rule}><b>${row.rule}</b>: ${aboutLook(row)}</li>`)}
    </ul>
  </div>`;
}

/** A breach is as bad as the rule says. */
function levelOf({ state, severity }) {
  return LEVELS[state] ?? SEVERITY_LEVELS[severity];
}

const COLUMNS = [
  { id: "rule", label: "Rule", left: true, width: 150, narrow: 124, sort: (row) => row.rule, cell: (row) => html`<span title=${row.rule}>${row.rule}</span>` },
  { id: "state", label: "State", left: true, width: 106, narrow: 106, sort: order, cell: (row) => html`<${State} row=${row} />` },
  { id: "since", label: "For", title: "How long the state has lasted", width: 66, narrow: false, sort: (row) => Date.parse(row.since), cell: Since },
  {
    id: "value",
    label: "Value",
    title: "The last one that told something",
    width: 92,
    narrow: 84,
    sort: (row) => row.value,
    cell: (row) => html`<${Reading} field="value" value=${row.value} text=${plain(row.value)} title=${valueTitle(row)} />`,
  },
  { id: "gauge", label: "Bounds", title: "Where the value lies between its bounds", left: true, width: 138, cell: Gauge },
  { id: "room", label: "Room", title: "From the value to the nearest bound", width: 100, sort: (row) => roomOf(row.value, row.threshold), cell: Room },
  { id: "threshold", label: "A breach is a value", left: true, width: 178, cell: Threshold },
  { id: "figure", label: "Watches", left: true, width: 300, sort: watched, cell: Watched },
  { id: "severity", label: "Severity", left: true, width: 84, sort: (row) => SEVERITIES.indexOf(row.severity), cell: (row) => row.severity },
  { id: "reason", label: "About the last look", left: true, width: 330, cell: (row) => html`<span class="meta" title=${aboutLook(row)}>${aboutLook(row)}</span>` },
];

function order({ state, severity }) {
  return STATES.indexOf(state) * SEVERITIES.length + SEVERITIES.indexOf(severity);
}

function State({ row }) {
  return html`<${Badge} state=${levelOf(row)}>${row.state}<//>`;
}

function Since({ since }) {
  return html`<span title=${`Since ${moment(since)}`}>${age(Math.max(0, now.value - Date.parse(since)) / 1000)}</span>`;
}

function valueTitle({ value_at: at, unit }) {
  return at ? `${unit}, at ${moment(at)}` : undefined;
}

function Room({ value, threshold }) {
  const room = roomOf(value, threshold);
  const text = room === null ? "" : room < 0 ? `${plain(-room)} beyond` : plain(room);
  return html`<${Reading} field="room" value=${room} text=${text} />`;
}

function Threshold({ threshold }) {
  const text = threshold.replaceAll("-", MINUS);
  return html`<span title=${text}>${shorter(threshold) ?? text}</span>`;
}

// `outside -500 to 500` as `outside ±500`.
function shorter(threshold) {
  const [, words, low, high] = /^(\w+) -([\d.,]+) to ([\d.,]+)$/.exec(threshold) ?? [];
  return low !== undefined && low === high ? `${words} \u00b1${high}` : null;
}

const FIGURES = { stale: "stale positions" };

function watched({ figure, scope }) {
  return `${FIGURES[figure] ?? figure.replaceAll("_", " ")} of ${scope === "whole book" ? "the whole book" : scope}`;
}

function Watched(row) {
  const unit = row.unit.startsWith("of ") ? `as a part ${row.unit}` : `in ${row.unit}`;
  return html`<span title=${`${watched(row)}, ${unit}`}>${watched(row)} <span class="meta">${unit}</span></span>`;
}

function aboutLook({ reason, positions, missing, stale, market_hours: market }) {
  const hours = market ? `Counts while ${market} is open.` : "";
  if (reason) return `${reason}. ${hours}`;
  const found = [missing && `${missing} missing`, stale && `${stale} stale`].filter(Boolean).join(", ");
  return `${positions === 0 ? "No open position in its scope" : count(positions, "position")}${found ? `, ${found}` : ""}. ${hours}`;
}
