// The status of the service, read every few seconds, and what follows from it for the page.

import { computed, signal } from "../vendor/preact.js";
import { needsLogin, getJson } from "./api.js";
import { browserAheadS, now } from "./clock.js";
import { contracts, contractsState, revision, staleAfterS } from "./contracts.js";
import { age, brokerName, count, moment } from "./format.js";
import { link, sessions } from "./live.js";

const EVERY_MS = 3000;
const CLOCK_DIFFERS_S = 10;

/** The answer of `/v1/streaming/status`; `null` before the first one. */
export const status = signal(null);

/** The answer of `/readyz`: problems, warnings and notes in words; `null` before the first one. */
export const readiness = signal(null);

/** Whether the service has a token, so that there is a session to end. */
export const hasSession = signal(false);

/** Learn whether there is a session that a person can end. */
export async function askForSession() {
  try {
    hasSession.value = (await getJson("/v1/session")).token_needed;
  } catch {
    // The notices say that the service does not answer.
    hasSession.value = false;
  }
}

/** Whether the service estimates values that the brokers do not send. */
export const hasEstimates = computed(() => (status.value?.estimates.estimated_contracts ?? 0) > 0);

/** Read the status now and again, as long as the page is open and visible. */
export async function followStatus() {
  if (!document.hidden && !needsLogin.peek()) await Promise.all([readStatus(), readReadiness()]);
  setTimeout(followStatus, EVERY_MS);
}

async function readStatus() {
  try {
    status.value = await getJson("/v1/streaming/status");
    staleAfterS.value = status.value.staleness.after_s;
  } catch {
    // The stream tells that the service is away, and why.
    status.value = null;
  }
}

async function readReadiness() {
  // 503 has the same shape as 200.
  const answer = await fetch("/readyz", { cache: "no-store" }).catch(() => null);
  const body = answer?.headers.get("Content-Type")?.startsWith("application/json") ? await answer.json() : null;
  readiness.value = body?.problems ? body : null;
}

/** Brokers whose figures are not live: `{broker, status, reason}`. */
export const downBrokers = computed(() =>
  (sessions.value ?? [])
    .filter((session) => session.status !== "connected" && session.status !== "degraded")
    .map(({ broker, status: state, last_error: error, notes }) => ({ broker, status: state, reason: error ?? notes?.[0] ?? "" })),
);

/** Whether the page cannot vouch for figures of this broker at this moment. */
export function isDown(broker) {
  return downBrokers.value.some((each) => each.broker === broker);
}

/** The state for `<html data-state>`: `connecting`, `live`, `lost` or `login`. */
export const pageState = computed(() => (needsLogin.value ? "login" : link.value.state));

/** What a person has to know before the figures: `{id, level, title, text}`, worst first. */
export const notices = computed(() => [
  ...linkNotices(),
  ...databaseNotices(),
  ...brokerNotices(),
  ...bookNotices(),
  ...clockNotices(),
]);

function linkNotices() {
  const { state, reason, since } = link.value;
  if (state === "login") return [notice("login", "critical", "You are not logged in.", "The session has ended, or the service was restarted.")];
  if (state !== "lost") return [];
  const text = `${reason} The figures are those of ${moment(since)} and are grey. The page connects again by itself.`;
  return [notice("lost", "critical", "Not connected to the service.", text)];
}

function databaseNotices() {
  const database = status.value?.database;
  if (database === undefined || database.connected) return [];
  const spooled = status.value.spool.rows;
  const waiting = spooled ? ` ${count(spooled, "tick")} on disk wait for it.` : " New ticks are kept on disk.";
  const text = `${database.last_error ?? "It does not answer."}${waiting} Contracts stay live; sums, history and what-if need the database.`;
  return [notice("database", "critical", "The database is away.", text)];
}

function brokerNotices() {
  if (pageState.value !== "live") return [];
  const down = downBrokers.value;
  const all = sessions.value ?? [];
  if (down.length > 1 && down.length === all.length) {
    const reasons = down.map((each) => `${brokerName(each.broker)}: ${wordsOf(each)}`).join(" ");
    return [notice("all-down", "critical", "No broker is connected.", `${reasons} All figures become stale.`)];
  }
  return down.map((each) => {
    const since = all.find((session) => session.broker === each.broker)?.last_message_at;
    const last = since ? ` Its last message came ${age((now.value - Date.parse(since)) / 1000)} ago.` : "";
    const level = each.status === "connecting" ? "warn" : "critical";
    return notice(`down-${each.broker}`, level, `${brokerName(each.broker)} is ${each.status}.`, `${wordsOf(each)}${last} Its figures are grey.`);
  });
}

function wordsOf({ status: state, reason }) {
  return reason ? `${reason.replace(/\.$/, "")}.` : `It is ${state}.`;
}

function bookNotices() {
  revision.value;
  if (contractsState.value !== "ready" || pageState.value !== "live") return [];
  const markets = Object.entries(status.value?.staleness.markets_open ?? {});
  if (contracts.size && markets.length && markets.every(([, isOpen]) => isOpen === false)) {
    return [notice("closed", "info", "The markets are closed.", "The figures are those of the last session; their ages grow until trading begins.")];
  }
  return [];
}

function clockNotices() {
  const ahead = browserAheadS.value;
  if (Math.abs(ahead) < CLOCK_DIFFERS_S) return [];
  const text = `It is ${age(Math.abs(ahead))} ${ahead > 0 ? "ahead of" : "behind"} the service. Ages on this page are by the service's clock.`;
  return [notice("clock", "warn", "The clock of this computer differs.", text)];
}

function notice(id, level, title, text) {
  return { id, level, title, text };
}
