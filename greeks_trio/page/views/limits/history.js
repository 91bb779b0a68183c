// The messages about limits, each with its deliveries.

import { html, useState } from "../../vendor/preact.js";
import { now } from "../../lib/clock.js";
import { moment } from "../../lib/format.js";
import { SEVERITY_LEVELS } from "../../lib/limits.js";
import { Badge, Empty, Freshness, Segments, Unread } from "../../lib/parts.js";
import { useResource } from "../../lib/resource.js";
import { change } from "../../lib/router.js";

const EVERY_MS = 15_000;
const HOUR_MS = 3_600_000;
const RANGES = { "1d": ["1 d", 24], "1w": ["1 w", 168], "1m": ["1 m", 720], "1y": ["1 y", 8760] };
const KINDS = ["breach", "recovery", "unknown", "reminder", "ended"];
const SEVERITIES = ["critical", "warning", "info"];
const LEVELS = { unknown: "warn", recovery: "ok", ended: "info" };
const DELIVERIES = { sent: "ok", failed: "critical", waiting: "info" };
// A year may have thousands.
const SHOWN = 50;

/** The panel of the messages; the filters are in the address. */
export function History({ params }) {
  const range = Object.hasOwn(RANGES, params.range) ? params.range : "1w";
  // By whole hours, because another start is another question.
  const start = (Math.floor(now.value / HOUR_MS) - RANGES[range][1]) * HOUR_MS;
  const filters = { start: new Date(start).toISOString(), kind: params.kind, severity: params.severity };
  const answer = useResource("/v1/alerts/events", filters, { everyMs: EVERY_MS, isList: true, keep: true });
  const events = (answer.value ?? []).filter((event) => !params.rule || event.rule === params.rule).reverse();
  return html`<section class="panel" aria-label="Messages">
    <header>
      <h2>Messages</h2>
      <div class="controls">
        <${Segments} label="Time" options=${Object.entries(RANGES).map(([value, [text]]) => [value, text])} value=${range} onPick=${(value) => change({ range: value })} />
        <${Choice} name="kind" label="Kind" options=${KINDS} value=${params.kind} />
        <${Choice} name="severity" label="Severity" options=${SEVERITIES} value=${params.severity} />
        ${params.rule &&
        html`<span class="chip"
          >${params.rule}<button type="button" aria-label="Show the messages of all rules" onClick=${() => change({ rule: null })}>✕</button></span
        >`}
      </div>
      <span class="meta"><${Freshness} resource=${answer} /></span>
    </header>
    ${!answer.value && answer.error && html`<${Unread} title="The messages cannot be read" error=${answer.error} />`}
    ${answer.value && !events.length && html`<${Empty} title="No message">None was made in this time, or none has these properties.<//>`}
    <${Events} key=${JSON.stringify([filters, params.rule])} events=${events} />
  </section>`;
}

function Choice({ name, label, options, value = "" }) {
  return html`<label class="label"
    >${label}
    <select class="field" value=${value} onChange=${(event) => change({ [name]: event.target.value })}>
      <option value="">all</option>
      ${options.map((option) => html`<option key=${option} value=${option}>${option}</option>`)}
    </select></label
  >`;
}

function Events({ events }) {
  const [most, setMost] = useState(SHOWN);
  return html`
    <ol class="messages" aria-label="Messages, the newest first">
      ${events.slice(0, most).map((event) => html`<${Message} key=${event.id} event=${event} />`)}
    </ol>
    ${events.length > most &&
    html`<p class="body"><button class="button" type="button" onClick=${() => setMost(most + SHOWN)}>Show ${Math.min(SHOWN, events.length - most)} more of ${events.length}</button></p>`}
  `;
}

function Message({ event }) {
  return html`<li data-key=${event.id} data-kind=${event.kind}>
    <time class="meta" datetime=${event.at}>${moment(event.at)}</time>
    <${Badge} state=${LEVELS[event.kind] ?? SEVERITY_LEVELS[event.severity]}>${event.kind}<//>
    <div>
      <p>${event.message}</p>
      <ul class="deliveries">
        <li class="meta">${event.severity}</li>
        ${event.deliveries.map((each) => html`<${Delivery} key=${each.channel} delivery=${each} />`)}
        ${event.deliveries.length === 0 && html`<li class="meta">no channel: shown here only</li>`}
      </ul>
    </div>
  </li>`;
}

function Delivery({ delivery: { channel, outcome, attempts, reason, finished_at: at } }) {
  const words = outcome === "waiting" ? "waiting" : `${outcome}${at ? ` at ${moment(at)}` : ""}`;
  const tries = outcome === "failed" && attempts > 1 ? ` after ${attempts} attempts` : "";
  return html`<li>
    <${Badge} state=${DELIVERIES[outcome]}>${channel}: ${words}${tries}<//>
    ${reason && html`<span class="meta"> ${reason}</span>`}
  </li>`;
}
