// The filters of a view: a part of the book.  They are in the address, and have the names of
// the HTTP interface.

import { html } from "../vendor/preact.js";
import { brokerName, day } from "./format.js";
import { change } from "./router.js";

/** The filters, with their label and the text of a value. */
export const FILTERS = {
  broker: { label: "Broker", text: brokerName },
  account_id: { label: "Account", text: String },
  strategy_tag: { label: "Strategy", text: String },
  underlying: { label: "Underlying", text: String },
  expiration: { label: "Expiration", text: day },
  currency: { label: "Currency", text: String },
  without: { label: "Without", text: (names) => names.split(",").map(labelOf).join(" and ") },
};

// An address may name a column that there is not.
function labelOf(name) {
  return Object.hasOwn(FILTERS, name) ? FILTERS[name].label.toLowerCase() : name;
}

/** Return the filters with one more: this value of a column, or none at all if it is null. */
export function narrowed(filters, name, value) {
  if (value !== null) return { ...filters, [name]: value };
  return { ...filters, without: [...(filters.without?.split(",") ?? []), name].join(",") };
}

/** Return those of the parameters that are filters. */
export function filtersOf(params) {
  return Object.fromEntries(Object.keys(FILTERS).filter((name) => params[name]).map((name) => [name, params[name]]));
}

/** The filters in force, each with a button that takes it away. */
export function FilterChips({ params }) {
  const given = Object.entries(filtersOf(params));
  if (!given.length) return null;
  return html`<div class="controls" role="group" aria-label="Filters">
    ${given.map(
      ([name, value]) => html`<span class="chip" key=${name}
        >${FILTERS[name].label}: ${FILTERS[name].text(value)}<button
          type="button"
          aria-label=${`Remove the filter ${FILTERS[name].label}`}
          onClick=${() => change({ [name]: null }, { replace: false })}
        >
          ✕
        </button></span
      >`,
    )}
    ${given.length > 1 &&
    html`<button class="button" type="button" onClick=${() => change(Object.fromEntries(given.map(([name]) => [name, null])), { replace: false })}>
      Whole book
    </button>`}
  </div>`;
}
