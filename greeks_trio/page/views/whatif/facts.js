// What limits the answer: positions that are left out, estimated and stale values, assumptions.

import { html } from "../../vendor/preact.js";
import { FILTERS } from "../../lib/filters.js";
import { count, number } from "../../lib/format.js";
import { Badge } from "../../lib/parts.js";
import { change } from "../../lib/router.js";
import { oldBrokers } from "../../lib/status.js";
import { OldParts } from "../../lib/sums.js";

/** Badges beside the heat map: what its sums lack, estimate, or hold in spite of its age. */
export function Limits({ group }) {
  const marks = [
    ["left_out", "left out", "Positions that are in no sum; see below"],
    ["stale", "stale", "Positions with a stale tick or a stale price of the underlying; they are in the sums"],
    ["estimated", "estimated", "Options whose volatility is implied from the price, because the broker sends none"],
    ["far_from_mark", "far from the market", "Options whose model price differs from the broker's by more than 10 % and 0.05"],
    ["without_mark", "without a price", "Options without a price from the broker"],
    ["unnamed_currency", "without a currency", "Positions whose currency the broker does not name; they count as USD"],
  ].filter(([name]) => group[name] > 0);
  return html`<span class="controls limits">
    ${marks.map(([name, label, title]) => html`<${Badge} key=${name} state=${name === "unnamed_currency" ? "info" : "warn"} title=${title}>${group[name]} ${label}<//>`)}
    <${OldParts} />
    ${marks.length + oldBrokers.value.length === 0 && html`<${Badge} state="ok">complete<//>`}
  </span>`;
}

/** How many positions the sums have, and how far the model is from the broker's prices. */
export function WhatIsIn({ group }) {
  const kinds = [count(group.contracts, "option"), group.shares_futures ? count(group.shares_futures, "share or future", "shares and futures") : ""];
  const market = group.market_value === null ? "" : ` Value now: ${number(group.model_value, { large: true })} by the model, ${number(group.market_value, { large: true })} by the broker's prices.`;
  return html`<p class="note">${kinds.filter(Boolean).join(", ")}.${market}</p>`;
}

/** The positions that no sum has, with the reasons. */
export function LeftOut({ leftOut }) {
  if (leftOut.count === 0) return null;
  const more = leftOut.count - leftOut.positions.length;
  return html`<section class="panel" data-part="left-out">
    <header>
      <h2>Left out: ${count(leftOut.count, "position")}</h2>
      <span class="meta">They are in no sum of this view.</span>
    </header>
    <div class="body">
      <ul class="reasons">
        ${Object.entries(leftOut.reasons).map(([reason, number_]) => html`<li key=${reason}><b>${number_}</b> ${reason}</li>`)}
      </ul>
      <details>
        <summary>Each position</summary>
        <ul class="reasons">
          ${leftOut.positions.map(
            (each) => html`<li key=${[each.broker, each.account_id, each.contract_key].join()}>
              ${FILTERS.broker.text(each.broker)} ${each.account_id}, ${each.contract_key} (${number(each.quantity, { most: 4 })}): ${each.reason}
            </li>`,
          )}
        </ul>
        ${more > 0 && html`<p class="note">${count(more, "more position")} not named.</p>`}
      </details>
    </div>
  </section>`;
}

/** The assumptions of the model, with fields for those that a person can choose. */
export function Assumptions({ answer, choices }) {
  const yields = Object.entries(answer.dividend_yields).filter(([, part]) => part !== 0);
  const betas = Object.entries(answer.betas).filter(([, beta]) => beta);
  return html`<details class="panel assumptions">
    <summary><h2>Assumptions</h2></summary>
    <div class="body">
      <ul class="reasons">
        <li>Every figure here is a value of a model, not a price of the market: ${answer.models.join("; ") || "no option is priced"}.</li>
        <li>Volatility: the implied volatility that the broker sends. Where it sends none, the one that its price implies.</li>
        <li>Rate of interest: ${number(answer.rate, { digits: 2, percent: true })} per year.</li>
        <li>
          Dividends: ${yields.length ? yields.map(([name, part]) => `${name} ${number(part, { digits: 2, percent: true })}`).join(", ") : "none; the brokers send no dividends"}.
        </li>
        ${answer.benchmark && html`<li>Betas to ${answer.benchmark}: ${betas.map(([name, beta]) => betaText(name, beta)).join(", ") || "none"}.</li>`}
        ${answer.unused.length > 0 && html`<li>No position has these names: ${answer.unused.join(", ")}.</li>`}
      </ul>
      <div class="controls">
        <${TextField} label="Rate per year, %" value=${choices.rate === null ? "" : choices.rate * 100} placeholder=${number(answer.rate, { digits: 2, percent: true })} onPick=${(text) => change({ rate: rateOf(text) })} />
        <${TextField} label="Dividend yields" value=${choices.yields ?? ""} placeholder="SPY:0.012,QQQ:0.006" onPick=${(text) => change({ dividend_yields: text || null })} />
      </div>
    </div>
  </details>`;
}

function betaText(name, { beta, day }) {
  return `${name} ${number(beta, { digits: 2 })}${day ? ` (${day})` : ""}`;
}

function rateOf(text) {
  const rate = Number(text.replace(",", "."));
  return text === "" || !Number.isFinite(rate) ? null : Math.round(rate * 1e6) / 1e8;
}

/** A field whose text counts when it is left or Enter is pressed. */
export function TextField({ label, value, placeholder, list, onPick }) {
  return html`<label class="label"
    >${label}
    <input
      class="field"
      type="text"
      value=${value}
      placeholder=${placeholder}
      list=${list}
      autocomplete="off"
      spellcheck=${false}
      onChange=${(event) => onPick(event.target.value.trim())}
  /></label>`;
}
