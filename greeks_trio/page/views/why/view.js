// Why the value changed between two moments: a waterfall for each currency, and the parts of
// each group.

import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { ApiError } from "../../lib/api.js";
import { Figure } from "../../lib/figure.js";
import { FilterChips, filtersOf } from "../../lib/filters.js";
import { useFollowed } from "../../lib/follow.js";
import { count, moment } from "../../lib/format.js";
import { Empty, Freshness, Segments } from "../../lib/parts.js";
import { CurrencyPicker, groupingsOf } from "../../lib/picker.js";
import { change } from "../../lib/router.js";
import { OldParts } from "../../lib/sums.js";
import { Controls } from "./controls.js";
import { Headline, LateStart, LeftOut, Notes, Outages } from "./facts.js";
import { moneyMeasure } from "./parts.js";
import { momentsOf, rangeOf } from "./ranges.js";
import { GROUPINGS, GroupTable, PartTable } from "./tables.js";
import { Waterfall } from "./waterfall.js";

const PATH = "/v1/risk/explain";
const EVERY_MS = 30_000;
const UNANSWERABLE = 422;
const UPRIGHT_FROM_PX = 720;
// The numbers stand beside the picture; see css/why.css.
const beside = matchMedia("(min-width: 2400px)");

/** The view `why`. */
export function Why({ params }) {
  const range = rangeOf(params);
  // The currency chooses among the blocks of the view, so that one can go to the others.
  const { currency, ...filters } = filtersOf(params);
  const groupings = groupingsOf(Object.keys(GROUPINGS), filters);
  const by = groupings.includes(params.by) ? params.by : groupings[0];
  const isOpen = momentsOf(range)[1] === null;
  const found = worded(useFollowed(PATH, { range, filters, by }, { everyMs: isOpen ? EVERY_MS : 0, paramsOf }));
  const answer = found.value;
  const all = [...(answer?.totals ?? [])].sort((one, other) => other.contracts - one.contracts);
  const totals = all.filter((row) => !currency || row.currency === currency);
  return html`
    <div class="head">
      <h1>Why</h1>
      <${FilterChips} params=${params} />
      <span class="meta"><${Freshness} resource=${found} /></span>
    </div>
    <${Controls} params=${params} range=${range} />
    ${answer === null && html`<${Waiting} resource=${found} />`}
    ${answer !== null &&
    html`<div class=${`why ${found.error || found.isOther ? "unvouched" : ""}`} aria-busy=${String(found.isBehind)}>
      <p class="note between"><${Between} answer=${answer} isBehind=${found.isBehind} /> ${isOpen && html`<${OldParts} />`}</p>
      <${LateStart} rows=${totals} answer=${answer} filters=${found.choices.filters} />
      <${CurrencyPicker} currencies=${all.map((row) => row.currency)} params=${params} />
      ${totals.map((row, at) => html`<${Currency} key=${row.currency} row=${row} isOpen=${at === 0 || beside.matches} />`)}
      <${Groups} ...${{ answer, choices: found.choices, groupings, by, params }} />
      <${LeftOut} answer=${answer} />
      <${Outages} answer=${answer} />
      <${Notes} answer=${answer} />
    </div>`}
  `;
}

function isUnanswerable({ status }) {
  return status === UNANSWERABLE;
}

// The service's words name the parameters of its interface.
function worded(found) {
  const { error } = found;
  const isEmpty = error !== null && isUnanswerable(error) && error.message.startsWith("No position was held");
  return isEmpty ? { ...found, error: new ApiError(UNANSWERABLE, "No position was held in this time.") } : found;
}

function paramsOf({ range, filters, by }) {
  const [start, end] = momentsOf(range);
  return { start: new Date(start).toISOString(), end: end === null ? null : new Date(end).toISOString(), group_by: by, ...filters };
}

function Between({ answer, isBehind }) {
  if (isBehind) return html`<span class="busy">The service follows the positions from tick to tick.</span>`;
  return `From ${moment(answer.start)} to ${moment(answer.end)}.`;
}

function Currency({ row, isOpen }) {
  const [host, isUpright] = useIsWide();
  return html`<section class="panel" aria-label=${`Profit or loss in ${row.currency}`} data-currency=${row.currency} ref=${host}>
    <header>
      <h2>
        Profit or loss <${Figure} field="profit_loss" value=${row.profit_loss} measure=${moneyMeasure(row)} coloured /> ${row.currency}
      </h2>
      <span class="note">${count(row.contracts, "position")}</span>
      <span class="controls limits"><${Headline} row=${row} /></span>
    </header>
    <div class="body"><${Waterfall} row=${row} isUpright=${isUpright} /></div>
    <details class="numbers" open=${isOpen}>
      <summary>The numbers, and what they lack</summary>
      <${PartTable} row=${row} />
    </details>
  </section>`;
}

function useIsWide() {
  const host = useRef(null);
  const [isWide, setWide] = useState(true);
  useEffect(() => {
    const sizes = new ResizeObserver(([{ contentRect }]) => setWide(contentRect.width >= UPRIGHT_FROM_PX));
    sizes.observe(host.current);
    return () => sizes.disconnect();
  }, []);
  return [host, isWide];
}

function Groups({ answer, choices, groupings, by, params }) {
  const rows = answer.groups.filter((row) => !params.currency || row.currency === params.currency);
  return html`<section class="panel" aria-label="Groups">
    <header>
      <${Segments}
        label="Group by"
        options=${groupings.map((name) => [name, GROUPINGS[name]])}
        value=${by}
        onPick=${(name) => change({ by: name, sort: null })}
      />
    </header>
    <${GroupTable} rows=${rows} by=${choices.by} filters=${choices.filters} sort=${params.sort} />
  </section>`;
}

function Waiting({ resource }) {
  if (!resource.error) {
    return html`<div class="panel waiting" aria-busy="true"><p class="note busy">The service follows the positions from tick to tick. A day takes a second or two.</p></div>`;
  }
  return html`<div class="panel" role="alert">
    <${Empty} title="No explanation">${resource.error.message} ${isUnanswerable(resource.error) ? "Choose another range above, or remove a filter." : ""}<//>
    <p class="again"><button class="button" type="button" onClick=${resource.reload}>Try again</button></p>
  </div>`;
}
