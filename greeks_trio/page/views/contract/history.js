// The history of a contract: one small chart for each measure that a person chooses.

import { html, useMemo } from "../../vendor/preact.js";
import { Chart } from "../../lib/chart.js";
import { now } from "../../lib/clock.js";
import { contractId, staleAfterS } from "../../lib/contracts.js";
import { MEASURES, brokerName, number, priceDigits } from "../../lib/format.js";
import { Badge, Empty, Freshness } from "../../lib/parts.js";
import { RangePicker, zoomTo } from "../../lib/range-picker.js";
import { iso, rangeOf } from "../../lib/ranges.js";
import { useResource } from "../../lib/resource.js";
import { change } from "../../lib/router.js";
import { downBrokers, pageState } from "../../lib/status.js";
import { Gaps, PeriodNote, merged, shownGaps } from "./gaps.js";
import { useLiveTicks } from "./live-ticks.js";
import { aligned, broken, pointsOf } from "./series.js";

const POINTS = 400;
const DEFAULT = ["price", "delta", "implied_volatility"];
const ALL = ["price", "delta", "gamma", "theta", "vega", "rho", "implied_volatility", "underlying_price"];
const HEIGHT = 210;
// Fewer ticks than this are drawn as points too.
const MOST_POINTS = 80;

/**
 * The charts, with their range and measures.
 * @param {object} props
 * @param {object} props.params Of the address.
 * @param {object} props.about The contract: for the digits of its price.
 */
export function History({ params, about }) {
  const nowS = now.value / 1000;
  const range = rangeOf(params, nowS);
  const measures = measuresOf(params);
  const asked = { contract_key: params.contract_key, start: iso(range.start), end: range.end && iso(range.end), points: POINTS, measures: ALL.join(",") };
  const resource = useResource("/v1/greeks/history", asked, { keep: true });
  const canBeLive = pageState.value === "live" && about.broker !== undefined && !downBrokers.value.some(({ broker }) => broker === about.broker);
  const shown = useMemo(() => chosenSeries(resource.value?.series ?? [], params), [resource.value, params.broker, params.account_id]);
  return html`<section class="panel history" aria-label="History">
    <header>
      <h2>History</h2>
      <${RangePicker} range=${range} nowS=${nowS} />
      <span class="meta"><${Progress} resource=${resource} range=${range} /></span>
    </header>
    <div class="body">
      <${MeasurePicker} measures=${measures} />
      ${resource.value === null && resource.error
        ? html`<${Empty} title="The history cannot be read">${resource.error.message} ${canBeLive ? "The figures above are live." : ""}<//>`
        : html`<${Charts} ...${{ shown: shown.series, range, measures, about, isLoading: resource.value === null }} />
            ${resource.value !== null && html`<${PeriodNote} series=${shown.series} left=${shown.left} range=${range} /><${Gaps} series=${shown.series} range=${range} />`}`}
    </div>
  </section>`;
}

// What is shown is live, or of a moment that is chosen: only a reading and an error are news.
function Progress({ resource, range }) {
  const { error, isLoading, value } = resource;
  if (error) return html`<${Freshness} resource=${resource} />`;
  return html`<${Freshness} resource=${{ error, at: null, isLoading: isLoading && (value === null || !range.isLive) }} />`;
}

function measuresOf({ measures = "" }) {
  const chosen = ALL.filter((name) => measures.split(",").includes(name));
  return chosen.length ? chosen : DEFAULT;
}

// The account of the address, and one of each other broker: the accounts of a broker have the
// same ticks of a contract.
function chosenSeries(series, { broker, account_id: account }) {
  const own = series.find((each) => each.broker === broker && each.account_id === account) ?? series.find((each) => each.broker === broker) ?? series[0];
  const chosen = series.filter((each) => each === own || (each.broker !== own?.broker && series.find(({ broker: name }) => name === each.broker) === each));
  return { series: chosen.sort((one, two) => one.broker.localeCompare(two.broker)), left: series.filter((each) => !chosen.includes(each)) };
}

function MeasurePicker({ measures }) {
  const toggled = (name) => (measures.includes(name) ? measures.filter((each) => each !== name) : [...measures, name]);
  return html`<div class="controls picks" role="group" aria-label="Charts of">
    ${ALL.map(
      (name) => html`<button
        key=${name}
        class="pick"
        type="button"
        aria-pressed=${String(measures.includes(name))}
        disabled=${measures.length === 1 && measures.includes(name)}
        onClick=${() => change({ measures: toggled(name).join(",") })}
      >
        ${labelOf(name)}
      </button>`,
    )}
  </div>`;
}

function labelOf(measure) {
  return measure === "underlying_price" ? "Underlying price" : MEASURES[measure].label;
}

function Charts({ shown, range, measures, about, isLoading }) {
  const ticks = useLiveTicks(range.isLive ? shown.map((each) => contractId({ ...each, contract_key: about.contract_key })) : []);
  const gaps = useMemo(() => merged(shownGaps(shown, range.to)), [shown, Math.floor(range.to / 5)]);
  return html`<div class="multiples" aria-busy=${String(isLoading)}>
    ${measures.map((measure) => html`<${OneChart} key=${measure} ...${{ measure, shown, range, about, ticks, gaps, isLoading }} />`)}
  </div>`;
}

function OneChart({ measure, shown, range, about, ticks, gaps, isLoading }) {
  const format = (value, step) => number(value, formatOf(measure, about, step));
  const idOf = (each) => contractId({ ...each, contract_key: about.contract_key });
  const newest = shown.map((each) => ticks.get(idOf(each))?.at(-1)?.time ?? 0).join(" ");
  const { x, series, words } = useMemo(() => linesOf(measure, shown, (each) => ticks.get(idOf(each)) ?? [], range, format), [measure, shown, newest]);
  const title = labelOf(measure);
  return html`<figure class="multiple" data-measure=${measure}>
    <figcaption title=${MEASURES[measure].title}>${title}${isLoading && html` <span class="meta">loading</span>`}${!isLoading && !x.length && html` <${Badge}>no values in this time<//>`}</figcaption>
    <${Chart}
      label=${`${title} over time`}
      summary=${words}
      x=${x}
      series=${series}
      gaps=${gaps}
      range=${[range.from, range.to]}
      height=${HEIGHT}
      sync="history"
      onZoom=${(from, to) => zoomTo(from, to, now.peek() / 1000)}
    />
  </figure>`;
}

// On the axis, neighbouring labels differ.
function formatOf(measure, about, step = 1) {
  const { digits, percent = false } = MEASURES[measure];
  const needed = Math.ceil(-Math.log10(percent ? step * 100 : step) - 1e-9);
  if (measure === "price" || measure === "underlying_price") return { digits: Math.max(priceDigits(about), needed) };
  const more = ["theta", "vega", "rho"].includes(measure) ? priceDigits(about) - 2 : 0;
  return { digits: Math.max(digits + more, needed, percent ? 2 : 0), percent };
}

function linesOf(measure, shown, ticksOf, range, format) {
  const lists = shown.map((each) => {
    const limit = Math.max(staleAfterS.peek(), 2 * (each.interval_s ?? 0));
    return broken(pointsOf(each.data, ticksOf(each), measure), each.gaps, limit);
  });
  const { x, columns } = aligned(lists);
  const series = shown.map((each, at) => {
    const count = lists[at].length;
    const hasBand = each.kind === "intervals";
    return {
      label: `${brokerName(each.broker)} ${each.account_id}`,
      values: columns[at].values,
      format,
      colour: `--series-${at + 1}`,
      points: count <= MOST_POINTS ? true : "alone",
      ...(hasBand ? { low: columns[at].low, high: columns[at].high } : {}),
    };
  });
  return { x, series, words: inWords(shown, lists, format) };
}

// For those who do not see the chart.
function inWords(shown, lists, format) {
  return shown
    .map((each, at) => {
      const known = lists[at].filter(([, value]) => value !== null);
      if (!known.length) return `${brokerName(each.broker)}: no values.`;
      const [low, high] = [Math.min(...known.map(([, , least]) => least)), Math.max(...known.map(([, , , most]) => most))];
      return `${brokerName(each.broker)}: from ${format(known[0][1])} to ${format(known.at(-1)[1])}, lowest ${format(low)}, highest ${format(high)}.`;
    })
    .join(" ");
}
