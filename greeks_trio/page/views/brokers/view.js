// The brokers beside each other: where their values of the same contract differ.

import { html, useMemo } from "../../vendor/preact.js";
import { FilterChips } from "../../lib/filters.js";
import { brokerName } from "../../lib/format.js";
import { sessions } from "../../lib/live.js";
import { Badge, Empty, Freshness, Segments, Unread } from "../../lib/parts.js";
import { useResource } from "../../lib/resource.js";
import { change, href } from "../../lib/router.js";
import { downBrokers, isDown, isOff, stateWord } from "../../lib/status.js";
import { COMPARED, compare, thresholdOf } from "./compare.js";
import { ComparedContracts } from "./contracts.js";
import { BrokerHealth } from "./health.js";
import { Summary } from "./summary.js";

const EVERY_MS = 3000;

/** The view `brokers`. */
export function Brokers({ params }) {
  const answer = useResource("/v1/divergence", {}, { everyMs: EVERY_MS, isList: true, keep: true });
  const all = useMemo(() => answer.value?.map(compare) ?? null, [answer.value]);
  const rows = params.underlying ? (all?.filter((row) => row.underlying === params.underlying) ?? null) : all;
  const threshold = thresholdOf(params.threshold);
  return html`
    <div class="head">
      <h1>Brokers</h1>
      <${FilterChips} params=${{ underlying: params.underlying }} />
      <span class="meta"><${Freshness} resource=${answer} /></span>
    </div>
    <${BrokerHealth} />
    ${all?.length === 0
      ? html`<div class="panel"><${NothingToCompare} /></div>`
      : html`<${Differences} all=${all} rows=${rows} threshold=${threshold} answer=${answer} params=${params} />`}
  `;
}

function Differences({ all, rows, threshold, answer, params }) {
  const isVouched = !["ibkr", "tastytrade"].some(isDown);
  return html`
    <div class=${isVouched ? "" : "unvouched"}><${Summary} rows=${rows} threshold=${threshold} /></div>
    <section class="panel">
      <header>
        <h2>Contracts</h2>
        <${Measures} id=${idOf(params)} />
        <${Underlyings} all=${all ?? []} value=${params.underlying ?? ""} />
        ${!isVouched && html`<${Down} />`}
      </header>
      ${rows === null && answer.error && html`<${Unread} title="The contracts cannot be read" error=${answer.error} />`}
      ${rows?.length === 0 && html`<${Empty} title="Nothing of this underlying">No contract of ${params.underlying} is at both brokers. Remove the filter.<//>`}
      ${(rows === null ? !answer.error : rows.length > 0) && html`<${ComparedContracts} rows=${rows ?? []} id=${idOf(params)} threshold=${threshold} at=${answer.at} sort=${params.sort} />`}
      <div class="body note">
        <p>A value that the newest tick of a broker lacks is its last one; the view of the contract marks it. A price of the underlying counts only from the broker itself.</p>
      </div>
    </section>
  `;
}

function Down() {
  const names = (all) => all.map((each) => brokerName(each.broker)).join(", ");
  const broken = downBrokers.value.filter((each) => !isOff(each));
  const [stopped, standby] = ["stopped", "standby"].map((word) => downBrokers.value.filter((each) => stateWord(each) === word));
  const parts = [broken.length && `${names(broken)} down`, stopped.length && `${names(stopped)} stopped`, standby.length && `${names(standby)} standby`].filter(Boolean);
  return html`<${Badge} state=${broken.length ? "critical" : "info"}>${parts.join(", ")}: old values<//>`;
}

function idOf({ measure }) {
  return COMPARED.some((each) => each.id === measure) ? measure : "all";
}

function Measures({ id }) {
  const options = [["all", "All"], ...COMPARED.map((each) => [each.id, each.measure.label, each.measure.title])];
  return html`<${Segments} label="Measure" options=${options} value=${id} onPick=${(next) => change({ measure: next === "all" ? null : next, sort: null })} />`;
}

function Underlyings({ all, value }) {
  const names = [...new Set(all.map((row) => row.underlying).filter(Boolean))].sort();
  return html`<label class="label"
    >Underlying
    <select class="field" value=${value} onChange=${(event) => change({ underlying: event.target.value || null })}>
      <option value="">All</option>
      ${names.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
    </select>
  </label>`;
}

function NothingToCompare() {
  const brokers = sessions.value ?? [];
  if (brokers.length === 1) {
    return html`<${Empty} title=${`Only ${brokerName(brokers[0].broker)} is enabled`}
      >This view compares the values of two brokers. Set up the other one in the settings of the service; its contracts then appear here.<//
    >`;
  }
  return html`<${Empty} title="No contract is at both brokers"
    >Contracts that are held at both brokers appear here. To compare one that is not, name it in <code>GREEKS_WATCHLIST</code>: the service then
    streams it from both. <a href=${href("contracts")}>All contracts</a><//
  >`;
}
