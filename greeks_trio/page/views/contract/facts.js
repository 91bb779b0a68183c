// The figures of a contract at this moment, and everything that does not change with a tick.

import { html } from "../../vendor/preact.js";
import { now } from "../../lib/clock.js";
import { carriedOf, isCarried, kindOf, reasonOf } from "../../lib/contract-state.js";
import { ageS } from "../../lib/contracts.js";
import { Figure } from "../../lib/figure.js";
import { MEASURES, NOTHING, age, brokerName, day, moment, number, priceDigits } from "../../lib/format.js";
import { POSITION_FIELDS, positionFigure } from "../../lib/position-greeks.js";
import { strategyOf } from "../../lib/positions.js";
import { href } from "../../lib/router.js";
import { isDown } from "../../lib/status.js";

const GREEKS = ["delta", "gamma", "theta", "vega", "rho"];
const POSITION = { digits: 2, large: true };
const POSITION_OF = Object.fromEntries(Object.entries(POSITION_FIELDS).map(([position, own]) => [own, position]));

/** The figures: large those of one contract, below those of the position. */
export function Figures({ row }) {
  const digits = priceDigits(row);
  const money = (name) => ({ digits: MEASURES[name].digits + digits - 2 });
  const measures = { price: { digits }, theta: money("theta"), vega: money("vega"), rho: money("rho") };
  // A share or future has its price and delta only.
  const isOption = !row.isOther;
  return html`<dl class=${`figures twelve ${isDown(row.broker) ? "unvouched" : ""}`} aria-label="Figures">
    <${Tile} label="Quantity" title=${MEASURES.quantity.title} field="quantity" value=${row.quantity} coloured=${true} below=${row.quantity === null ? "watched, not held" : row.quantity < 0 ? "short" : "long"} />
    <${Tile} label="Price" title=${MEASURES.price.title} field="price" value=${row.price} measure=${measures.price} below=${html`<${Quotes} row=${row} digits=${digits} />`} isOld=${isCarried(row, "price")} />
    <${Tile} label="Value" title=${MEASURES.position_value.title} field="position_value" value=${positionFigure(row, "position_value")} measure=${POSITION} below=${row.currency ?? "currency not known"} />
    ${(isOption ? GREEKS : ["delta"]).map((name) => html`<${Tile} key=${name} label=${MEASURES[name].label} title=${MEASURES[name].title} field=${name} value=${row[name] ?? null} measure=${measures[name] ?? MEASURES[name]} isOld=${isCarried(row, name)} below=${html`<${OfPosition} row=${row} name=${name} />`} />`)}
    ${isOption && html`<${Tile} label="Implied volatility" title=${MEASURES.implied_volatility.title} field="implied_volatility" value=${row.implied_volatility ?? null} measure=${{ digits: 2, percent: true }} isOld=${isCarried(row, "implied_volatility")} below="per year" />`}
    ${isOption && html`<${Tile} label=${`Underlying ${row.underlying ?? ""}`} title=${MEASURES.underlying_price.title} field="underlying_price" value=${row.underlying_price} measure=${{ digits }} below=${html`<${UnderlyingAge} row=${row} />`} />`}
    <${Tile} label="Dollar delta" title=${MEASURES.dollar_delta.title} field="dollar_delta" value=${dollarDelta(row)} measure=${MEASURES.dollar_delta} below=${row.currency ?? ""} />
    <${Age} row=${row} />
  </dl>`;
}

// As in `/v1/risk/positions`: the delta of the position in money.
function dollarDelta(row) {
  if (row.isOther) return row.dollar_delta;
  const delta = positionFigure(row, "position_delta");
  return delta === null || row.price_factor === null || row.underlying_price === null ? null : delta * row.price_factor * row.underlying_price;
}

function Tile({ label, title, field, value, measure, coloured, below, isOld }) {
  const figure = html`<${Figure} field=${field} value=${value} measure=${measure} coloured=${coloured} />`;
  return html`<div>
    <dt title=${title}>${label}</dt>
    <dd>
      ${isOld ? html`<span class="carried" title="From an older tick">${figure}</span>` : figure}
      <span class="meta">${isOld && "older tick · "}${below}</span>
    </dd>
  </div>`;
}

function OfPosition({ row, name }) {
  const field = POSITION_OF[name];
  return html`position <${Figure} field=${field} value=${positionFigure(row, field)} measure=${POSITION} />`;
}

function Quotes({ row, digits }) {
  if (row.isOther) return row.price === null ? "no price" : "of the underlying";
  if (row.bid === null && row.ask === null) return "no bid, no ask";
  return html`<${Figure} field="bid" value=${row.bid} measure=${{ digits }} /> bid · ask <${Figure} field="ask" value=${row.ask} measure=${{ digits }} />`;
}

function UnderlyingAge({ row }) {
  if (row.underlying_price === null) return "no price";
  const seconds = row.underlying_price_at === null ? null : Math.max(0, (now.value - Date.parse(row.underlying_price_at)) / 1000);
  const source = row.isOther ? "" : `, ${brokerName(row.underlying_price_source ?? row.broker)}`;
  return `${seconds === null ? "time not known" : `${age(seconds)} old`}${source}`;
}

function Age({ row }) {
  const seconds = row.receivedMs === null ? null : ageS(row, now.value);
  const isStale = reasonOf(row, now.value) !== null;
  return html`<div class=${isStale ? "faulty" : ""}>
    <dt title="Time since the newest tick was received">Age</dt>
    <dd>
      <span class=${`fig ${seconds === null ? "none" : ""}`} data-field="age_s" data-value=${seconds ?? ""}>${age(seconds)}</span>
      <span class="meta">${isStale && html`<span aria-hidden="true">▲ </span>stale, `}${row.received_at ? `received ${moment(row.received_at)}` : "no tick"}</span>
    </dd>
  </div>`;
}

const STALE = {
  "no tick": "yes: no tick has come yet",
  old: "yes: the newest tick is too old",
  delayed: "yes: the broker sends delayed data",
  frozen: "yes: the broker sends the values of the last close",
  unknown: "yes: the broker does not say whether the values are of this moment",
  "underlying price": "yes: the price of the underlying is too old",
  "no price": "yes: no tick tells the price",
};

/** Everything else that is known of the contract. */
export function Facts({ row }) {
  const strategy = strategyOf(row);
  const carried = carriedOf(row);
  const reason = reasonOf(row, now.value);
  const facts = [
    ["Broker", brokerName(row.broker), "broker"],
    ["Account", row.account_id, "account_id"],
    ["Key", row.contract_key, "contract_key"],
    ["Kind", kindOf(row) || (row.kind === "future_option" ? "option on a future" : "option"), "kind"],
    ["Right", row.option_type ?? NOTHING, "option_type"],
    ["Strike", row.strike === null ? NOTHING : number(row.strike, { most: 4 }), "strike"],
    ["Expiration", day(row.expiration), "expiration"],
    ["Multiplier", row.multiplier === null ? "not known" : number(row.multiplier, { most: 4 }), "multiplier"],
    ...(row.price_factor !== 1 ? [["Price factor", row.price_factor === null ? "not known" : number(row.price_factor, { most: 4 }), "price_factor"]] : []),
    ["Currency", row.currency ?? "not known", "currency"],
    ["Strategy", strategy === null ? "none" : html`<a href=${href("contracts", { strategy_tag: strategy })}>${strategy}</a>`, "strategy_tag"],
    ["Exchange", row.exchange ?? NOTHING, "exchange"],
    ["Id of the broker", row.instrument_id ?? NOTHING, "instrument_id"],
    ["Data", row.isOther ? (row.not_realtime ? "not real-time" : NOTHING) : (row.availability ?? "no tick yet"), "availability"],
    ["Market data line", row.in_rotation ? "shared, in turns" : row.isOther ? NOTHING : "its own", "in_rotation"],
    ["Tick of", row.event_time ? moment(row.event_time) : NOTHING, "event_time"],
    ["Stale", reason === null ? "no" : (STALE[reason] ?? reason), "stale_reason"],
    ...(carried.length ? [["From older ticks", carried.join(", "), "carried"]] : []),
  ];
  // Most of it is about options.
  const shown = row.isOther ? facts.filter(([, value]) => value !== NOTHING) : facts;
  return html`<dl class="panel facts" aria-label="About the contract">
    ${shown.map(([label, value, field]) => html`<div key=${field}><dt>${label}</dt><dd data-field=${field} data-value=${row[field] ?? ""}>${value}</dd></div>`)}
  </dl>`;
}
