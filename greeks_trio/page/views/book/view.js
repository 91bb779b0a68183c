// The book: the sums of the whole, and of each account, broker, strategy, underlying or
// expiration.  A click on a row shows the parts of it.

import { html } from "../../vendor/preact.js";
import { FILTERS, FilterChips, filtersOf } from "../../lib/filters.js";
import { Empty, Freshness, Segments, Unread } from "../../lib/parts.js";
import { useProfit, withProfit } from "../../lib/profit.js";
import { useResource } from "../../lib/resource.js";
import { change, href } from "../../lib/router.js";
import { hasEstimates } from "../../lib/status.js";
import { Totals } from "../../lib/sums.js";
import { Accounts } from "./accounts.js";
import { Parts, groupingsOf } from "./parts.js";

const EVERY_MS = 2000;

/** The view `book`. */
export function Book({ params }) {
  const filters = filtersOf(params);
  const groupings = groupingsOf(filters);
  const by = groupings.includes(params.by) ? params.by : (groupings[0] ?? "underlying");
  const estimates = hasEstimates.value || params.with_estimates === "true" ? { with_estimates: params.with_estimates === "true" } : {};
  const whole = useResource("/v1/risk/totals", { group_by: "book", ...filters, ...estimates }, { everyMs: EVERY_MS, isList: true, keep: true });
  const parts = useResource("/v1/risk/totals", { group_by: by, ...filters, ...estimates }, { everyMs: EVERY_MS, isList: true, keep: true });
  // The old rows stay until the new ones are there.
  const shownBy = parts.params.group_by ?? by;
  const wholeProfit = useProfit("book", filters);
  const profits = useProfit(by, filters);
  return html`
    <div class="head">
      <h1>Book</h1>
      <${FilterChips} params=${params} />
      <span class="meta"><${Freshness} resource=${whole} /></span>
    </div>
    ${whole.value?.length === 0 ? html`<div class="panel"><${NoPositions} filters=${filters} /></div>` : html`<div class=${whole.isLoading ? "reading" : ""}><${Totals} rows=${withProfit(whole, wholeProfit)} error=${whole.error} /></div>`}
    ${whole.value?.length !== 0 &&
    html`<section class=${`panel ${parts.isLoading ? "reading" : ""}`}>
      <header>
        <${Segments}
          label="Group by"
          options=${groupings.map((name) => [name, FILTERS[name].label])}
          value=${by}
          onPick=${(name) => change({ by: name }, { replace: false })}
        />
        ${"with_estimates" in estimates && html`<${Estimates} isOn=${estimates.with_estimates} />`}
        <span class="ways"
          ><span class="meta">See also</span><a href=${href("contracts", filters)}>Contracts</a><a href=${href("what-if", filters)}>What if</a><a href=${href("why", filters)}>Why</a></span
        >
      </header>
      ${parts.value === null && parts.error
        ? html`<${Unread} title="The sums cannot be read" error=${parts.error} />`
        : html`<${Parts} rows=${withProfit(parts, profits) ?? []} by=${shownBy} filters=${filters} sort=${params.sort} />`}
    </section>`}
    ${parts.value !== null && html`<${Accounts} filters=${filters} />`}
  `;
}

// Estimates replace values that a broker does not send; they count only where a person asks.
function Estimates({ isOn }) {
  const title = "Use estimates where a value is missing or stale. Sums with estimates have a ~ and say how much of them is estimated.";
  return html`<label class="label" title=${title}>
    <input type="checkbox" checked=${isOn} onChange=${() => change({ with_estimates: isOn ? null : "true" })} />
    with estimates
  </label>`;
}

function NoPositions({ filters }) {
  if (Object.keys(filters).length) return html`<${Empty} title="No positions here">No open position has these properties. Remove a filter.<//>`;
  return html`<${Empty} title="No positions yet"
    >The service has read no open position. They appear here as soon as a broker reports one. <a href=${href("health")}>Health</a> says whether the
    brokers are connected. A watch-list (<code>GREEKS_WATCHLIST</code>) streams contracts without a position.<//
  >`;
}

