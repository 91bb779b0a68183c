// The accounts behind the book: what they are worth, and how much of it the margin takes.

import { html } from "../../vendor/preact.js";
import { Figure } from "../../lib/figure.js";
import { age, brokerName } from "../../lib/format.js";
import { Badge, Freshness } from "../../lib/parts.js";
import { useResource } from "../../lib/resource.js";
import { go } from "../../lib/router.js";
import { isDown } from "../../lib/status.js";
import { Table } from "../../lib/table.js";

const EVERY_MS = 10_000;
const AMOUNTS = [
  ["net_liquidation", "Net liq.", "Net liquidation: what the account is worth if all is sold"],
  ["cash", "Cash", "Negative for a debt"],
  ["buying_power", "Buying power", "The value of the shares that it may buy"],
  ["initial_margin", "Initial margin", "Tastytrade sends none"],
  ["maintenance_margin", "Maint. margin", "Maintenance margin: what holding the positions needs"],
  ["excess_liquidity", "Excess liq.", "Excess liquidity: negative in a margin call"],
];
const MONEY = { large: true };
const SHARE = { percent: true, digits: 1 };

/** The table of the accounts, for the whole book, a broker or an account. */
export function Accounts({ filters }) {
  const { broker, account_id, ...others } = filters;
  const isPart = Object.keys(others).length > 0;
  const values = useResource(isPart ? null : "/v1/accounts/values", { broker, account_id }, { everyMs: EVERY_MS, isList: true, keep: true });
  if (isPart || !values.value?.length) return null;
  return html`<section class="panel" aria-label="Accounts">
    <header>
      <h2>Accounts</h2>
      <span class="meta"><${Freshness} resource=${values} /></span>
    </header>
    <${Table}
      caption="Values of the accounts"
      columns=${columns()}
      rows=${values.value}
      rowKey=${(row) => `${row.broker} ${row.account_id}`}
      rowClass=${(row) => (isDown(row.broker) ? "unvouched" : "")}
      onOpen=${(row) => go("book", { broker: row.broker, account_id: row.account_id, by: "underlying" })}
    />
  </section>`;
}

function columns() {
  return [
    { id: "account_id", label: "Account", left: true, width: 112, cell: (row) => row.account_id },
    { id: "broker", label: "Broker", left: true, width: 90, cell: (row) => brokerName(row.broker) },
    { id: "currency", label: "Currency", left: true, width: 76, narrow: false, cell: (row) => row.currency },
    ...AMOUNTS.map(([field, label, title]) => ({
      id: field,
      label,
      title,
      width: 98,
      cell: (row) => html`<${Figure} field=${field} value=${row[field]} measure=${MONEY} />`,
    })),
    {
      id: "margin_use",
      label: "Margin use",
      title: "Maintenance margin / net liquidation",
      width: 88,
      cell: (row) => html`<${Figure} field="margin_use" value=${row.margin_use} measure=${SHARE} title=${row.margin_use_missing ?? undefined} />`,
    },
    { id: "state", label: "State", left: true, width: 90, cell: (row) => html`<${State} row=${row} />` },
  ];
}

function State({ row }) {
  if (row.problem) return html`<${Badge} state="warn" title=${row.problem}>${row.problem}<//>`;
  if (row.is_stale) return html`<${Badge} state="warn" title="Older than the stale limit">${age(row.age_s)} old<//>`;
  return html`<span class="meta">${age(row.age_s)} old</span>`;
}
