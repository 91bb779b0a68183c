// A card for each broker: its connection, its contracts, and its trouble in words.

import { html } from "../../vendor/preact.js";
import { now } from "../../lib/clock.js";
import { age, brokerName, count, moment, number } from "../../lib/format.js";
import { Badge } from "../../lib/parts.js";
import { feeds, isOff, isUp, pageState, stateWord, status } from "../../lib/status.js";
import { Fact } from "./fact.js";
import { Switch } from "./switch.js";

const LEVELS = { connected: "ok", degraded: "warn", connecting: "warn", disconnected: "critical" };
const STALE_WORDS = {
  "no tick": "without any tick",
  old: "without a recent tick",
  delayed: "with delayed data",
  frozen: "with frozen data",
  unknown: "with data of unknown availability",
};

/** The feeds of all brokers. */
export function Feeds() {
  const all = feeds.value;
  return html`<section aria-label="Brokers">
    <div class="columns">
      ${all.map((feed) => html`<${Card} key=${feed.broker} feed=${feed} others=${all.filter((each) => each !== feed)} />`)}
    </div>
    <${Markets} />
  </section>`;
}

function Card({ feed, others }) {
  const { broker } = feed;
  return html`<article class=${`panel feed ${isUp(feed) ? "" : "unvouched"}`} data-broker=${broker} aria-label=${brokerName(broker)}>
    <header>
      <h2>${brokerName(broker)}</h2>
      <${Badge} state=${levelOf(feed)}>${wordsOf(feed)}<//>
      <span class="meta"><${Since} feed=${feed} /></span>
    </header>
    <div class="body">
      <${Trouble} feed=${feed} />
      <dl class="readings">
        <${Signs} feed=${feed} />
        <${Contracts} feed=${feed} />
        <${Counts} feed=${feed} />
      </dl>
      <${Switch} feed=${feed} others=${others} />
    </div>
  </article>`;
}

function levelOf(feed) {
  if (pageState.value !== "live" || isOff(feed)) return "info";
  return LEVELS[feed.status];
}

function wordsOf(feed) {
  if (pageState.value !== "live") return "not known";
  return feed.status === "disconnected" ? stateWord(feed) : feed.status;
}

function Since({ feed }) {
  const at = feed.connection_changed_at;
  if (!at || pageState.value !== "live") return null;
  const length = age(Math.max(0, now.value - Date.parse(at)) / 1000);
  return html`${isUp(feed) ? "connected" : "without a connection"} for
    <span data-field=${`feeds.${feed.broker}.connection_changed_at`} data-value=${at} title=${`Since ${moment(at)}`}> ${length}</span>, since ${moment(at)}`;
}

function Trouble({ feed }) {
  const notes = feed.notes.filter((note) => note !== feed.last_error);
  const hasError = feed.last_error && !isOff(feed);
  return html`<ul class="trouble">
    ${hasError && html`<li><${Badge} state=${feed.status === "degraded" ? "warn" : "critical"}>last error<//><span>${feed.last_error}</span></li>`}
    ${feed.is_stopped && html`<li><${Badge}>note<//><span>${feed.last_error ?? "stopped by request"}</span></li>`}
    ${!feed.is_stopped && notes.map((note) => html`<li key=${note}><${Badge}>note<//><span>${note}</span></li>`)}
    ${!hasError && !feed.is_stopped && !notes.length && pageState.value === "live" && html`<li class="note">No error and no note.</li>`}
  </ul>`;
}

function Signs({ feed }) {
  const path = `feeds.${feed.broker}`;
  const ago = (at) => `${age(Math.max(0, now.value - Date.parse(at)) / 1000)} ago`;
  return html`
    <${Fact} label="Last message" title="The last frame of any kind" field=${`${path}.last_message_at`} value=${feed.last_message_at} text=${ago} />
    <${Fact} label="Last heartbeat" title="The last heartbeat of the broker" field=${`${path}.last_heartbeat_at`} value=${feed.last_heartbeat_at} text=${ago} />
    <${Fact} label="Reconnects" title="Connections after the first, since the service started" field=${`${path}.reconnects`} value=${feed.reconnects}>
      ${feed.reconnect_attempt > 0 && html`<span class="meta"> \u00b7 ${count(feed.reconnect_attempt, "failed attempt")} in a row</span>`}
    <//>
  `;
}

function Contracts({ feed }) {
  const path = `feeds.${feed.broker}`;
  return html`
    <${Fact} label="Wanted" title="Contracts that should be subscribed" field=${`${path}.wanted`} value=${feed.wanted} />
    <${Fact} label="Subscribed" title="Contracts that are subscribed on this connection" field=${`${path}.subscription_count`} value=${feed.subscription_count} />
    <${Fact} label="Warming" title="Subscribed contracts without Greeks so far, within the usual time" field=${`${path}.warming`} value=${feed.warming} />
    <${Fact}
      label="Without Greeks"
      title="Subscribed contracts that should have brought Greeks and have not"
      field=${`${path}.without_greeks`}
      value=${feed.without_greeks}
    />
    <${Fact} label="In rotation" title=${rotationWords(feed)} field=${`${path}.in_rotation`} value=${feed.in_rotation}>
      ${feed.in_rotation > 0 && html`<span class="meta"> on ${count(feed.rotation_lines, "line")}, each within ${age(feed.rotation_seen_within_s)}</span>`}
    <//>
    <${Stale} broker=${feed.broker} />
  `;
}

function rotationWords({ in_rotation: number_, rotation_longest_s: longest }) {
  const what = "Contracts that share market data lines, so their ticks come in turns";
  return number_ ? `${what}. The longest of their last waits was ${age(longest)}.` : what;
}

function Stale({ broker }) {
  const { stale, by_reason: reasons, trading, stale_trading: staleTrading, hours_unknown: unknown } = status.value?.staleness ?? {};
  const parts = Object.entries(reasons?.[broker] ?? {}).filter(([, number_]) => number_ > 0);
  const total = parts.reduce((sum, [, number_]) => sum + number_, 0);
  const exchanges = Object.entries(unknown?.[broker] ?? {});
  return html`
    <${Fact}
      label="Stale"
      title="Subscribed contracts whose values are stale, by reason"
      field=${`staleness.by_reason.${broker}`}
      value=${stale === undefined ? null : total}
    >
      ${parts.length > 0 && html`<span class="meta"> \u00b7 ${parts.map(([reason, number_]) => `${number(number_)} ${STALE_WORDS[reason] ?? reason}`).join(", ")}</span>`}
    <//>
    <${Fact} label="Trading now" title="Subscribed contracts whose market is open" field=${`staleness.trading.${broker}`} value=${trading?.[broker]}>
      ${staleTrading?.[broker] > 0 && html`<span class="meta"> \u00b7 ${staleTrading[broker]} of them stale</span>`}
      ${exchanges.length > 0 && html`<span class="meta"> \u00b7 hours not known: ${exchanges.map(([name, number_]) => `${number_} at ${name}`).join(", ")}</span>`}
    <//>
  `;
}

function Counts({ feed }) {
  const path = `feeds.${feed.broker}`;
  const odd = Object.entries(feed.counts ?? {}).filter(([name]) => name.startsWith("odd."));
  const total = odd.reduce((sum, [, number_]) => sum + number_, 0);
  return html`
    <${Fact} label="Frames" title="Frames of every kind that were read since the service started" field=${`${path}.frames`} value=${feed.frames} />
    <${Fact} label="Odd frames" title="Frames that could not be understood, since the service started" field=${`${path}.odd`} value=${feed.counts ? total : null}>
      ${total > 0 && html`<span class="meta"> \u00b7 ${odd.map(([name, number_]) => `${number_} ${name.slice(4).replaceAll("-", " ")}`).join(", ")}</span>`}
    <//>
    <${Fact}
      label="Account values"
      title="Age of the newest net liquidation, cash and margin of the accounts"
      field=${`${path}.account_values_age_s`}
      value=${feed.account_values_age_s}
      text=${(seconds) => `${age(seconds)} old`}
    >
      ${feed.account_values_unread > 0 && html`<span class="meta"> \u00b7 ${count(feed.account_values_unread, "account")} not read</span>`}
    <//>
  `;
}

function Markets() {
  const { markets_open: markets, after_s: after } = status.value?.staleness ?? {};
  const names = Object.entries(markets ?? {});
  return html`<p class="note">
    Markets: ${names.length ? names.map(([name, isOpen]) => `${name} ${isOpen ? "open" : "closed"}`).join(", ") : "hours not known yet"}.
    ${after !== undefined && ` A contract is stale after ${age(after)} without a tick.`}
  </p>`;
}
