// How soon ticks are durable, against the target.

import { html } from "../../vendor/preact.js";
import { Chart } from "../../lib/chart.js";
import { course } from "../../lib/course.js";
import { Reading } from "../../lib/figure.js";
import { age, milliseconds, moment } from "../../lib/format.js";
import { slo } from "../../lib/live.js";
import { Badge } from "../../lib/parts.js";
import { pageState, status } from "../../lib/status.js";
import { Fact } from "./fact.js";

const PERCENTILES = [
  ["p50", "Half of the ticks"],
  ["p95", "95 of 100 ticks"],
  ["p99", "99 of 100 ticks"],
  ["max", "The slowest tick"],
];
// The scale is logarithmic: a latency of 2 ms and the target of 500 ms are both visible.
const LEAST_MS = 0.5;
const LEAST_COURSE_S = 300;

/** The panel of the latencies. */
export function Latency() {
  const { latency_ms: latency, slo: goal } = slo.value ?? status.value ?? {};
  if (!latency) return html`<section class="panel" aria-label="Latency"><header><h2>Latency</h2></header></section>`;
  return html`<section class="panel" aria-label="Latency">
    <header>
      <h2>Latency</h2>
      <${State} goal=${goal} />
      <span class="meta">from reading a frame until its ticks are durable, on disk or in the table</span>
    </header>
    <div class="body">
      <${Bars} latency=${latency} target=${goal.target_ms} />
      <p class="note legend" aria-hidden="true">
        <span><span class="bar minute" />last minute</span>
        <span><span class="bar start" />since the start</span>
        <span>The scale is logarithmic.</span>
      </p>
      <${Course} target=${goal.target_ms} />
      <dl class="readings">
        <${Fact} label="Ticks in the last minute" field="slo.ticks" value=${goal.ticks} />
        <${Fact} label="Overdue" title="Ticks that are not durable and older than the target" field="slo.overdue" value=${goal.overdue} />
        <${Fact} label="Oldest tick that is not durable" field="slo.oldest_undurable_age_ms" value=${goal.oldest_undurable_age_ms} text=${milliseconds} />
        <${Fact} label="Breaches of the target" title="Since the service started" field="slo.breaches" value=${goal.breaches} />
        <${LoopLag} />
      </dl>
    </div>
  </section>`;
}

function State({ goal }) {
  const target = milliseconds(goal.target_ms);
  if (pageState.value !== "live") return html`<${Badge}>not known<//>`;
  if (goal.is_breached) return html`<${Badge} state="critical">above the target of ${target} for ${age(goal.breached_s)}<//>`;
  if (goal.p95_ms === null) return html`<${Badge}>no tick in the last minute<//>`;
  return html`<${Badge} state="ok">within the target of ${target}<//>`;
}

function Bars({ latency, target }) {
  const highest = Math.max(2 * target, latency.last_minute.max ?? 0, latency.since_start.max ?? 0);
  const place = (value) => Math.max(0.5, (100 * Math.log(Math.max(value, LEAST_MS) / LEAST_MS)) / Math.log(highest / LEAST_MS));
  return html`<table class="latencies">
    <caption class="hidden">Latency in milliseconds, and the target of ${milliseconds(target)}</caption>
    <thead>
      <tr>
        <th scope="col"><span class="hidden">Percentile</span></th>
        <td class="scale" aria-hidden="true"><span style=${{ left: `${place(target)}%` }}>target ${milliseconds(target)}</span></td>
        <th scope="col">Last minute</th>
        <th scope="col">Since start</th>
      </tr>
    </thead>
    <tbody>
      ${PERCENTILES.map(
        ([name, title]) => html`<tr key=${name} title=${title}>
          <th scope="row">${name}</th>
          <td class="scale" aria-hidden="true">
            ${latency.last_minute[name] !== null &&
            html`<span class=${`length ${latency.last_minute[name] > target ? "beyond" : ""}`} style=${{ width: `${place(latency.last_minute[name])}%` }} />`}
            ${latency.since_start[name] !== null && html`<span class="start" style=${{ left: `${place(latency.since_start[name])}%` }} />`}
            <span class="target" style=${{ left: `${place(target)}%` }} />
          </td>
          ${["last_minute", "since_start"].map((window) => html`<td key=${window}><${Value} window=${window} name=${name} value=${latency[window][name]} /></td>`)}
        </tr>`,
      )}
    </tbody>
  </table>`;
}

function Value({ window, name, value }) {
  return html`<${Reading} field=${`latency_ms.${window}.${name}`} value=${value} text=${milliseconds(value)} />`;
}

function Course({ target }) {
  const { at, durable, table } = course.value;
  const known = durable.filter((value) => value !== null);
  if (known.length < 2) return html`<p class="note course">The course of the p95 appears here while the page is open.</p>`;
  const summary = `From ${moment(at[0] * 1000)} until now: between ${milliseconds(Math.min(...known))} and ${milliseconds(Math.max(...known))}.`;
  const range = [Math.min(at[0], at.at(-1) - LEAST_COURSE_S), at.at(-1)];
  const isNear = Math.max(...known) > target / 4;
  const series = [
    { label: "p95 until durable", values: durable, format: milliseconds },
    { label: "p95 until in the table", values: table, format: milliseconds, colour: "--series-3" },
    // The target would press the lines to the ground while they are far below it.
    ...(isNear ? [{ label: "Target", values: at.map(() => target), format: milliseconds, colour: "--series-2", dash: [6, 4] }] : []),
  ];
  return html`<div class="course">
    <${Chart} label="Course of the p95 of the last minute" summary=${summary} x=${at} series=${series} range=${range} height=${150} />
    <p class="note">${summary} ${isNear ? "" : `The target of ${milliseconds(target)} is far above.`}</p>
  </div>`;
}

function LoopLag() {
  const lag = status.value?.loop_lag_ms.last_minute;
  const fact = (name, label) => html`<${Fact}
    label=${label}
    title="How late the event loop of the service wakes a task, in the last minute"
    field=${`loop_lag_ms.last_minute.${name}`}
    value=${lag?.[name]}
    text=${milliseconds}
  />`;
  return html`${fact("p95", "Lag of the event loop, p95")}${fact("max", "Lag of the event loop, most")}`;
}

