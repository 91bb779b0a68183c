// Fields that choose a part of the book: the filters of a view, by the names that are held.

import { html } from "../vendor/preact.js";
import { FILTERS } from "./filters.js";
import { Segments } from "./parts.js";
import { useResource } from "./resource.js";
import { change } from "./router.js";
import { useNarrow } from "./table.js";

const EVERY_MS = 60_000;
const NONE = "";
const NAMES = ["broker", "account_id", "underlying", "expiration", "strategy_tag"];

/** Money of several currencies does not add up: one block for each, or for one that is chosen. */
export function CurrencyPicker({ currencies, params }) {
  if (currencies.length < 2) return null;
  return html`<${Segments}
    label="Currency"
    options=${[["", "All currencies"], ...currencies.map((each) => [each, each])]}
    value=${params.currency ?? ""}
    onPick=${(currency) => change({ currency }, { replace: false })}
  />`;
}

/** Return the groupings that the filters leave: the groups of a filter would be one row. */
export function groupingsOf(names, filters) {
  const without = filters.without?.split(",") ?? [];
  return names.filter((name) => !(name in filters) && !without.includes(name));
}

/**
 * A select for each filter; its names are those of the open positions.
 * @param {{params: object}} props
 */
export function FilterPicker({ params }) {
  return NAMES.map((name) => html`<${Picker} key=${name} name=${name} params=${params} />`);
}

/** Fields that a phone folds up, because they are seldom needed there; `summary` says what they hold. */
export function Fold({ summary, children }) {
  const isNarrow = useNarrow();
  if (!isNarrow) return children;
  return html`<details class="fold">
    <summary>${summary}</summary>
    ${children}
  </details>`;
}

function Picker({ name, params }) {
  const { value: rows } = useResource("/v1/risk/totals", { group_by: name }, { everyMs: EVERY_MS, isList: true, keep: true });
  const current = params[name] ?? NONE;
  const choices = new Map();
  for (const row of rows ?? []) if (row[name] !== null) choices.set(valueOf(row, name), textOf(row, name));
  const chosen = name === "account_id" && current ? [params.broker, current].filter(Boolean).join(" ") : current;
  if (chosen && !choices.has(chosen)) choices.set(chosen, FILTERS[name].text(current));
  // While the names are read, the field keeps its place.  Few books have strategies.
  if (choices.size === 0 && (rows !== null || name === "strategy_tag")) return null;
  return html`<label class="label"
    >${FILTERS[name].label}
    <select class=${`field names ${name}`} value=${chosen} onChange=${(event) => pick(name, event.target.value, params)}>
      <option value=${NONE}>All</option>
      ${[...choices].map(([value, text]) => html`<option key=${value} value=${value}>${text}</option>`)}
    </select></label
  >`;
}

// Two brokers can have the same account.
function valueOf(row, name) {
  return name === "account_id" ? `${row.broker} ${row.account_id}` : row[name];
}

function textOf(row, name) {
  const text = FILTERS[name].text(row[name]);
  return name === "account_id" ? `${FILTERS.broker.text(row.broker)} ${text}` : text;
}

function pick(name, value, params) {
  if (name !== "account_id") return change({ [name]: value || null }, { replace: false });
  const at = value.indexOf(" ");
  const found = value ? { broker: value.slice(0, at), account_id: value.slice(at + 1) } : { account_id: null, broker: params.broker };
  return change(found, { replace: false });
}
