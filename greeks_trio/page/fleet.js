// The page of a fleet: one table of all services, from /v1/status of the fleet.
//
// Ages go on while no answer comes, and figures of a service that does not answer are not shown.

import { html, render } from "./vendor/preact.js";

const EVERY_MS = 2000;
const LIMIT_MS = 8000;
const NOTHING = "\u2013";

let last = null; // {status, at}: the last answer, and when it came
let fault = ""; // why the last attempt failed

const seconds = (age) => (age < 120 ? `${Math.round(age)} s` : age < 7200 ? `${Math.round(age / 60)} min` : `${Math.round(age / 3600)} h`);
const clock = (text) => (text ? `${text.slice(0, 10)} ${text.slice(11, 19)} UTC` : "its start");

async function read() {
  try {
    const response = await fetch("/v1/status", { signal: AbortSignal.timeout(LIMIT_MS) });
    if (response.status === 401) return location.reload();
    if (!response.ok) throw new Error(`it answers with status ${response.status}`);
    last = { status: await response.json(), at: performance.now() };
    fault = "";
  } catch (error) {
    fault = error.name === "TimeoutError" ? "no answer in time" : error.message;
  }
  show();
  setTimeout(read, EVERY_MS);
}

function show() {
  render(html`<${Page} />`, document.getElementById("main"));
}

function Page() {
  if (last === null) return html`<h1>Fleet</h1><p role="alert" class="alert">The fleet gives no answer: ${fault}</p>`;
  const since = (performance.now() - last.at) / 1000;
  const { summary, services, at } = last.status;
  const isOld = since > (2 * EVERY_MS + LIMIT_MS) / 1000 || fault !== "";
  return html`
    <h1>Fleet <span class=${`health ${isOld ? "down" : summary.health}`} data-field="health">${isOld ? "no answer" : summary.health}</span></h1>
    ${isOld && html`<p role="alert" class="alert">The fleet gives no answer since ${clock(at)} (${seconds(since)} ago)${fault && `: ${fault}`}. The table is from then.</p>`}
    <p class="sum"><b>${summary.ready} of ${summary.services}</b> services are ready, <b>${isOld ? NOTHING : summary.ticks_per_second.toFixed(1)}</b> ticks a second${summary.ticks_per_second_unknown > 0 && ` (${summary.ticks_per_second_unknown} not counted, because the rate is not known)`}, <b>${summary.restarts}</b> restarts.
      <span class="muted"> As of ${clock(at)}, ${seconds(since)} ago.</span></p>
    <table role="table" class=${isOld ? "old" : ""}>
      <caption class="unseen">The services</caption>
      <thead role="rowgroup"><tr role="row">${["Service", "State", "Brokers", "Ticks/s", "Newest tick", "Conditions", "Restarts", "Schema"].map((name) => html`<th role="columnheader" scope="col">${name}</th>`)}</tr></thead>
      <tbody role="rowgroup">${Object.entries(services).map(([name, each]) => html`<${Row} key=${name} name=${name} each=${each} since=${since} isOld=${isOld} />`)}</tbody>
    </table>`;
}

function Row({ name, each, since, isOld }) {
  const isSilent = isOld || each.no_answer_since !== null;
  const figure = (value, text) => (isSilent || value === null ? NOTHING : text(value));
  return html`<tr role="row" class=${isSilent ? "silent" : ""} data-key=${name}>
    <th role="rowheader" scope="row"><a href=${each.url}>${name}</a></th>
    <${Cell} label="State"><span class=${`health ${each.health}`}>${each.state}, ${each.is_ready ? "ready" : "not ready"}</span>
      ${each.answer_age_s !== null && html`<small>answered ${seconds(each.answer_age_s + since)} ago</small>`}<//>
    <${Cell} label="Brokers">${each.sessions.length === 0 ? NOTHING : html`<ul>${each.sessions.map((session) => html`<li>${session.broker} <span class=${`session ${isSilent ? "" : session.status}`}>${isSilent ? `was ${session.status}` : session.status}</span></li>`)}</ul>`}<//>
    <${Cell} label="Ticks/s" kind="number" field="ticks_per_second">${figure(each.ticks_per_second, (value) => value.toFixed(1))}<//>
    <${Cell} label="Newest tick" kind="number">${each.newest_tick_age_s === null ? "none yet" : `${seconds(each.newest_tick_age_s + since)} ago`}<//>
    <${Cell} label="Conditions"><${Sentences} each=${each} /><//>
    <${Cell} label="Restarts" kind="number" field="restarts">${each.restarts}${each.last_end && html`<small>${each.last_end}, ${clock(each.last_ended_at)}</small>`}<//>
    <${Cell} label="Schema">${each.schema}<small>${each.database}</small><//>
  </tr>`;
}

function Cell({ label, kind = "", field, children }) {
  return html`<td role="cell" class=${kind} data-label=${label} data-field=${field}><div>${children}</div></td>`;
}

function Sentences({ each }) {
  const all = [...each.problems.map((text) => [text, "problem"]), ...each.warnings.map((text) => [text, "warning"]), ...each.notes.map((text) => [text, "note"])];
  if (all.length === 0) return "none";
  return html`<ul>${all.map(([text, kind]) => html`<li class=${kind}>${text}</li>`)}</ul>`;
}

setInterval(() => last && show(), 1000);
read();
