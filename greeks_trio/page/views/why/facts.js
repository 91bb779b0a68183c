// What limits the explanation: positions that are left out, outages, and the notes of the service.

import { html } from "../../vendor/preact.js";
import { FILTERS } from "../../lib/filters.js";
import { age, count, moment, number } from "../../lib/format.js";
import { Badge } from "../../lib/parts.js";
import { useResource } from "../../lib/resource.js";
import { change } from "../../lib/router.js";
import { moneyMeasure, residualParts } from "./parts.js";

// A residual above this part of the sizes of all parts explains little.
const LARGE_RESIDUAL = 0.05;
// A smaller one is no reason to look, whatever part it is.
const SMALL_AMOUNT = 1;

/** The headline of one currency: profit or loss, and how well it is explained. */
export function Headline({ row }) {
  const { ofProfit, ofSizes } = residualParts(row);
  const isLarge = Math.abs(row.residual) >= SMALL_AMOUNT && (ofSizes === null || ofSizes > LARGE_RESIDUAL);
  const percent = (part) => number(part, { digits: part < 0.1 ? 1 : 0, percent: true });
  return html`<${Badge} state=${isLarge ? "warn" : "ok"} title="The residual is what no part explains. Its size is the quality of the explanation."
      >residual ${number(row.residual, moneyMeasure(row))}${ofProfit === null ? "" : `: ${percent(ofProfit)} of the P/L`}${ofSizes === null ? "" : `, ${percent(ofSizes)} of all parts`}<//
    >
    ${row.without_tick > 0 && html`<${Badge} state="warn" title="Positions without a tick with a price after the start; their price did not change">${row.without_tick} without a tick<//>`}
    ${row.gap_steps > 0 &&
    html`<${Badge} state="warn" title="Steps over an outage; their profit or loss is in the parts too">${count(row.gap_steps, "step")} over outages: ${number(row.gap_change, moneyMeasure(row))}<//>`}
    ${row.unnamed_currency > 0 && html`<${Badge} title="Positions whose currency the broker does not name; they count as USD">${row.unnamed_currency} without a currency<//>`}
    ${row.unused_trades > 0 && html`<${Badge} state="warn" title="Recorded trades that fit no change of quantity">${count(row.unused_trades, "recorded trade")} unused<//>`}`;
}

/** A range that begins before the first positions or prices: what the figures mean, and what to do. */
export function LateStart({ rows, answer, filters }) {
  const sum = (name) => rows.reduce((total, row) => total + row[name], 0);
  const [seen, priced] = [sum("first_seen"), sum("from_first_price")];
  const isLate = seen + priced > 0;
  const { value: profits } = useResource(isLate ? "/v1/risk/profit" : null, { group_by: "book", start: answer.start, end: answer.end, ...filters }, { isList: true, keep: true });
  if (!isLate) return null;
  const firstPriceAt = (profits ?? []).reduce((latest, row) => (row.first_price_at > latest ? row.first_price_at : latest), "");
  return html`<p class="notice" data-part="late-start">
    <b>The range begins before the data.</b>
    <span>
      ${seen > 0 && `${count(seen, "position")} ${seen === 1 ? "is" : "are"} known only from a later moment and ${seen === 1 ? "counts" : "count"} as opened then, at the mark: the value is under Trades. `}
      ${priced > 0 && `${count(priced, "position")} ${priced === 1 ? "counts" : "count"} from the first price after the start. `}
      The gain before is not known.
    </span>
    ${!profits && html`<button class="button later" type="button" disabled>Begin at 00:00:00</button>`}
    ${firstPriceAt && firstPriceAt < answer.end && html`<button class="button" type="button" onClick=${() => change({ range: null, start: firstPriceAt }, { replace: false })}>Begin at ${moment(firstPriceAt)}</button>`}
  </p>`;
}

/** The positions that are in no sum. */
export function LeftOut({ answer }) {
  if (!answer.left_out_count) return null;
  const reasons = new Map();
  for (const each of answer.left_out) reasons.set(each.reason, [...(reasons.get(each.reason) ?? []), each]);
  const more = answer.left_out_count - answer.left_out.length;
  return html`<section class="panel" data-part="left-out">
    <header>
      <h2>Left out: ${count(answer.left_out_count, "position")}</h2>
      <span class="meta">They are in no sum of this view.</span>
    </header>
    <div class="body">
      ${[...reasons].map(
        ([reason, positions]) => html`<details key=${reason}>
          <summary><b>${positions.length}</b> ${reason}</summary>
          <ul class="reasons">
            ${positions.map((each) => html`<li key=${[each.broker, each.account_id, each.contract_key].join()}>${FILTERS.broker.text(each.broker)} ${each.account_id}, ${each.contract_key}</li>`)}
          </ul>
        </details>`,
      )}
      ${more > 0 && html`<p class="note">${count(more, "more position")} not named.</p>`}
    </div>
  </section>`;
}

/** The outages between the two moments. */
export function Outages({ answer }) {
  if (!answer.outages.length) return null;
  return html`<section class="panel">
    <header>
      <h2>Outages: ${number(answer.outages.length)}</h2>
      <span class="meta">Without data, a change is known only after the outage.</span>
    </header>
    <div class="body">
      <ul class="reasons">
        ${answer.outages.map(
          (each, at) => html`<li key=${at}>
            ${FILTERS.broker.text(each.broker)}${each.account_id ? ` ${each.account_id}` : ""}${each.contract_key ? ` ${each.contract_key}` : ""}: ${moment(each.started_at)} to
            ${each.ended_at ? ` ${moment(each.ended_at)}` : " now"} (${each.reasons.join(", ")})
          </li>`,
        )}
      </ul>
    </div>
  </section>`;
}

/** The notes of the service and the length of the steps. */
export function Notes({ answer }) {
  return html`<section class="panel">
    <header><h2>Notes</h2></header>
    <div class="body">
      <ul class="reasons">
        <li>Each position is followed from stored tick to stored tick, in steps of ${age(answer.step_s)}. Delta, gamma, theta and vega are the broker's.</li>
        ${answer.notes.map((note) => html`<li key=${note}>${note}</li>`)}
      </ul>
    </div>
  </section>`;
}
