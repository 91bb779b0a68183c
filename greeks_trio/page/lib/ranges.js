// The range of time of the charts: up to now, or between two moments.

const HOUR_S = 3600;
const DAY_S = 24 * HOUR_S;

/** The ranges up to now, in seconds. */
export const RANGES = {
  "15min": HOUR_S / 4,
  "1h": HOUR_S,
  "6h": 6 * HOUR_S,
  "1d": DAY_S,
  "1w": 7 * DAY_S,
  "1m": 30 * DAY_S,
  "3m": 91 * DAY_S,
  "1y": 365 * DAY_S,
};

/** How each range is called. */
export const RANGE_NAMES = { "15min": "15 minutes", "1h": "1 hour", "6h": "6 hours", "1d": "1 day", "1w": "1 week", "1m": "1 month", "3m": "3 months", "1y": "1 year" };

const SHORTEST_S = 2;
// The history is read again so often; ticks in between come from the stream.
const REFRESH_S = [
  [HOUR_S / 4, 10],
  [6 * HOUR_S, 30],
  [7 * DAY_S, 60],
  [Infinity, 300],
];

/**
 * Return the range that the address names, in seconds since 1970.
 *
 * `from` and `to`: what is shown; `start` and `end`: what is asked for, which changes only when
 * the history is due; `end` is `undefined` for now.
 */
export function rangeOf({ range, from, to }, nowS) {
  const [begin, end] = [Date.parse(from) / 1000, Date.parse(to) / 1000];
  if (begin < end) return { from: begin, to: end, start: begin, end, isLive: false };
  const name = Object.hasOwn(RANGES, range) ? range : "1h";
  const length = RANGES[name];
  const every = REFRESH_S.find(([most]) => length <= most)[1];
  const due = Math.floor(nowS / every) * every;
  return { name, from: nowS - length, to: nowS, start: due - length, isLive: true };
}

/** Return the parameters of the address for a range between two moments, from 1970 until now. */
export function between(from, to, nowS) {
  const end = Math.max(SHORTEST_S, Math.min(to, nowS));
  const begin = Math.max(0, Math.min(from, end - SHORTEST_S));
  return { from: iso(begin), to: iso(end) };
}

/** Return the moves of the buttons: each with the parameters of the address. */
export function movesOf({ from, to }, nowS) {
  const length = to - from;
  const at = (begin, end) => between(begin, end, nowS);
  const later = Math.min(length / 2, Math.max(0, nowS - to));
  return [
    { id: "earlier", label: "Earlier", symbol: "\u2190", params: at(from - length / 2, to - length / 2) },
    { id: "later", label: "Later", symbol: "\u2192", params: at(from + later, to + later), isOff: later < 1 },
    { id: "in", label: "Zoom in", symbol: "+", params: at(from + length / 4, to - length / 4), isOff: length <= 2 * SHORTEST_S },
    { id: "out", label: "Zoom out", symbol: "\u2212", params: at(from - length / 2, to + length / 2) },
  ];
}

/** Return seconds since 1970 as the interface writes a moment. */
export function iso(seconds) {
  return new Date(Math.round(seconds * 1000)).toISOString();
}
