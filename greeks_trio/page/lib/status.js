// The status of the service, read every few seconds, and the state of each broker's feed.

import { computed, signal } from "../vendor/preact.js";
import { DATABASE_AWAY, SESSION_PATH, getJson, needsLogin } from "./api.js";
import { serverNow } from "./clock.js";
import { contractsState, staleAfterS } from "./contracts.js";
import { link, sessions } from "./live.js";

const EVERY_MS = 3000;

/** The last answer of `/v1/streaming/status`; `null` before the first one. */
export const status = signal(null);

/** `{at, error, isLoading}`: the service's time of `status`, and why the last reading failed. */
export const statusRead = signal({ at: null, error: null, isLoading: true });

/** What the service says about itself: `status`, problems, warnings and notes in words. */
export const readiness = computed(() => status.value?.readiness ?? null);

/** Whether the service has a token, so that there is a session to end. */
export const hasSession = signal(false);

/** Learn whether there is a session that a person can end, or one after the last has ended. */
export async function askForSession() {
  try {
    const { token_needed: isNeeded, session_open: isOpen } = await getJson(SESSION_PATH);
    hasSession.value = isNeeded;
    if (isOpen || !isNeeded) needsLogin.value = false;
  } catch {
    // The notices say that the service does not answer.
    hasSession.value = false;
  }
}

/** Whether the service estimates values that the brokers do not send. */
export const hasEstimates = computed(() => (status.value?.estimates.estimated_contracts ?? 0) > 0);

/** Read the status now and again, as long as the page is open and visible. */
export async function followStatus() {
  if (!document.hidden) await (needsLogin.peek() ? askForSession() : readStatus());
  setTimeout(followStatus, EVERY_MS);
}

async function readStatus() {
  try {
    status.value = await getJson("/v1/streaming/status");
    staleAfterS.value = status.value.staleness.after_s;
    statusRead.value = { at: serverNow(), error: null, isLoading: false };
  } catch (error) {
    statusRead.value = { ...statusRead.peek(), error, isLoading: false };
  }
}

/** The sessions of the brokers with the times of the last messages. */
export const feeds = computed(() => {
  const read = status.value?.sessions ?? [];
  // The stream tells of a change at once, and leaves the times out.
  return (sessions.value ?? read).map((session) => {
    const { last_message_at: message, last_heartbeat_at: heartbeat } = read.find((each) => each.broker === session.broker) ?? {};
    return {
      ...session,
      last_message_at: later(session.last_message_at, message),
      last_heartbeat_at: later(session.last_heartbeat_at, heartbeat),
      ...status.value?.feeds[session.broker],
      subscription_count: session.subscription_count,
      is_stopped: session.notes.includes("stopped by request"),
      // Another service has the session of this broker, and streams.
      is_standby: session.notes.some((note) => note.startsWith("standby: ")),
    };
  });
});

function later(one, other) {
  if (!one || !other) return one ?? other ?? null;
  return Date.parse(one) > Date.parse(other) ? one : other;
}

/** Those of the feeds whose figures are not live; `reason` has the service's words. */
export const downBrokers = computed(() =>
  feeds.value.filter((feed) => !isUp(feed)).map((feed) => ({ ...feed, reason: feed.last_error ?? feed.notes[0] ?? "" })),
);

/** Those of them whose figures are old.  Of a standby, the database has those of the other service. */
export const oldBrokers = computed(() => downBrokers.value.filter((feed) => !feed.is_standby));

/** The state of a feed in one word; a stop by a person and a standby are no faults. */
export function stateWord({ status: state, is_stopped: isStopped, is_standby: isStandby }) {
  if (isStopped) return "stopped";
  return isStandby ? "standby" : state;
}

/** Whether the feed is off, and nothing is wrong with it. */
export function isOff(feed) {
  return feed.is_stopped || feed.is_standby;
}

/** Whether the feed brings data. */
export function isUp({ status: state }) {
  return state === "connected" || state === "degraded";
}

/** Whether the page cannot vouch for figures of this broker at this moment. */
export function isDown(broker) {
  return oldBrokers.value.some((each) => each.broker === broker);
}

/** Whether the service says that it does not reach the database. */
export const isDatabaseAway = computed(() => link.value.state !== "lost" && status.value?.database.connected === false);

/**
 * Return the error of a reading, or `null`.  While the database is away, that is the reason for
 * each refusal, and for an answer that has not come.
 */
export function readError(error, isWaiting = false) {
  if (!isDatabaseAway.value) return error;
  return isWaiting || error?.status === 503 ? DATABASE_AWAY : error;
}

/** Why the list of contracts cannot be read; `null` if it was read, or is still expected. */
export const contractsError = computed(() => {
  const state = contractsState.value;
  return readError(state instanceof Error ? state : null, state === "loading");
});

/** The state for `<html data-state>`: `connecting`, `live`, `lost` or `login`. */
export const pageState = computed(() => (needsLogin.value ? "login" : link.value.state));
