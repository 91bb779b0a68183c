// The frame of the page: header, views, notices.

import { html, render, useEffect, useErrorBoundary, useRef } from "./vendor/preact.js";
import { send } from "./lib/api.js";
import { startClock } from "./lib/clock.js";
import { reloadContracts } from "./lib/contracts.js";
import { followLatency } from "./lib/course.js";
import { FILTERS, filtersOf } from "./lib/filters.js";
import { brokerName, moment } from "./lib/format.js";
import { followLimits } from "./lib/limits.js";
import { link, startLive } from "./lib/live.js";
import { load, loadRest, loaded } from "./lib/loading.js";
import { notices } from "./lib/notices.js";
import { Pill } from "./lib/parts.js";
import { followPlaces } from "./lib/places.js";
import { href, route } from "./lib/router.js";
import { askForSession, feeds, followStatus, hasSession, isUp, pageState, stateWord } from "./lib/status.js";
import { VIEWS } from "./views/index.js";

const SESSION_LEVELS = { connected: "ok", degraded: "warn", connecting: "warn", disconnected: "critical" };
const LINK_WORDS = { live: "Live", connecting: "Connecting", lost: "Not connected", login: "Not logged in" };
const LINK_LEVELS = { live: "ok", connecting: "warn", lost: "critical", login: "critical" };

function App({ retry }) {
  const { view, params } = route.value;
  const known = VIEWS.find((each) => each.name === view);
  const state = pageState.value;
  useEffect(() => {
    document.documentElement.dataset.state = state;
  }, [state]);
  const isAnyUp = feeds.value.length === 0 || feeds.value.some(isUp);
  useEffect(() => {
    document.documentElement.dataset.feeds = isAnyUp ? "up" : "down";
  }, [isAnyUp]);
  useEffect(() => {
    document.title = titleOf(known, params);
  }, [known, params]);
  return html`
    <${Header} />
    <nav class="nav" aria-label="Views">
      ${VIEWS.filter((each) => each.isInNav).map(
        (each) => html`<a key=${each.name} href=${href(each.name)} aria-current=${each.name === view ? "page" : each.name === known?.parent ? "true" : undefined}>${each.title}</a>`,
      )}
      <hr />
      <a href="/docs">API</a>
      ${hasSession.value && html`<a href="/" onClick=${logOut}>Log out</a>`}
    </nav>
    <${Notices} retry=${retry} />
    <main class="main" id="main" tabindex="-1" data-view=${view}>
      ${known ? html`<${Guarded} key=${view} view=${known} params=${params} />` : html`<${NotFound} />`}
    </main>
  `;
}

// Tabs and the history of the browser tell views of different parts apart.
function titleOf(known, params) {
  const parts = Object.entries(filtersOf(params)).map(([name, value]) => FILTERS[name].text(value));
  const what = params.contract_key ? [params.contract_key.replace(/ +/g, " ")] : parts;
  return [...what, known?.title ?? "Not found", "greeks_trio"].filter(Boolean).join(" – ");
}

function Header() {
  const state = pageState.value;
  const isLive = state === "live";
  return html`<header class="top">
    <a class="brand" href="#/book" aria-label="greeks_trio"><img src="/page/icon.svg" alt="" /><span>greeks_trio</span></a>
    <div class="feeds">
      ${feeds.value.map((feed) => {
        const words = stateWord(feed);
        return html`<${Pill}
          key=${feed.broker}
          state=${isLive ? (SESSION_LEVELS[words] ?? "info") : "info"}
          title=${isLive ? (feed.last_error ?? `${feed.subscription_count} subscriptions`) : "Its state is not known at this moment"}
          ><a href=${href("health")}>${brokerName(feed.broker)}<span class=${words === "connected" ? "hidden" : "words"}> ${words}</span></a><//
        >`;
      })}
      <${Pill} state=${LINK_LEVELS[state]} title=${`Since ${moment(link.value.since)}`}>${LINK_WORDS[state]}<//>
    </div>
  </header>`;
}

function Notices({ retry }) {
  // Only the titles are spoken: the texts have numbers that change.
  return html`<section class="notices" aria-label="Notices">
    <p class="hidden" role="status">${notices.value.map(({ title }) => title).join(" ")}</p>
    ${notices.value.map(
      ({ id, level, title, text, to }) => html`<p key=${id} class=${`notice ${level}`} data-notice=${id}>
        <b>${title}</b><span>${text}${to && html` <a href=${to.href}>${to.text}</a>`}</span>
        ${id === "lost" && html`<button class="button" type="button" onClick=${retry}>Connect now</button>`}
        ${id === "version" && html`<button class="button" type="button" onClick=${() => location.reload()}>Load it</button>`}
        ${id === "login" && html`<button class="button" type="button" onClick=${() => location.reload()}>Log in</button>`}
      </p>`,
    )}
  </section>`;
}

// A fault in one view leaves the others, the header and the notices in place.
function Guarded({ view, params }) {
  const failed = useRef(null);
  const [error, reset] = useErrorBoundary((caught) => {
    failed.current = params;
    console.error(caught);
  });
  // Another address may be one that the view can show.
  if (!error || failed.current !== params) return html`<${Loaded} view=${view} params=${params} />`;
  return html`<div class="panel empty" role="alert">
    <h2>This view cannot be shown</h2>
    <p>A fault of the page, not of your data: <code>${String(error.message)}</code></p>
    <p><button class="button" type="button" onClick=${reset}>Show it again</button></p>
  </div>`;
}

function Loaded({ view, params }) {
  const { View, error } = loaded.value[view.name] ?? {};
  const isLive = pageState.value === "live";
  useEffect(() => {
    load(view);
  }, [view, isLive]);
  if (View) return html`<${View} params=${params} />`;
  if (!error) return html`<p class="meta">Loading …</p>`;
  return html`<div class="panel empty" role="alert">
    <h2>${view.title} could not be loaded</h2>
    <p>The service did not send it. It appears as soon as the service answers; the views that you have seen are still there.</p>
    <p><button class="button" type="button" onClick=${() => load(view)}>Try again</button></p>
  </div>`;
}

function NotFound() {
  return html`<div class="panel empty"><h2>There is no such view</h2><p><a href="#/book">Go to the book</a></p></div>`;
}

async function logOut(event) {
  event.preventDefault();
  await send("DELETE", "/v1/session");
  location.reload();
}

const root = document.getElementById("app");
root.replaceChildren();
document.querySelector(".skip").addEventListener("click", (event) => {
  // The address is that of the view.
  event.preventDefault();
  document.getElementById("main").focus();
});
startClock();
const retry = startLive();
reloadContracts();
followStatus();
followLimits();
followLatency();
askForSession();
loadRest(VIEWS);
followPlaces();
render(html`<${App} retry=${retry} />`, root);
