// The columns of the list of contracts.

import { html } from "../../vendor/preact.js";
import { Sparkline } from "../../lib/chart.js";
import { now } from "../../lib/clock.js";
import { naturalKey, nameOf } from "../../lib/contract-list.js";
import { isCarried, kindOf, reasonOf, severityOf, statesOf } from "../../lib/contract-state.js";
import { ageS } from "../../lib/contracts.js";
import { Figure, Sum } from "../../lib/figure.js";
import { FILTERS, narrowed } from "../../lib/filters.js";
import { MEASURES, NOTHING, age, brokerName, count, moment, number, priceDigits } from "../../lib/format.js";
import { Badge } from "../../lib/parts.js";
import { POSITION_FIELDS, positionFigure } from "../../lib/position-greeks.js";
import { strategyOf } from "../../lib/positions.js";
import { href, route } from "../../lib/router.js";
import { usePriceLine, withPresent } from "../../lib/sparklines.js";

const PRICES = ["price", "underlying_price"];
const GREEKS = ["delta", "gamma", "theta", "vega"];
const IN_MONEY = new Set(["theta", "vega", "rho"]);
// The filter `without` takes these.
const CAN_LACK = new Set(["expiration", "strategy_tag"]);
const DIGIT_PX = 8;
// As wide as a digit.
const FIGURE_SPACE = "\u2007";

function hrefOf(row) {
  return href("contract", { contract_key: row.contract_key, broker: row.broker, account_id: row.account_id });
}

/**
 * Return the columns.
 * @param {object} options
 * @param {boolean} options.isPosition Greeks of the whole positions instead of one contract.
 * @param {number} options.places The most digits of a price in the list.
 * @param {boolean} options.hasStrategies Some position has a strategy.
 * @param {boolean} options.hasLongNames Such as those of options on futures.
 * @param {string} options.by What the rows are grouped by.
 */
export function columnsOf({ isPosition, places, hasStrategies, hasLongNames, by }) {
  const greek = (name) => (isPosition ? positionColumn(`position_${name}`) : greekColumn(name, places));
  const [price, underlying] = PRICES.map((name) => priceColumn(name, places));
  return [
    nameColumn(by, hasLongNames),
    accountColumn(),
    { id: "quantity", label: "Qty", title: MEASURES.quantity.title, width: 58, sort: (row) => row.quantity, cell: own((row) => html`<${Figure} field="quantity" value=${row.quantity} coloured=${true} />`) },
    price,
    ...(isPosition ? [positionColumn("position_value")] : []),
    ...GREEKS.map(greek),
    { id: "implied_volatility", label: "IV", title: MEASURES.implied_volatility.title, width: 66, sort: (row) => row.implied_volatility ?? null, cell: own((row) => !row.isOther && html`<${Value} row=${row} name="implied_volatility" measure=${MEASURES.implied_volatility} />`) },
    underlying,
    { id: "age_s", label: "Age", title: "Time since the newest tick was received", width: 70, sort: (row) => (row.receivedMs === null ? null : -row.receivedMs), cell: own((row) => html`<${Age} row=${row} receivedMs=${row.receivedMs} />`) },
    { id: "state", label: "State", left: true, width: 176, sort: (row) => severityOf(row, now.peek()), cell: (row) => (row.isGroup ? html`<${GroupState} sums=${row.sums} />` : html`<${State} row=${row} version=${row.version} />`) },
    { id: "line", label: "Last hour", title: "The price of the contract in the last 60 minutes", left: true, width: 104, narrow: false, cell: own((row) => !row.isOther && html`<${PriceLine} row=${row} price=${row.price} />`) },
    greek("rho"),
    { id: "underlying_price_source", label: "Source", title: "The broker whose tick gave the price of the underlying", left: true, width: 92, narrow: false, sort: sourceOf, cell: own((row) => sourceOf(row) ?? html`<span class="none" title="The interface does not name the source">${NOTHING}</span>`) },
    ...(hasStrategies ? [{ id: "strategy_tag", label: "Strategy", left: true, width: 120, narrow: false, sort: strategyOf, cell: own((row) => strategyOf(row) ?? html`<span class="none">${NOTHING}</span>`) }] : []),
  ];
}

// The heading of a group has no values of one contract.
function own(cell) {
  return (row) => (row.isGroup ? null : cell(row));
}

function nameColumn(by, isLong) {
  return {
    id: "contract",
    label: "Contract",
    left: true,
    width: isLong ? 252 : 190,
    narrow: isLong ? 190 : 178,
    sort: naturalKey,
    cell: (row) => (row.isGroup ? html`<${GroupName} row=${row} by=${by} />` : html`<${Name} row=${row} version=${row.version} />`),
  };
}

// The mark of what is stale or wrong is before the name: the column of the state may be out of
// sight, and the end of a long name too.
function Name({ row }) {
  const kind = kindOf(row);
  const worst = statesOf(row, now.value).find(({ level }) => level !== "info");
  return html`${worst && html`<span class="flaw" title=${worst.title}><span aria-hidden="true">▲ </span></span>`}<a class="name" tabindex="-1" href=${hrefOf(row)} title=${row.contract_key}>${nameOf(row)}</a>${kind && html` <span class="none">${kind}</span>`}${worst && html`<span class="hidden"> ${worst.text}</span>`}`;
}

function GroupName({ row, by }) {
  const { value, broker } = row;
  const words = value === null ? `no ${FILTERS[by].label.toLowerCase()}` : FILTERS[by].text(value);
  const filter = { ...narrowed(route.value.params, by, value), by: null, ...(by === "account_id" ? { broker } : {}) };
  const label = `${words} (${count(row.rows.length, "row")})`;
  if (value === null && !CAN_LACK.has(by)) return html`${words} <span class="none">${number(row.rows.length)}</span>`;
  return html`<a href=${href("contracts", filter)} title=${`Only ${label}`}>${words}</a> <span class="none">${number(row.rows.length)}</span>`;
}

function accountColumn() {
  const key = (row) => `${row.broker}|${row.account_id}`;
  return {
    id: "account_id",
    label: "Account",
    left: true,
    width: 156,
    narrow: false,
    sort: key,
    cell: own((row) => html`${row.account_id} <span class="none">${brokerName(row.broker)}</span>`),
  };
}

function priceColumn(name, places) {
  const measure = MEASURES[name];
  return {
    id: name,
    label: measure.label,
    title: measure.title,
    width: 82 + DIGIT_PX * (places - 2),
    sort: (row) => row[name],
    cell: own((row) => {
      const digits = priceDigits(row);
      return html`<${Value} row=${row} name=${name} measure=${{ digits }} places=${places} />`;
    }),
  };
}

function greekColumn(name, places) {
  const measure = MEASURES[name];
  const extra = IN_MONEY.has(name) ? places - 2 : 0;
  return {
    id: name,
    label: measure.label,
    title: measure.title,
    width: 66 + DIGIT_PX * extra,
    sort: (row) => row[name] ?? null,
    cell: own((row) => {
      if (row.isOther && name !== "delta") return null;
      const digits = measure.digits + (extra ? priceDigits(row) - 2 : 0);
      return html`<${Value} row=${row} name=${name} measure=${{ digits }} places=${measure.digits + extra} />`;
    }),
  };
}

function positionColumn(field) {
  const measure = { digits: 2, large: 1e6 };
  const { label, title } = MEASURES[field];
  return {
    id: field,
    label,
    title,
    width: 106,
    sort: (row) => positionFigure(row, field),
    cell: (row) => {
      if (row.isGroup) return html`<${GroupSum} sum=${row.sums?.[field]} field=${field} measure=${measure} />`;
      const value = positionFigure(row, field);
      // A share has no gamma: nothing is missing.
      if (row.isOther && value === null && field !== "position_delta" && field !== "position_value") return null;
      return html`<${Value} row=${row} name=${POSITION_FIELDS[field]} field=${field} value=${value} measure=${measure} />`;
    },
  };
}

// A value with the mark of one that the newest tick lacked, and with room for more digits.
function Value({ row, name, field = name, value = row[name] ?? null, measure, places = 0 }) {
  const isOld = name !== "underlying_price" && value !== null && isCarried(row, name);
  const figure = html`<${Figure} field=${field} value=${value} measure=${measure} />`;
  return html`${isOld ? html`<span class="carried" title="From an older tick">${figure}<span class="hidden"> from an older tick</span></span>` : figure}${FIGURE_SPACE.repeat(
    Math.max(0, places - measure.digits),
  )}`;
}

function GroupSum({ sum, field, measure }) {
  if (!sum) return null;
  if (sum.reason) return html`<span class="none" title=${sum.reason}>${NOTHING}<span class="hidden"> ${sum.reason}</span></span>`;
  return html`<${Sum} field=${field} value=${sum.value} measure=${measure} faults=${sum} />`;
}

function PriceLine({ row, price }) {
  const values = usePriceLine(row);
  const points = values === null ? row.points.slice() : withPresent(values, price);
  const known = points.filter((point) => point !== null);
  const digits = priceDigits(row);
  const label = known.length ? `Price from ${number(known[0], { digits })} to ${number(known.at(-1), { digits })}` : "Price";
  return html`<${Sparkline} points=${points} label=${label} />`;
}

function Age({ row }) {
  const seconds = row.isOther && row.receivedMs === null ? null : ageS(row, now.value);
  const title = row.received_at ? `Received ${moment(row.received_at)}` : "No tick";
  const isOld = seconds !== null && reasonOf(row, now.value) !== null;
  const look = seconds === null ? "none" : isOld ? "flaw" : "";
  return html`<span class=${`fig ${look}`} data-field="age_s" data-value=${seconds ?? ""} title=${title}>${isOld && html`<span aria-hidden="true">▲ </span>`}${age(seconds)}</span>`;
}

function State({ row }) {
  const at = now.value;
  const states = statesOf(row, at);
  const reason = reasonOf(row, at);
  return html`<span data-field="stale_reason" data-value=${reason ?? ""}
    >${states.map(({ id, level, text, title }) => html`<${Badge} key=${id} state=${level} title=${title}>${text}<//> `)}</span
  >`;
}

function GroupState({ sums }) {
  if (!sums?.stale) return null;
  return html`<${Badge} state="warn" title="Rows of this group that are stale">${sums.stale} stale<//>`;
}

function sourceOf(row) {
  if (row.isOther || row.underlying_price === null) return null;
  return brokerName(row.underlying_price_source ?? row.broker);
}
