// The limits: the rules of alerts.toml with their states, and the messages about them.

import { html, useEffect } from "../../vendor/preact.js";
import { now } from "../../lib/clock.js";
import { age, moment } from "../../lib/format.js";
import { isUnwatched, limits, limitsRead, lookedAt, readLimits } from "../../lib/limits.js";
import { Badge, Freshness, Unread } from "../../lib/parts.js";
import { pageState, readError } from "../../lib/status.js";
import { History } from "./history.js";
import { NoRules } from "./no-rules.js";
import { Rules } from "./rules.js";

const EVERY_MS = 5000;

/** The view `limits`. */
export function Limits({ params }) {
  useEffect(() => {
    const timer = setInterval(() => document.hidden || pageState.peek() === "login" || readLimits(), EVERY_MS);
    readLimits();
    return () => clearInterval(timer);
  }, []);
  const rows = limits.value;
  const error = readError(limitsRead.value.error, rows === undefined);
  return html`
    <div class="head">
      <h1>Limits</h1>
      <${Looked} />
      <span class="meta"><${Freshness} resource=${{ ...limitsRead.value, error }} /></span>
    </div>
    ${rows === undefined && error && html`<div class="panel"><${Unread} title="The limits cannot be read" error=${error} /></div>`}
    ${rows?.length === 0 && html`<div class="panel"><${NoRules} /></div>`}
    ${(rows === undefined ? !error : rows.length > 0) && html`<${Rules} rows=${rows} params=${params} />`}
    <${History} params=${params} />
  `;
}

// When the service has last looked, and whether it still does.
function Looked() {
  const at = lookedAt.value;
  if (at === null) return null;
  const seconds = Math.max(0, (now.value - at) / 1000);
  if (!isUnwatched.value) {
    return html`<span class="note" data-field="evaluated_at" data-value=${at}>last look at ${moment(at)}, ${age(seconds)} ago</span>`;
  }
  return html`<${Badge} state="warn" title="No service with GREEKS_ALERTS_FILE watches them, or it cannot read the database. See Health."
    >not watched for ${age(seconds)}<//
  >`;
}
