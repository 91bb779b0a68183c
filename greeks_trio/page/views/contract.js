// One contract: what it is, its figures now, and its history.

import { html } from "../vendor/preact.js";
import { nameOf } from "../lib/contract-list.js";
import { statesOf } from "../lib/contract-state.js";
import { now } from "../lib/clock.js";
import { contracts, contractsState, revision } from "../lib/contracts.js";
import { brokerName } from "../lib/format.js";
import { Badge, Empty } from "../lib/parts.js";
import { allRows, positionsRevision, usePositions } from "../lib/positions.js";
import { href } from "../lib/router.js";
import { contractsError, isDown } from "../lib/status.js";
import { Facts, Figures } from "./contract/facts.js";
import { History } from "./contract/history.js";

/** The view `contract`. */
export function Contract({ params }) {
  usePositions();
  revision.value;
  positionsRevision.value;
  const { contract_key: key } = params;
  if (!key) return html`<h1>Contract</h1><div class="panel"><${Empty} title="No contract chosen">Choose one in the <a href=${href("contracts")}>list of contracts</a>.<//></div>`;
  const all = allRows().filter((row) => row.contract_key === key);
  const ofBroker = all.filter((each) => each.broker === params.broker);
  const row = ofBroker.find((each) => each.account_id === params.account_id) ?? ofBroker[0] ?? all[0];
  return html`
    <${Head} ...${{ row, all, params }} />
    ${row ? html`<${Figures} row=${row} /><${Facts} row=${row} />` : html`<${NotHeld} contractKey=${key} />`}
    ${!row?.isOther && html`<${History} key=${`${key} ${params.broker}`} params=${params} about=${row ?? { contract_key: key }} />`}
    ${row?.isOther && html`<p class="note">The service stores the ticks of options. The price of a share or future comes with the ticks of the options on it; other positions have none.</p>`}
  `;
}

function Head({ row, all, params }) {
  const others = all.filter((each) => each !== row);
  return html`<div class=${`head ${row && isDown(row.broker) ? "unvouched" : ""}`}>
    <h1>${row ? nameOf(row) : params.contract_key}</h1>
    ${row && html`<span class="states">${statesOf(row, now.value).map(({ id, level, text, title }) => html`<${Badge} key=${id} state=${level} title=${title}>${text}<//> `)}</span>`}
    <span class="meta">
      ${others.length > 0 &&
      html`also in ${others.map((each) => html`<a key=${each.id} href=${href("contract", { ...params, broker: each.broker, account_id: each.account_id })}>${brokerName(each.broker)} ${each.account_id}</a> · `)}`}
      ${row?.underlying && html`<a href=${href("underlying", { underlying: row.underlying })}>${row.underlying}</a> · `}
      <a href=${href("contracts", { underlying: row?.underlying })}>Contracts</a>
    </span>
  </div>`;
}

function NotHeld({ contractKey }) {
  const error = contractsError.value;
  if (error && !contracts.size) return html`<p class="note tall-note">The contracts cannot be read. ${error.message}</p>`;
  if (contractsState.value === "loading" && !contracts.size) return html`<p class="note tall-note">Reading the contracts.</p>`;
  return html`<p class="note">No account holds <code>${contractKey}</code> now, and it is not on the watch-list. Its history is below, if there is any.</p>`;
}
