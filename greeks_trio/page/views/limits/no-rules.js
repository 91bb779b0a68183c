// What to do where there is no rule yet.

import { html } from "../../vendor/preact.js";

const EXAMPLE = `[[rule]]
name = "SPY delta"
figure = "delta"
underlying = "SPY"
abs_above = 500            # a breach beyond 500 of either sign ...
recovery = 450             # ... that ends at 450
hold_s = 30                # it has to last so many seconds
market_hours = "equity"    # only while this market is open
severity = "critical"
`;
const SETTINGS = `GREEKS_ALERTS_FILE=alerts.toml
GREEKS_ALERT_URLS=desk=mailtos://USER:PASSWORD@example.com?to=risk@example.com
`;

/** The empty state of the view. */
export function NoRules() {
  return html`<div class="empty norules">
    <h2>No limits yet</h2>
    <p>A limit compares a figure of your book with a threshold, and sends a message when the figure goes beyond it, and one when it returns.</p>
    <ol>
      <li>
        Write rules into a file <code>alerts.toml</code>. <code>alerts.example.toml</code> of the distribution has more than this one:
        <pre tabindex="0" aria-label="Example of a rule">${EXAMPLE}</pre>
      </li>
      <li>
        Name the file, and the channels for the messages, in <code>.env</code>:
        <pre tabindex="0" aria-label="Example of the settings">${SETTINGS}</pre>
      </li>
      <li>Test both: <code>bin/run-ingest check</code> names every problem, <code>bin/run-ingest alerts --test</code> sends a sample.</li>
      <li>Restart the service. After that, <code>kill -HUP</code> makes it read a changed file of rules.</li>
    </ol>
  </div>`;
}
