// Numbers, times and names as text.

export const MINUS = "\u2212";
/** The text of a value that is not known. */
export const NOTHING = "\u2013";

/**
 * How to write each measure.
 *
 * label: for headings; title: the definition, with the unit; digits: after the point;
 * most: digits at most; percent: a fraction; large: ten millions and more are in millions;
 * signed: with a plus as well; unit: in words, below a large figure.
 */
export const MEASURES = {
  quantity: { label: "Qty", title: "Quantity, short is negative", digits: 0, most: 4 },
  delta: { label: "Delta", title: "Delta, for a move of the underlying by 1.00", digits: 3 },
  gamma: { label: "Gamma", title: "Gamma, change of delta for a move by 1.00", digits: 4 },
  theta: { label: "Theta", title: "Theta, per calendar day", digits: 3 },
  vega: { label: "Vega", title: "Vega, per point of volatility", digits: 3 },
  rho: { label: "Rho", title: "Rho, per point of the interest rate", digits: 3 },
  implied_volatility: { label: "IV", title: "Implied volatility, per year", digits: 1, percent: true },
  price: { label: "Price", title: "Price of the contract", digits: 2, most: 4 },
  underlying_price: { label: "Underlying", title: "Price of the underlying", digits: 2 },
  net_delta: { label: "Net delta", title: "Quantity x multiplier x delta, in units of the underlying", digits: 1, large: true, unit: "units" },
  position_delta: { label: "Delta", title: "Quantity x multiplier x delta, in units of the underlying", digits: 2, large: true },
  position_value: { label: "Value", title: "Quantity x multiplier x price, in the currency of the contract", digits: 0, large: true },
  bid: { label: "Bid", title: "Bid for the contract", digits: 2, most: 4 },
  ask: { label: "Ask", title: "Ask for the contract", digits: 2, most: 4 },
  position_gamma: { label: "Gamma", title: "Quantity x multiplier x gamma", digits: 2, large: true },
  dollar_delta: { label: "Dollar delta", title: "Money that a move of the underlyings by 100 % would give, at today's deltas", digits: 0, large: true, unit: "per 100 % move" },
  dollar_gamma: { label: "Dollar gamma", title: "Change of the dollar delta for a move of the underlyings by 1 %", digits: 0, large: true, unit: "per move of 1 %" },
  beta_weighted_delta: { label: "Beta delta", title: "Delta in shares of the benchmark", digits: 1, large: true, unit: "shares of the benchmark" },
  position_theta: { label: "Theta", title: "Money per calendar day", digits: 0, large: true, unit: "per day" },
  position_vega: { label: "Vega", title: "Money per point of volatility", digits: 0, large: true, unit: "per vol. point" },
  position_rho: { label: "Rho", title: "Money per point of the interest rate", digits: 0, large: true, unit: "per point of interest" },
  market_value: { label: "Value", title: "Market value of options and shares", digits: 0, large: true, unit: "at market prices" },
  profit_loss: { label: "P/L today", title: "Profit or loss since midnight in New York, without commissions, dividends and interest", digits: 0, large: true, signed: true, unit: "since 0:00, New York" },
};

const formats = new Map();

function numberFormat(digits, most) {
  const key = `${digits},${most}`;
  if (!formats.has(key)) {
    formats.set(key, new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: most }));
  }
  return formats.get(key);
}

/**
 * Return a number as text, with a real minus sign.
 * @param {number | null} value
 * @param {{digits?: number, most?: number, percent?: boolean, large?: boolean | number, signed?: boolean}} measure
 *   `large`: ten millions and more are in millions, or this number and more.
 */
export function number(value, { digits = 0, most = digits, percent = false, large = false, signed = false } = {}) {
  if (value === null || value === undefined || Number.isNaN(value) || Math.abs(value) === Infinity) return NOTHING;
  let shown = percent ? value * 100 : value;
  let unit = percent ? "%" : "";
  if (large && Math.abs(shown) >= 1e10) [shown, unit, digits, most] = [shown / 1e9, "B", 2, 2];
  else if (large && Math.abs(shown) >= (large === true ? 1e7 : large)) [shown, unit, digits, most] = [shown / 1e6, "M", 2, 2];
  const text = sizeText(Math.abs(shown), digits, most);
  // What rounds to zero has no sign.
  const isZero = !/[1-9]/.test(text);
  const sign = isZero ? "" : shown < 0 ? MINUS : signed ? "+" : "";
  return sign + text + unit;
}

// A number has fifteen digits that are right; a larger one would only break the layout.
function sizeText(size, digits, most) {
  return size < 1e15 ? numberFormat(digits, most).format(size) : Number(size).toExponential(2);
}

/**
 * Return how many digits a price has: the last one is worth ten of the currency at most, for one
 * contract.  So an option on euros has five, one on shares two.
 */
export function priceDigits({ multiplier, price_factor: factor }) {
  const worth = (multiplier ?? 100) * (factor ?? 1);
  return worth > 0 ? Math.min(7, Math.max(2, Math.ceil(Math.log10(worth)) - 1)) : 2;
}

/**
 * Return a number for the axis of a chart, with few letters.
 * @param {number} step Between two labels; it says how many decimals are needed.
 */
export function axisNumber(value, step) {
  const [scale, unit] = unitOf(Math.abs(value), step);
  return number(value / scale, { digits: decimalsOf(step / scale) }) + unit;
}

// Thousands only where they make the text shorter.
function unitOf(size, step) {
  if (size >= 1e9) return [1e9, "B"];
  if (size >= 1e6) return [1e6, "M"];
  return size >= 1e4 && decimalsOf(step / 1000) < 2 ? [1000, "k"] : [1, ""];
}

function decimalsOf(step) {
  let digits = 0;
  while (digits < 6 && Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) > 1e-6) digits += 1;
  return digits;
}

/** Return a whole count with its noun: `1 position`, `3 positions`. */
export function count(value, noun, plural = `${noun}s`) {
  return `${number(value)} ${value === 1 ? noun : plural}`;
}

/** Return seconds as text of few letters: `0.4 s`, `12 s`, `5 min`, `3 h`, `2 d`. */
export function age(seconds) {
  if (seconds === null || seconds === undefined) return NOTHING;
  // Two clocks may differ by some milliseconds.
  if (seconds < 0.05) return "0.0 s";
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 99.5) return `${Math.round(seconds)} s`;
  if (seconds < 5970) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** Return milliseconds as text: `8.7 ms`, `162 ms`, `1.2 s`. */
export function milliseconds(value) {
  if (value === null || value === undefined) return NOTHING;
  if (value >= 999.5) return age(value / 1000);
  return `${number(value, { most: value < 99.95 ? 1 : 0 })} ms`;
}

/** Return a number of bytes as text: `512 B`, `16 kB`, `2.1 GB`. */
export function bytes(value) {
  if (value === null || value === undefined) return NOTHING;
  const at = Math.min(Math.max(0, Math.floor(Math.log10(Math.max(1, value)) / 3)), 4);
  const shown = value / 1000 ** at;
  return `${number(shown, { most: at && shown < 99.95 ? 1 : 0 })} ${["B", "kB", "MB", "GB", "TB"][at]}`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const DATE = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const SHORT_DATE = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "2-digit", timeZone: "UTC" });

/** Return a moment as the time of the browser's zone, with the day if it is not today. */
export function moment(value, today = Date.now()) {
  if (value === null || value === undefined) return NOTHING;
  const date = new Date(value);
  if (Number.isNaN(date.getTime())) return NOTHING;
  const isToday = date.toDateString() === new Date(today).toDateString();
  return isToday ? CLOCK.format(date) : `${DAY.format(date)}, ${CLOCK.format(date)}`;
}

/** Return a day such as `2026-12-18` as `18 Dec 2026`. */
export function day(text) {
  return text ? dayText(DATE, text) : NOTHING;
}

// An address may name a day that there is not; it stays as it is.
function dayText(format, text) {
  const date = new Date(`${text}T00:00:00Z`);
  return Number.isNaN(date.getTime()) ? text : format.format(date);
}

/** Return a contract as traders write it: `SPY 18 Dec 26 600 C`, `/ESH27 (E2D) 14 Jan 27 6600 P`. */
export function contractName(row) {
  if (row.strike === null || row.strike === undefined || !row.expiration) return row.contract_key;
  const right = row.option_type === "put" ? "P" : "C";
  return `${symbolOf(row)} ${dayText(SHORT_DATE, row.expiration)} ${String(Number(row.strike)).replace("-", MINUS)} ${right}`;
}

function symbolOf({ contract_key: key, underlying }) {
  const future = /^\.\/(\S+)/.exec(key);
  if (future) return `${underlying} (${future[1]})`;
  if (!/^.{6}\d{6}[CP]\d{8}$/.test(key)) return underlying ?? key;
  // The key leaves out the sign in a name such as BRK/B; that of an adjusted option has a digit more.
  const root = key.slice(0, 6).trim();
  return underlying?.replace(/[^A-Z0-9]/g, "") === root ? underlying : root;
}

// A map, because an address may name a broker `constructor`.
const BROKERS = new Map([["ibkr", "IBKR"], ["tastytrade", "Tastytrade"]]);

/** Return a broker's name as it writes it. */
export function brokerName(broker) {
  return BROKERS.get(broker) ?? broker;
}
