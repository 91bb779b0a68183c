// Days of New York, by which the markets count.

const PARTS = new Intl.DateTimeFormat("en-US", {
  timeZone: "America/New_York",
  hourCycle: "h23",
  year: "numeric",
  month: "numeric",
  day: "numeric",
  hour: "numeric",
  minute: "numeric",
  second: "numeric",
});

// The clock on the wall in New York, as if it were UTC.
function wallClock(ms) {
  const { year, month, day, hour, minute, second } = Object.fromEntries(PARTS.formatToParts(ms).map(({ type, value }) => [type, Number(value)]));
  return Date.UTC(year, month - 1, day, hour, minute, second);
}

/**
 * Return the moment at which a day begins in New York.
 * @param {number} ms A moment of the day.
 * @param {number} later Days to add; -1 is the day before.
 */
export function startOfDay(ms, later = 0) {
  const wall = new Date(wallClock(ms));
  const midnight = Date.UTC(wall.getUTCFullYear(), wall.getUTCMonth(), wall.getUTCDate() + later);
  // New York is 4 or 5 hours behind, and does not change its clock at midnight.
  return [4, 5].map((hours) => midnight + hours * 3_600_000).find((each) => wallClock(each) === midnight);
}

/**
 * Return the latest moment until `ms` that is a weekday at a time of New York.  Holidays count as weekdays.
 * @param {number} hours Of the day, such as 9.5.
 * @param {number} before Days before that of `ms` at least.
 */
export function weekdayAt(ms, hours, before = 0) {
  for (let back = before; ; back += 1) {
    const midnight = startOfDay(ms, -back);
    const day = new Date(wallClock(midnight)).getUTCDay();
    const at = midnight + hours * 3_600_000;
    // The clocks change on Sundays only.
    if (day !== 0 && day !== 6 && at <= ms) return at;
  }
}
