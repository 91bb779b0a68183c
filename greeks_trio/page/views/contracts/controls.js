// What a person can choose in the list of contracts; every choice is in the address.

import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { FILTERS } from "../../lib/filters.js";
import { Segments } from "../../lib/parts.js";
import { change } from "../../lib/router.js";

const TYPES = [
  ["", "All"],
  ["call", "Calls"],
  ["put", "Puts"],
];
const GREEKS = [
  ["", "Per contract", "As the brokers send them"],
  ["position", "Position", "Times quantity and multiplier, and for money times the price factor"],
];
const TYPING_MS = 120;

/** The header of the list. */
export function Controls({ params, by, groupings, isPosition }) {
  return html`<header class="filters">
    <${TextFilter} q=${params.q ?? ""} />
    <${Segments} label="Right" options=${TYPES} value=${params.option_type ?? ""} onPick=${(type) => change({ option_type: type })} />
    <div class="segments">
      <button type="button" aria-pressed=${String(params.is_stale === "true")} onClick=${() => change({ is_stale: params.is_stale === "true" ? null : "true" })}>Only stale</button>
    </div>
    <${Segments} label="Greeks" options=${GREEKS} value=${isPosition ? "position" : ""} onPick=${(greeks) => change({ greeks })} />
    <label class="label"
      >Group by
      <select class="field" value=${by} onChange=${(event) => change({ by: event.target.value })}>
        <option value="">nothing</option>
        ${groupings.map((name) => html`<option key=${name} value=${name}>${FILTERS[name].label.toLowerCase()}</option>`)}
      </select>
    </label>
  </header>`;
}

function TextFilter({ q }) {
  const input = useRef(null);
  const timer = useRef(0);
  const [text, setText] = useState(q);
  const sent = useRef(q);
  useEffect(() => {
    // What the person types is newer than the address that came of it.
    if (q !== sent.current) setText(q);
    sent.current = q;
  }, [q]);
  useEffect(() => {
    const onKey = (event) => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
      event.preventDefault();
      input.current.focus();
      input.current.select();
    };
    addEventListener("keydown", onKey);
    return () => {
      removeEventListener("keydown", onKey);
      clearTimeout(timer.current);
    };
  }, []);
  const onInput = (event) => {
    const { value } = event.target;
    setText(value);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      sent.current = value.trim();
      change({ q: sent.current });
    }, TYPING_MS);
  };
  const onKeyDown = (event) => {
    if (event.key === "Escape" && text === "") input.current.blur();
    else if (event.key === "Escape") onInput({ target: { value: "" } });
    if (event.key !== "ArrowDown" && event.key !== "Enter") return;
    event.preventDefault();
    input.current.closest(".panel").querySelector("tbody tr[data-key]")?.focus();
  };
  return html`<input
    ref=${input}
    class="field search"
    type="search"
    placeholder="Filter ( / ): SPY 600 P, account, strategy"
    aria-label="Filter by words, such as a name, an account or a strategy"
    aria-keyshortcuts="/"
    value=${text}
    onInput=${onInput}
    onKeyDown=${onKeyDown}
  />`;
}
