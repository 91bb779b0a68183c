// Small elements that several views use.

import { html, useEffect, useRef } from "../vendor/preact.js";
import { age, moment } from "./format.js";
import { now } from "./clock.js";

const SYMBOLS = { ok: "\u2713", warn: "\u25b2", critical: "\u2716", info: "\u2022" };

/** A short state with a symbol: `ok`, `warn`, `critical` or `info`. */
export function Badge({ state = "info", title, children }) {
  return html`<span class=${`badge ${state}`} title=${title}
    ><span aria-hidden="true">${SYMBOLS[state]}</span>${children}</span
  >`;
}

/** The same as a pill of the header. */
export function Pill({ state = "info", title, children }) {
  return html`<span class=${`pill ${state}`} title=${title}
    ><span aria-hidden="true">${SYMBOLS[state]}</span>${children}</span
  >`;
}

/** A view or panel without rows: says why, and what to do. */
export function Empty({ title, children }) {
  return html`<div class="empty">
    <h2>${title}</h2>
    <p>${children}</p>
  </div>`;
}

/** The place of figures that could not be read so far. */
export function Unread({ title, error }) {
  return html`<${Empty} title=${title}>${error.message} ${error.status === 401 ? "" : "The page tries again by itself."}<//>`;
}

/** A text of the service: what stands between backticks is code. */
export function Words({ text }) {
  return text.split("`").map((part, at) => (at % 2 ? html`<code key=${at}>${part}</code>` : part));
}

/**
 * The state of a `useResource` beside its heading: its moment, or its error.  With an error,
 * the figures of the panel or view are grey.
 */
export function Freshness({ resource }) {
  const { at, error, isLoading, everyMs = 0 } = resource;
  const host = useRef(null);
  const isOutdated = Boolean(error);
  useEffect(() => {
    const part = host.current.closest(".panel, .main");
    part?.toggleAttribute("data-outdated", isOutdated);
    return () => part?.removeAttribute("data-outdated");
  }, [isOutdated]);
  return html`<span class="meta" ref=${host}>${error ? html`<${Outdated} at=${at} error=${error} />` : atWords(at, isLoading, everyMs)}</span>`;
}

function Outdated({ at, error }) {
  const old = at === null ? "" : ` Shown: values of ${moment(at)}.`;
  return html`<${Badge} state="warn" title=${`${error.message}${old}`}>${error.message}${old}<//>`;
}

function atWords(at, isLoading, everyMs) {
  if (at === null) return isLoading ? "Loading" : "";
  const seconds = Math.max(0, (now.value - at) / 1000);
  // What is read every ten seconds is not late after eleven.
  const isLate = seconds >= Math.max(10, (2 * everyMs) / 1000);
  return `as of ${moment(at)}${isLate ? ` (${age(seconds)} ago)` : ""}`;
}

/** A row of alternatives; `options` are `[value, label, title]`. */
export function Segments({ label, options, value, onPick }) {
  return html`<div class="segments" role="group" aria-label=${label}>
    ${options.map(
      ([option, text, title]) => html`<button
        key=${option}
        type="button"
        aria-pressed=${String(option === value)}
        title=${title}
        onClick=${() => onPick(option)}
      >
        ${text}
      </button>`,
    )}
  </div>`;
}
