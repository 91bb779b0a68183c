// What the stream tells, as signals: the link, the sessions, the latencies, the alerts and
// the newest tick of each contract.

import { signal } from "../vendor/preact.js";
import { needsLogin } from "./api.js";
import { noteServerTime, serverNow } from "./clock.js";
import { addTicks, reloadContracts } from "./contracts.js";
import { Stream } from "./stream.js";

/**
 * `{state, reason, since, heardAt}`: `connecting`, `live`, `lost` or `login`.  heardAt is the
 * moment of the last event; both are in the service's time.
 */
export const link = signal({ state: "connecting", reason: "", since: serverNow(), heardAt: serverNow() });

/** The sessions of the brokers, as `/v1/streaming/status` gives them; `null` before the first. */
export const sessions = signal(null);

/** Latencies and SLO; `null` before the first. */
export const slo = signal(null);

/** The messages about limits, newest first, each once. */
export const alerts = signal([]);

const MOST_ALERTS = 200;

const HANDLERS = {
  link: (value) => setLink(value),
  sessions: (text) => {
    sessions.value = JSON.parse(text);
  },
  slo: (text) => {
    slo.value = JSON.parse(text);
  },
  greeks: (text) => addTicks(JSON.parse(text)),
  alert: (text) => addAlert(JSON.parse(text)),
  time: (text) => noteServerTime(JSON.parse(text).now, 1),
};

/** Connect to the stream for as long as the page is open.  Returns a function that retries now. */
export function startLive() {
  const tell = (name, data) => HANDLERS[name](data);
  // Chrome on Android has no shared workers in older versions.
  if (typeof SharedWorker === "undefined") return startOwn(tell);
  const worker = new SharedWorker(new URL("./stream-worker.js", import.meta.url), { type: "module", name: "stream" });
  worker.port.onmessage = ({ data: [name, data] }) => tell(name, data);
  addEventListener("pagehide", () => worker.port.postMessage("leave"));
  // A page that comes back from the browser's memory has missed events.
  addEventListener("pageshow", (event) => event.persisted && location.reload());
  return () => worker.port.postMessage("retry");
}

// A browser has only six connections to one service, for all tabs together: a tab in the
// background has none.
function startOwn(tell) {
  const stream = new Stream(tell);
  const follow = () => (document.hidden ? stream.pause() : stream.open());
  document.addEventListener("visibilitychange", follow);
  follow();
  return () => stream.retry();
}

let wasLive = false;

function setLink({ state, reason, heardAt }) {
  const before = link.peek();
  if (state === before.state && reason === before.reason) return;
  const since = state === before.state ? before.since : serverNow();
  link.value = { state, reason, since, heardAt: heardAt + serverNow() - Date.now() };
  if (state === "login") needsLogin.value = true;
  if (state !== "live") return;
  needsLogin.value = false;
  // The events of the time without a link are missed.
  if (wasLive && before.state !== "live") reloadContracts();
  wasLive = true;
}

function addAlert(alert) {
  const others = alerts.peek().filter((each) => each.id !== alert.id);
  const newestFirst = [alert, ...others].sort((one, two) => (one.at < two.at ? 1 : -1));
  alerts.value = newestFirst.slice(0, MOST_ALERTS);
}
