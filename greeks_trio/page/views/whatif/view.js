// What if the market moves: the grid of the service as a heat map, the figures of one scenario,
// curves, and the parts of each group.

import { html } from "../../vendor/preact.js";
import { FILTERS, FilterChips } from "../../lib/filters.js";
import { useFollowed } from "../../lib/follow.js";
import { Badge, Empty, Freshness, Segments } from "../../lib/parts.js";
import { CurrencyPicker } from "../../lib/picker.js";
import { change, href } from "../../lib/router.js";
import { baseParams, choicesOf, laterText, list, scenarioText } from "./choices.js";
import { Controls } from "./controls.js";
import { Curves, LinePicker } from "./curves.js";
import { Extremes } from "./extremes.js";
import { Assumptions, LeftOut, Limits, WhatIsIn } from "./facts.js";
import { ScenarioFigures, cellOf } from "./figures.js";
import { GroupTable, groupRows, groupsByKey } from "./groups.js";
import { HeatMap, HeatScale } from "./heatmap.js";
import { Sliders, useScenario } from "./sliders.js";

const PATH = "/v1/risk/scenarios";
const EVERY_MS = 10_000;

/** The view `what-if`. */
export function WhatIf({ params }) {
  const choices = choicesOf(params);
  const [scenario, setScenario] = useScenario(choices);
  const cell = useFollowed(PATH, { ...choices, scenario, kind: "cell" }, { everyMs: EVERY_MS, paramsOf: cellParams });
  const grid = useFollowed(PATH, gridChoices(choices, scenario), { everyMs: EVERY_MS, paramsOf: gridParams });
  const curves = useFollowed(PATH, curveChoices(choices, scenario), { everyMs: EVERY_MS, paramsOf: curveParams });
  const all = currenciesOf(grid.value);
  const currencies = all.filter((group) => choices.currency === null || group.currency === choices.currency);
  return html`
    <div class="head">
      <h1>What if</h1>
      <${FilterChips} params=${params} />
      <${Badge} title="The service prices each position again by a model. No figure here is a price of the market.">values of a model<//>
      <span class="meta"><${Freshness} resource=${grid} /></span>
    </div>
    <section class="panel" aria-label="Scenario">
      <${Controls} params=${params} choices=${choices} />
      <${Sliders} ...${{ scenario, choices, onChange: setScenario }} />
    </section>
    <${CurrencyPicker} currencies=${all.map((group) => group.currency)} params=${params} />
    ${grid.value === null && html`<${Waiting} resource=${grid} />`}
    ${grid.value !== null && currencies.length === 0 && html`<div class="panel"><${NothingHeld} filters=${choices.filters} leftOut=${grid.value.left_out} /></div>`}
    ${currencies.map((group) => html`<${Currency} key=${group.currency} ...${{ group, grid, cell, curves, scenario, setScenario, choices }} />`)}
    ${grid.value !== null && currencies.length > 0 && html`<${Groups} ...${{ grid, cell, choices, scenario, sort: params.sort }} />`}
    ${grid.value !== null && html`<${LeftOut} leftOut=${grid.value.left_out} /><${Assumptions} answer=${grid.value} choices=${choices} />`}
  `;
}

function cellParams({ scenario: { move, vol, days }, ...choices }) {
  return { ...baseParams(choices), moves: list(0, move), vols: list(0, vol), days: list(0, days), group_by: choices.by };
}

// What the grid does not depend on is no choice of it: a change would read it again.
function gridChoices(choices, { days }) {
  const { move, vol, lines, lineVols, lineDays, curveMoves, ...own } = choices;
  return { ...own, days };
}

function gridParams({ days, moves, vols, by, ...choices }) {
  return { ...baseParams(choices), moves: list(...moves), vols: list(...vols), days, group_by: by };
}

function curveChoices({ move, by, ...choices }, { vol, days }) {
  return choices.lines === "days" ? { ...choices, vol, days: null } : { ...choices, vol: null, days };
}

function curveParams({ lines, lineVols, lineDays, vol, days, curveMoves, ...choices }) {
  const isDays = lines === "days";
  return { ...baseParams(choices), moves: list(...curveMoves), vols: isDays ? vol : list(...lineVols), days: isDays ? list(...lineDays) : days };
}

// The currency with the most positions comes first.
function currenciesOf(answer) {
  const size = (group) => group.contracts + group.shares_futures + group.left_out;
  return [...(answer?.totals ?? [])].filter((group) => size(group) > 0).sort((one, other) => size(other) - size(one));
}

/** One currency: the heat map with the figures beside it, and the curves. */
function Currency({ group, grid, cell, curves, scenario, setScenario, choices }) {
  const found = shown(group, (answer) => answer.totals.find((each) => each.currency === group.currency), { grid, cell, scenario });
  const curveGroup = curves.value?.totals.find((each) => each.currency === group.currency);
  const label = `What if, in ${group.currency}`;
  if (group.model_value === null) {
    return html`<section class="panel" aria-label=${label} data-currency=${group.currency}>
      <${Empty} title=${`No position in ${group.currency} can be priced`}>All ${group.left_out} are left out. The reasons are below.<//>
    </section>`;
  }
  return html`<section class="columns what-if" aria-label=${label} data-currency=${group.currency}>
    <div class=${`panel ${isDoubtful(grid) ? "unvouched" : ""}`} aria-busy=${String(grid.isBehind)}>
      <header>
        <h2>Profit or loss ${laterText(grid.choices.days)}, ${group.currency}</h2>
        <${Limits} group=${group} />
      </header>
      <${HeatMap} grid=${group.grids[0]} choices=${grid.choices} scenario=${scenario} currency=${group.currency} onPick=${setScenario} />
      <div class="body"><${HeatScale} grid=${group.grids[0]} currency=${group.currency} /><${WhatIsIn} group=${group} /></div>
    </div>
    <div class=${`panel body ${isDoubtful(cell) ? "unvouched" : ""}`}>
      <${ScenarioFigures} ...${{ group, ...found, choices: grid.choices }} />
      <${Extremes} grid=${group.grids[0]} choices=${grid.choices} onPick=${setScenario} />
    </div>
    <div class=${`panel wide ${isDoubtful(curves) ? "unvouched" : ""}`} aria-busy=${String(curves.isBehind)}>
      <header>
        <h2>Profit or loss by move, ${group.currency}</h2>
        <${LinePicker} choices=${choices} scenario=${scenario} />
      </header>
      <div class="body curves">${curveGroup?.model_value != null && html`<${Curves} group=${curveGroup} choices=${curves.choices} scenario=${scenario} />`}</div>
    </div>
  </section>`;
}

// The figures of the scenario: of the grid if that has its cell, so that both agree, else of the
// answer for the scenario alone.
function shown(group, groupOf, { grid, cell, scenario }) {
  const own = cell.value === null ? null : groupOf(cell.value);
  const before = { move: 0, vol: 0, days: 0 };
  const inGrid = grid.isBehind ? null : cellOf(group, grid.value, scenario);
  const now = (inGrid && cellOf(group, grid.value, before)) ?? (own && cellOf(own, cell.value, before));
  if (inGrid !== null) return { now: now && { ...now, value: group.model_value }, after: inGrid, scenario, isBehind: false };
  return { now, after: own && cellOf(own, cell.value, cell.choices.scenario), scenario: cell.choices?.scenario ?? scenario, isBehind: cell.isBehind };
}

function Groups({ grid, cell, choices, scenario, sort }) {
  const by = grid.choices.by;
  const own = groupsByKey(cell.value?.group_by === by ? cell.value.groups : [], by);
  const inGrid = groupsByKey(grid.value.groups, by);
  const hasCell = !grid.isBehind && grid.value.totals.some((group) => cellOf(group, grid.value, scenario) !== null);
  const at = hasCell || cell.value === null ? scenario : cell.choices.scenario;
  const afterOf = (key) => (hasCell ? cellOf(inGrid.get(key), grid.value, at) : own.has(key) ? cellOf(own.get(key), cell.value, at) : null);
  const groups = grid.value.groups.filter((group) => choices.currency === null || group.currency === choices.currency);
  return html`<section class=${`panel ${isDoubtful(grid) ? "unvouched" : ""}`} aria-label="Groups" aria-busy=${String(grid.isBehind)}>
    <header>
      <${Segments}
        label="Group by"
        options=${choices.groupings.map((name) => [name, FILTERS[name].label])}
        value=${choices.by}
        onPick=${(name) => change({ by: name, sort: null })}
      />
      <span class="meta">${scenarioText(at, grid.choices)}</span>
    </header>
    <${GroupTable}
      rows=${groupRows(groups, { ...grid.value, by }, grid.value.days[0], afterOf)}
      choices=${grid.choices}
      scenarioWords=${scenarioText(at, grid.choices)}
      sort=${sort}
    />
  </section>`;
}

function isDoubtful({ error, isOther }) {
  return Boolean(error) || isOther;
}

function Waiting({ resource }) {
  if (!resource.error) return html`<div class="panel waiting" aria-busy="true"><p class="note">The service prices the positions.</p></div>`;
  return html`<div class="panel" role="alert">
    <${Empty} title="No scenario yet">${resource.error.message}<//>
    <p class="again"><button class="button" type="button" onClick=${resource.reload}>Try again</button></p>
  </div>`;
}

function NothingHeld({ filters, leftOut }) {
  if (leftOut.count > 0) return html`<${Empty} title="No position can be priced">All ${leftOut.count} positions are left out. The reasons are below.<//>`;
  if (Object.keys(filters).length) return html`<${Empty} title="No positions here">No open position has these properties. Remove a filter.<//>`;
  return html`<${Empty} title="No positions yet"
    >The service has read no open position. Scenarios appear here as soon as a broker reports one. <a href=${href("health")}>Health</a> says whether the brokers are
    connected.<//
  >`;
}
