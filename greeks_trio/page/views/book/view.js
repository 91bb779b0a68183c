// The book: the sums of the whole, and of each account, broker, strategy, underlying or
// expiration.  A click on a row shows the parts of it.

import { html } from "../../vendor/preact.js";
import { FILTERS, FilterChips, filtersOf } from "../../lib/filters.js";
import { Empty, Freshness, Segments } from "../../lib/parts.js";
import { useResource } from "../../lib/resource.js";
import { change, href } from "../../lib/router.js";
import { Totals } from "../../lib/sums.js";
import { Accounts } from "./accounts.js";
import { GROUPINGS, Parts } from "./parts.js";

const EVERY_MS = 2000;

/** The view `book`. */
export function Book({ params }) {
  const filters = filtersOf(params);
  const by = GROUPINGS.includes(params.by) ? params.by : "underlying";
  const whole = useResource("/v1/risk/totals", { group_by: "book", ...filters }, { everyMs: EVERY_MS, isList: true, keep: true });
  const parts = useResource("/v1/risk/totals", { group_by: by, ...filters }, { everyMs: EVERY_MS, isList: true, keep: true });
  return html`
    <div class="head">
      <h1>Book</h1>
      <${FilterChips} params=${params} />
      <span class="meta"><${Freshness} resource=${whole} /></span>
    </div>
    ${whole.value?.length === 0 ? html`<div class="panel"><${NoPositions} filters=${filters} /></div>` : html`<${Totals} rows=${whole.value} />`}
    ${whole.value?.length !== 0 &&
    html`<section class="panel">
      <header>
        <${Segments}
          label="Group by"
          options=${GROUPINGS.filter((name) => !(name in filters)).map((name) => [name, FILTERS[name].label])}
          value=${by}
          onPick=${(name) => change({ by: name })}
        />
        <span class="meta"><a href=${href("contracts", filters)}>All contracts of this part</a></span>
      </header>
      <${Parts} rows=${parts.value ?? []} by=${by} filters=${filters} sort=${params.sort} />
    </section>`}
    <${Accounts} filters=${filters} />
  `;
}

function NoPositions({ filters }) {
  if (Object.keys(filters).length) return html`<${Empty} title="No positions here">No open position has these properties. Remove a filter.<//>`;
  return html`<${Empty} title="No positions yet"
    >The service has read no open position. They appear here as soon as a broker reports one. <a href=${href("health")}>Health</a> says whether the
    brokers are connected. A watch-list (<code>GREEKS_WATCHLIST</code>) streams contracts without a position.<//
  >`;
}

