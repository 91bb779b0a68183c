// The two moments of the view `why`: a range that ends now, or two moments of one's own.

import { serverNow } from "../../lib/clock.js";
import { startOfDay, weekdayAt } from "../../lib/newyork.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
// Of the equity market, in New York.
const OPEN_HOURS = 9.5;
const CLOSE_HOURS = 16;

/** The ranges: label, title, and the moments at a time; `end` null means now. */
export const RANGES = {
  "10min": { label: "10 minutes", title: "The last 10 minutes", momentsAt: (now) => [now - 10 * MINUTE, null] },
  hour: { label: "Hour", title: "The last hour", momentsAt: (now) => [now - HOUR, null] },
  open: { label: "Since open", title: "Since 9:30 in New York, today or on the last weekday. Holidays count as weekdays.", momentsAt: (now) => [weekdayAt(now, OPEN_HOURS), null] },
  today: { label: "Today", title: "Since midnight in New York", momentsAt: (now) => [startOfDay(now), null] },
  close: { label: "Since prior close", title: "Since 16:00 in New York on the last weekday before today. Holidays count as weekdays.", momentsAt: (now) => [weekdayAt(now, CLOSE_HOURS, 1), null] },
  yesterday: { label: "Yesterday", title: "The day before today, from midnight to midnight in New York", momentsAt: (now) => [startOfDay(now, -1), startOfDay(now)] },
  "5d": { label: "5 days", title: "The last five times 24 hours", momentsAt: (now) => [now - 5 * DAY, null] },
  "30d": { label: "30 days", title: "The last thirty times 24 hours", momentsAt: (now) => [now - 30 * DAY, null] },
};
export const USUAL = "today";

/** The longest range of the interface. */
export const MOST_MS = 31 * DAY;

/** Return the choice of an address: the name of a range, or `{start, end}` in milliseconds. */
export function rangeOf({ range, start, end }) {
  const from = Date.parse(start);
  if (!Number.isNaN(from)) return { start: from, end: Number.isNaN(Date.parse(end)) ? null : Date.parse(end) };
  return { name: Object.hasOwn(RANGES, range) ? range : USUAL };
}

/** Return the two moments of a choice in milliseconds; the last one is null for now. */
export function momentsOf({ name, start, end }, now = serverNow()) {
  return name === undefined ? [start, end] : RANGES[name].momentsAt(now);
}

/** Return a moment as the value of a field with date and time, in the zone of the browser. */
export function fieldText(ms) {
  if (ms === null) return "";
  const local = new Date(ms - new Date(ms).getTimezoneOffset() * MINUTE);
  return local.toISOString().slice(0, 19);
}

/** Return the moment of such a field; null if it is empty. */
export function fieldMoment(text) {
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? null : ms;
}

/** Return the zone of the browser in words. */
export function zoneName() {
  return Intl.DateTimeFormat().resolvedOptions().timeZone ?? "the zone of this computer";
}
