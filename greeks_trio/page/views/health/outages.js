// The intervals without data: a time line, and the same as a table.

import { html, useMemo } from "../../vendor/preact.js";
import { now, serverNow } from "../../lib/clock.js";
import { age, brokerName, moment } from "../../lib/format.js";
import { Badge, Empty, Freshness, Segments } from "../../lib/parts.js";
import { useResource } from "../../lib/resource.js";
import { change } from "../../lib/router.js";
import { Table } from "../../lib/table.js";
import { feeds } from "../../lib/status.js";
import { GAP_REASONS } from "../../lib/words.js";
import { Timeline, isPlanned } from "./timeline.js";

const EVERY_MS = 10_000;
const RANGES = { "1h": ["1 h", 3600], "6h": ["6 h", 21_600], "1d": ["1 d", 86_400], "1w": ["1 w", 604_800], "1m": ["1 m", 2_592_000] };
const MINUTE_MS = 60_000;
// More of them scroll inside.
const MOST_SHORT = 10;

/** The panel of the outages; the range is in the address. */
export function Outages({ params }) {
  const range = Object.hasOwn(RANGES, params.range) ? params.range : "1d";
  // By whole minutes, because another start is another question.
  const end = Math.floor(now.value / MINUTE_MS) * MINUTE_MS + MINUTE_MS;
  const start = end - RANGES[range][1] * 1000;
  const answer = useResource("/v1/outages", { start: new Date(start).toISOString() }, { everyMs: EVERY_MS, isList: true, keep: true });
  const outages = useMemo(() => (answer.value ?? []).map(outageOf), [answer.value]);
  const brokers = feeds.value.map((feed) => feed.broker);
  return html`<section class="panel" aria-label="Outages">
    <header>
      <h2>Outages</h2>
      <${Segments}
        label="Time"
        options=${Object.entries(RANGES).map(([value, [text]]) => [value, text])}
        value=${range}
        onPick=${(value) => change({ range: value })}
      />
      <span class="meta"><${Freshness} resource=${answer} /></span>
    </header>
    <div class="body">
      <${Timeline} outages=${outages} brokers=${brokers} from=${start} until=${Math.max(now.value, start + 1)} />
    </div>
    ${answer.value?.length === 0
      ? html`<${Empty} title="No outage">No interval without data is known in this time.<//>`
      : html`<${List} outages=${outages} sort=${params.sort} />`}
  </section>`;
}

/** `scope`: `service`, `broker`, `account` or `contract`. */
function outageOf(row) {
  const scope = row.contract_key ? "contract" : row.account_id ? "account" : row.reasons.some(isOfService) ? "service" : "broker";
  const beganAt = row.started_at === null ? null : Date.parse(row.started_at);
  const endedAt = row.ended_at === null ? null : Date.parse(row.ended_at);
  return { ...row, scope, beganAt, endedAt, key: [row.broker, row.account_id, row.contract_key, row.started_at].join("|") };
}

function isOfService(reason) {
  return reason === "stopped" || reason === "killed";
}

function List({ outages, sort = "-started_at" }) {
  const columns = [
    { id: "started_at", label: "Began", left: true, width: 132, sort: (row) => row.beganAt, cell: (row) => moment(row.started_at) },
    { id: "broker", label: "Broker", left: true, width: 92, sort: (row) => row.broker, cell: (row) => brokerName(row.broker) },
    { id: "length", label: "Length", width: 80, sort: lengthOf, cell: (row) => age(lengthOf(row)) },
    {
      id: "ended_at",
      label: "Ended",
      left: true,
      width: 132,
      sort: (row) => row.endedAt ?? Infinity,
      cell: (row) => (row.endedAt === null ? html`<${Badge} state=${row.reasons.every(isPlanned) ? "info" : "critical"}>lasts<//>` : moment(row.ended_at)),
    },
    { id: "reasons", label: "Reason", left: true, width: 170, sort: (row) => row.reasons.join(), cell: (row) => html`<span title=${meaningOf(row)}>${row.reasons.join(", ")}</span>` },
    { id: "what", label: "What", left: true, width: 180, sort: whatOf, cell: whatOf },
    { id: "meaning", label: "Meaning", left: true, width: 264, narrow: false, cell: (row) => html`<span class="meta" title=${meaningOf(row)}>${meaningOf(row)}</span>` },
  ];
  return html`<${Table}
    caption="Outages"
    columns=${columns}
    rows=${outages}
    rowKey=${(row) => row.key}
    sort=${sort}
    onSort=${(next) => change({ sort: next })}
    tall=${outages.length > MOST_SHORT}
  />`;
}

function lengthOf({ beganAt, endedAt }) {
  return Math.max(0, ((endedAt ?? serverNow()) - beganAt) / 1000);
}

function meaningOf({ reasons }) {
  return reasons.map((reason) => GAP_REASONS[reason] ?? reason).join(" ");
}

function whatOf({ scope, account_id: account, contract_key: contract }) {
  if (contract) return `${contract}${account ? ` in ${account}` : ""}`;
  if (account) return `account ${account}`;
  return scope === "service" ? "the whole service" : "the whole feed";
}
