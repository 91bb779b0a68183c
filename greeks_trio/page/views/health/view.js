// The health of the service: its faults, its brokers, its latency, its store and its outages.

import { html } from "../../vendor/preact.js";
import { Freshness } from "../../lib/parts.js";
import { statusRead } from "../../lib/status.js";
import { Feeds } from "./feeds.js";
import { Latency } from "./latency.js";
import { Outages } from "./outages.js";
import { Store } from "./store.js";
import { Verdict } from "./verdict.js";

/** The view `health`. */
export function Health({ params }) {
  return html`
    <div class="head">
      <h1>Health</h1>
      <span class="meta"><${Freshness} resource=${statusRead.value} /></span>
    </div>
    <${Verdict} />
    <div class=${`health ${statusRead.value.error ? "unvouched" : ""}`}>
      <${Feeds} />
      <${Latency} />
      <${Store} />
    </div>
    <${Outages} params=${params} />
  `;
}
