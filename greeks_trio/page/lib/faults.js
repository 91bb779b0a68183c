// Everything that the service calls a fault, and that the page itself knows, as sentences.

import { computed } from "../vendor/preact.js";
import { now } from "./clock.js";
import { age, brokerName, count, moment } from "./format.js";
import { link } from "./live.js";
import { pageState, readiness, status, statusRead } from "./status.js";
import { CONDITIONS } from "./words.js";

// A restart of the database with its replay takes less time.
const SPOOLED_LONG_S = 60;

/** `{level, text}`: `critical` (not ready, or data lost), `warn` or `info`, worst first. */
export const faults = computed(() => [...ofPage(), ...(pageState.value === "live" ? ofService() : [])]);

/** The same without what other notices tell: the database and the brokers. */
export const otherFaults = computed(() => {
  const brokers = (status.value?.sessions ?? []).map((each) => each.broker);
  const isTold = (text) => text.startsWith("database:") || brokers.some((broker) => text.startsWith(`${broker}:`));
  const { problems = [], warnings = [] } = readiness.value ?? {};
  return [...leveled(problems, "critical"), ...ofStore(), ...leveled(warnings, "warn")].filter(({ text }) => !isTold(text)).map(named);
});

/** The conditions that hold, each with `kind`, `severity`, `meaning` and `remedy`. */
export const conditions = computed(() =>
  Object.entries((pageState.value === "live" && status.value?.conditions) || {})
    .filter(([, number]) => number > 0)
    .map(([kind]) => ({ kind, ...(CONDITIONS[kind] ?? { severity: "degraded", meaning: "", remedy: "" }) })),
);

/** Whether the service says that everything works, and this page is live. */
export const isAllWell = computed(
  () => pageState.value === "live" && readiness.value?.status === "ready" && !faults.value.some(({ level }) => level !== "info"),
);

function ofPage() {
  if (pageState.value === "login") return [{ level: "critical", text: "You are not logged in, so the page cannot tell." }];
  if (pageState.value === "lost") return [{ level: "critical", text: `${link.value.reason} ${ofWhen()}` }];
  if (pageState.value === "connecting") return [{ level: "warn", text: "The page is still connecting to the service." }];
  const { error } = statusRead.value;
  return error ? [{ level: "critical", text: `The status cannot be read: ${error.message}` }] : [];
}

function ofWhen() {
  const { at } = statusRead.value;
  return at === null ? "No status was read before." : `What is below is of ${moment(at)}.`;
}

function ofService() {
  if (readiness.value === null) return [{ level: "warn", text: "The service does not say whether it is ready." }];
  const { problems, warnings, notes } = readiness.value;
  return [...leveled(problems, "critical"), ...ofStore(), ...leveled(warnings, "warn"), ...leveled(notes, "info")].map(named);
}

function leveled(sentences, level) {
  return sentences.map((text) => ({ level, text }));
}

// What the command `status` calls degraded as well.
function ofStore() {
  if (status.value === null) return [];
  const { ticks, quarantine, spool } = status.value;
  const found = [];
  if (ticks.lost) found.push({ level: "critical", text: `${count(ticks.lost, "tick")} lost since the service started; the outages below name the time.` });
  if (quarantine.waiting) {
    const rows = count(quarantine.waiting, "row");
    found.push({ level: "warn", text: `PostgreSQL refused ${rows}. \`bin/run-ingest quarantine\` shows the reasons.` });
  }
  if (spool.last_error) found.push({ level: "warn", text: `spool: ${spool.last_error}` });
  const oldS = spool.oldest_at ? (now.value - Date.parse(spool.oldest_at)) / 1000 : 0;
  if (spool.rows && oldS > SPOOLED_LONG_S) {
    found.push({ level: "warn", text: `${count(spool.rows, "tick")} on disk and not in the database, the oldest for ${age(oldS)}.` });
  }
  return found;
}

// The service's sentences begin with the name of the broker as its settings have it.
function named({ level, text }) {
  const [, broker, rest] = /^(\w+): (.*)$/s.exec(text) ?? [];
  if (!broker || !status.value?.feeds[broker]) return { level, text };
  return { level, text: `${brokerName(broker)}: ${rest}` };
}
