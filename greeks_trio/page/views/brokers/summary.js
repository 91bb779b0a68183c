// The summary: how far the brokers differ in each measure.

import { html } from "../../vendor/preact.js";
import { now } from "../../lib/clock.js";
import { Figure } from "../../lib/figure.js";
import { count } from "../../lib/format.js";
import { Segments } from "../../lib/parts.js";
import { change } from "../../lib/router.js";
import { Table } from "../../lib/table.js";
import { COMPARED, RULE, THETA, THRESHOLDS, isNearExpiration, summarise } from "./compare.js";

const SHARE = { digits: 2, percent: true };

/**
 * @param {{rows: Array<object> | null, threshold: number}} props `rows`: compared rows, `null`
 *   while they are read; `threshold` in per cent.
 */
export function Summary({ rows, threshold }) {
  const fresh = (rows ?? []).filter((row) => !row.isStale);
  const near = fresh.filter((row) => isNearExpiration(row, now.value)).length;
  const summaries = COMPARED.map((each) => (rows === null ? unknown(each) : summarise(each, fresh, threshold / 100)));
  return html`<section class="panel">
    <header>
      <h2>How far they differ</h2>
      <span class="meta label"
        >Threshold
        <${Segments}
          label="Threshold"
          options=${choices(threshold).map((each) => [each, `${each}%`])}
          value=${threshold}
          onPick=${(next) => change({ threshold: next })}
        />
      </span>
    </header>
    <div class="beside">
      <${Table}
        caption="Relative differences by measure"
        columns=${columns(threshold)}
        rows=${summaries}
        rowKey=${(row) => row.id}
        onOpen=${(row) => change({ measure: row.id, sort: null })}
      />
      <ul class="notes">
        <li data-note="left-out">${rows === null ? "\u00a0" : leftOut(rows)}</li>
        <li>${RULE}</li>
        ${near > 0 && html`<li data-note="near">${count(near, "contract")} ${near === 1 ? "expires" : "expire"} within 7 days (†). ${THETA}</li>`}
      </ul>
    </div>
  </section>`;
}

// Before an answer, not even the number of contracts is known.
function unknown({ id, measure }) {
  return { id, measure, compared: null, median: null, p95: null, beyond: null };
}

function choices(threshold) {
  return THRESHOLDS.includes(threshold) ? THRESHOLDS : [...THRESHOLDS, threshold].sort((one, other) => one - other);
}

function columns(threshold) {
  return [
    { id: "measure", label: "Measure", left: true, width: 90, cell: (row) => html`<span title=${row.measure.title}>${row.measure.label}</span>` },
    { id: "compared", label: "Contracts", title: "Contracts for which both brokers have a value, without stale ones", width: 78, cell: (row) => html`<${Figure} field="compared" value=${row.compared} />` },
    { id: "median", label: "Median", title: "Half of the contracts differ by less", width: 72, cell: (row) => html`<${Figure} field="median" value=${row.median} measure=${SHARE} />` },
    { id: "p95", label: "95th pct.", title: "95th percentile: 19 of 20 contracts differ by less", width: 80, cell: (row) => html`<${Figure} field="p95" value=${row.p95} measure=${SHARE} />` },
    { id: "beyond", label: `Beyond ${threshold}%`, title: `Contracts that differ by more than ${threshold} %`, width: 88, cell: (row) => html`<${Beyond} row=${row} />` },
    { id: "remarks", label: "Remarks", left: true, width: 230, cell: remarks },
  ];
}

function Beyond({ row }) {
  return html`<span class="relative"><${Figure} field="beyond" value=${row.beyond} /><span class="mark" aria-hidden="true">${row.beyond > 0 ? "\u25b2" : ""}</span></span>`;
}

function remarks(row) {
  const words = [
    row.id === "rho" && row.onlyTastytrade > 0 && row.compared === 0 ? "IBKR sends none" : row.onlyTastytrade && `${row.onlyTastytrade} without a value of IBKR`,
    row.onlyIbkr && `${row.onlyIbkr} without a value of Tastytrade`,
    row.neither && `${row.neither} without any`,
  ].filter(Boolean);
  const text = words.join("; ");
  return html`<span class="note" title=${text}>${text}</span>`;
}

function leftOut(rows) {
  const stale = rows.filter((row) => row.isStale);
  if (!stale.length) return `${count(rows.length, "contract")} at both brokers; none has a stale side.`;
  const ibkr = stale.filter((row) => row.ibkr_is_stale).length;
  const tastytrade = stale.filter((row) => row.tastytrade_is_stale).length;
  return `${count(rows.length, "contract")} at both brokers. ${stale.length} with a stale side ${stale.length === 1 ? "is" : "are"} left out of this summary: ${ibkr} stale at IBKR, ${tastytrade} at Tastytrade.`;
}
