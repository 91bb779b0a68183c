// What a person has to know before the figures: the notices above every view.

import { computed } from "../vendor/preact.js";
import { browserAheadS } from "./clock.js";
import { contractsState } from "./contracts.js";
import { otherFaults } from "./faults.js";
import { MINUS, age, brokerName, count, moment, number } from "./format.js";
import { SEVERITY_LEVELS, isUnwatched, limits, lookedAt } from "./limits.js";
import { link } from "./live.js";
import { href, route } from "./router.js";
import { downBrokers, feeds, isDatabaseAway, isOff, pageState, status, statusRead } from "./status.js";

const CLOCK_DIFFERS_S = 10;
const LEVELS = ["critical", "warn", "info"];
// More than so many sentences of one kind become one.
const MOST_NAMED = 2;
const LONGEST_TEXT = 140;

/** `{id, level, title, text, link}`, worst first. */
export const notices = computed(() => {
  const found = [...linkNotices(), ...clockNotices()];
  // The status can be there before the stream is.
  if (pageState.value === "live" || pageState.value === "connecting") found.push(...databaseNotices());
  if (pageState.value === "live") {
    found.push(...brokerNotices(), ...marketNotices(), ...versionNotices());
    // These two views begin with the same.
    if (route.value.view !== "limits") found.push(...limitNotices());
    if (route.value.view !== "health") found.push(...faultNotices());
  }
  return LEVELS.flatMap((level) => found.filter((each) => each.level === level));
});

function linkNotices() {
  const { state, reason, heardAt } = link.value;
  const lastAt = Math.max(heardAt, statusRead.value.at ?? 0);
  if (pageState.value === "login") {
    return [notice("login", "critical", "You are not logged in.", `The session has ended, or the service was restarted. The figures are those of ${moment(lastAt)} and are grey.`)];
  }
  if (state !== "lost") return [];
  const text = `${reason} The figures are those of ${moment(lastAt)} and are grey. The page connects again by itself.`;
  return [notice("lost", "critical", "Not connected to the service.", text)];
}

function databaseNotices() {
  if (!isDatabaseAway.value) return [];
  const { database, spool } = status.value;
  const waiting = spool.rows ? `${count(spool.rows, "tick")} on disk ${spool.rows === 1 ? "waits" : "wait"} for it, none is lost.` : "New ticks are kept on disk.";
  const text = `${sentence(database.last_error ?? "It does not answer")} ${waiting} Contracts stay live; sums, history and what-if need the database.`;
  return [notice("database", "critical", "The database is away.", text, HEALTH)];
}

function brokerNotices() {
  const down = downBrokers.value;
  if (down.length > 1 && down.length === feeds.value.length) return [allDown(down)];
  return down.map((feed) => {
    const level = feed.status === "connecting" ? "warn" : isOff(feed) ? "info" : "critical";
    return notice(`down-${feed.broker}`, level, `${brokerName(feed.broker)} is ${stateOf(feed)}.`, `${whyDown(feed)} Its figures are grey.`, HEALTH);
  });
}

function allDown(down) {
  const stopped = down.every((feed) => feed.is_stopped);
  if (down.every(isOff) && !stopped) return notice("all-down", "info", "This service is a standby.", reasonsOf(down), HEALTH);
  const title = stopped ? "All brokers are stopped." : "No broker is connected.";
  const hasHeard = down.some((feed) => feed.last_message_at);
  const reasons = reasonsOf(down);
  return notice("all-down", "critical", title, `${stopped ? "" : `${reasons} `}${hasHeard ? "All figures are grey and become stale." : "There are no new figures."}`, HEALTH);
}

function reasonsOf(down) {
  return down.map((feed) => `${brokerName(feed.broker)}: ${whyDown(feed)}`).join(" ");
}

function stateOf(feed) {
  const { status: state } = feed;
  if (isOff(feed)) return feed.is_stopped ? "stopped" : "a standby";
  return state === "connecting" ? "connecting" : "not connected";
}

function whyDown({ last_error: error, last_message_at: at, is_stopped: isStopped, is_standby: isStandby, notes }) {
  if (isStandby) return `${sentence(notes[0])} Its figures here come from the database.`;
  const why = isStopped ? "A person has stopped it." : error ? sentence(error) : "";
  const last = at ? `Its last message came at ${moment(at)}.` : "It has sent nothing since the service started.";
  return `${why} ${last}`.trim();
}

function limitNotices() {
  const found = [];
  const breached = (limits.value ?? []).filter((row) => row.state === "breached");
  const unknown = (limits.value ?? []).filter((row) => row.state === "unknown");
  if (isUnwatched.value) found.push(notice("limits-old", "warn", "The limits are not watched.", `Their states are those of ${moment(lookedAt.value)}.`, LIMITS));
  else found.push(...breachNotices(breached), ...unknownNotices(unknown));
  return found;
}

function breachNotices(breached) {
  if (breached.length <= MOST_NAMED) return breached.map(breachNotice);
  const critical = breached.filter((row) => row.severity === "critical");
  const level = LEVELS.find((each) => breached.some((row) => SEVERITY_LEVELS[row.severity] === each));
  const worst = critical.length && critical.length < breached.length ? ` ${critical.length} of them ${critical.length === 1 ? "is" : "are"} critical.` : "";
  return [notice("limits", level, `${breached.length} limits are breached.`, `${names([...critical, ...breached])}.${worst}`, LIMITS)];
}

function breachNotice({ rule, severity, value, unit, threshold, since }) {
  const text = `${number(value, { most: Math.abs(value) < 100 ? 2 : 0 })} ${unit}; a breach is a value ${threshold.replaceAll("-", MINUS)}. It began at ${moment(since)}.`;
  return notice(`limit-${rule}`, SEVERITY_LEVELS[severity], `\u201c${rule}\u201d is beyond its limit.`, text, LIMITS);
}

function unknownNotices(unknown) {
  if (!unknown.length) return [];
  const [first] = unknown;
  if (unknown.length === 1) return [notice("limits-unknown", "warn", `It is not known whether \u201c${first.rule}\u201d is within its limit.`, sentence(first.reason ?? ""), LIMITS)];
  return [notice("limits-unknown", "warn", `${unknown.length} limits are not known.`, `${names(unknown)}. ${sentence(first.reason ?? "")}`, LIMITS)];
}

function names(rows) {
  const all = [...new Set(rows.map((row) => row.rule))];
  return all.length > MOST_NAMED + 1 ? `${all.slice(0, MOST_NAMED).join(", ")} and ${all.length - MOST_NAMED} more` : all.join(", ");
}

function faultNotices() {
  const found = otherFaults.value;
  if (!found.length) return [];
  const isCritical = found.some(({ level }) => level === "critical");
  const title = isCritical ? "The service has a fault." : "The service has a warning.";
  const rest = found.length > 1 ? ` And ${number(found.length - 1)} more.` : "";
  return [notice("service", isCritical ? "critical" : "warn", title, `${sentence(shortened(found[0].text))}${rest}`, HEALTH)];
}

function marketNotices() {
  const { staleness } = status.value ?? {};
  if (contractsState.value !== "ready" || !staleness || !Object.keys(staleness.markets_open).length) return [];
  return [...closedNotices(staleness), ...silenceNotices(staleness)];
}

// A few contracts without ticks are usual.
function silenceNotices({ trading, stale_trading: silent, after_s: after }) {
  const [all, old] = [sum(trading), sum(silent)];
  if (!all || old < all / 2) return [];
  const text = `${number(old)} of ${count(all, "contract")} whose market is open had no tick for ${age(after)}. Trading may be halted, or a broker sends nothing.`;
  return [notice("silent", "warn", "Most values are stale.", text, HEALTH)];
}

// Contracts of an exchange whose hours are not known may trade.
function closedNotices(staleness) {
  const trading = sum(staleness.trading);
  const unknown = Object.values(staleness.hours_unknown).reduce((total, each) => total + sum(each), 0);
  const subscribed = feeds.value.reduce((total, feed) => total + feed.subscription_count, 0);
  if (!subscribed || trading || unknown) return [];
  const text = "No market of your contracts trades now. Figures may stand still, and grow old, until trading begins.";
  return [notice("closed", "info", "The markets are closed.", text)];
}

function sum(numbers) {
  return Object.values(numbers).reduce((total, each) => total + each, 0);
}

function clockNotices() {
  const ahead = browserAheadS.value;
  if (Math.abs(ahead) < CLOCK_DIFFERS_S) return [];
  const differs = `It is ${age(Math.abs(ahead))} ${ahead > 0 ? "ahead of" : "behind"} the service.`;
  const text = `${differs} Ages on this page are by the service's clock, so they are right. Let this computer follow a time server.`;
  return [notice("clock", "warn", "The clock of this computer is wrong, or that of the service.", text)];
}

let firstVersion;

function versionNotices() {
  const version = status.value?.version;
  firstVersion ??= version;
  if (version === firstVersion) return [];
  return [notice("version", "info", "The service has a new version.", `This page is of ${firstVersion}, the service of ${version}.`)];
}

const HEALTH = { href: href("health"), text: "Health" };
const LIMITS = { href: href("limits"), text: "Limits" };

function shortened(text) {
  return text.length > LONGEST_TEXT ? `${text.slice(0, LONGEST_TEXT)}\u2026` : text;
}

/** Return words of the service as a sentence. */
function sentence(text) {
  const words = text.charAt(0).toUpperCase() + text.slice(1);
  return !words || /[.!?\u2026]$/.test(words) ? words : `${words}.`;
}

function notice(id, level, title, text, to) {
  return { id, level, title, text, to };
}
