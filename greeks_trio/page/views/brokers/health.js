// One line about the health of each broker.

import { html } from "../../vendor/preact.js";
import { now } from "../../lib/clock.js";
import { NOTHING, age, brokerName, count } from "../../lib/format.js";
import { Badge } from "../../lib/parts.js";
import { href } from "../../lib/router.js";
import { feeds, pageState, stateWord, status } from "../../lib/status.js";

const LEVELS = { stopped: "info", standby: "info", connected: "ok", degraded: "warn", connecting: "warn", disconnected: "critical" };

/** The brokers, each with its state, its contracts, and its trouble in the service's words. */
export function BrokerHealth() {
  return html`<section class="panel" aria-label="Health of the brokers">
    <ul class="lines">
      ${feeds.value.map((session) => html`<${Line} key=${session.broker} session=${session} />`)}
      ${feeds.value.length === 0 && [1, 2].map((at) => html`<li key=${at} class="note">Loading</li>`)}
    </ul>
  </section>`;
}

function Line({ session }) {
  const { broker, last_message_at: lastAt } = session;
  const state = stateWord(session);
  const stale = status.value?.staleness.stale[broker];
  const silent = lastAt ? age(Math.max(0, now.value - Date.parse(lastAt)) / 1000) : NOTHING;
  const trouble = [...new Set([session.last_error, ...(session.notes ?? [])])].filter(Boolean).join(" \u00b7 ");
  return html`<li data-key=${broker}>
    <b>${brokerName(broker)}</b>
    ${pageState.value === "live" ? html`<${Badge} state=${LEVELS[state]}>${state}<//>` : html`<${Badge}>not known<//>`}
    <span>${count(session.subscription_count, "contract")}${stale ? `, ${stale} of them stale` : ""}</span>
    <span>last message ${silent === NOTHING ? "never" : `${silent} ago`}</span>
    ${session.reconnect_attempt > 0 && html`<span>attempt ${session.reconnect_attempt} to connect again</span>`}
    ${trouble && html`<span class="trouble" title=${trouble}>${trouble}</span>`}
    <a class="meta" href=${href("health")}>Health<span class="hidden"> of ${brokerName(broker)}</span></a>
  </li>`;
}
