// The ticks of some contracts that this page sees while it shows them.

import { useRef } from "../../vendor/preact.js";
import { contracts, revision } from "../../lib/contracts.js";

const MEASURES = ["price", "delta", "gamma", "theta", "vega", "rho", "implied_volatility"];
// Of each contract: more than come until the history is read again.
const MOST = 2000;

/**
 * Return a map of row id to the ticks seen: `{time, price, ...}`, ascending; the time in seconds.
 * The stream brings the latest tick of each quarter of a second; the history has all.
 * @param {Array<string>} ids Of the rows.
 */
export function useLiveTicks(ids) {
  const seen = useRef(new Map());
  revision.value;
  for (const id of ids) {
    const row = contracts.get(id);
    if (row?.oldestMs == null) continue;
    if (!seen.current.has(id)) seen.current.set(id, []);
    addTo(seen.current.get(id), row);
  }
  return seen.current;
}

function addTo(ticks, row) {
  const time = Date.parse(row.event_time) / 1000;
  if (ticks.length && ticks.at(-1).time >= time) return;
  const tick = { time, underlying_price: row.underlying_price_source === null ? row.underlying_price : null };
  for (const name of MEASURES) tick[name] = row[`carried_${name}`] ? null : row[name];
  ticks.splice(0, Math.max(0, ticks.push(tick) - MOST));
}
