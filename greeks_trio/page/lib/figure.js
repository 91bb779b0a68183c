// Figures: a number with its sign, colour, and the marks of a sum.

import { html, useLayoutEffect, useRef } from "../vendor/preact.js";
import { MEASURES, NOTHING, count, number } from "./format.js";

const FLASH_STEPS = 2;
// Longer than from one event of the stream to the next.
const FLASH_STEP_MS = 400;
const isCalm = matchMedia("(prefers-reduced-motion: reduce)");

/**
 * A number on the page.
 *
 * field: the column of the HTTP interface.  measure: its entry in MEASURES, or one of its own.
 * coloured: gains blue, losses orange.  A change is shown by a ground that pales, unless
 * `isStill`: then it is another figure, not a new value.
 */
export function Figure({ field, value, measure = MEASURES[field] ?? {}, coloured = false, isStill = false, title }) {
  const element = useRef(null);
  const text = number(value, measure);
  useFlash(element, text, isStill);
  const isKnown = text !== NOTHING;
  const colour = coloured && isKnown && /[1-9]/.test(text) ? (value < 0 ? "loss" : "gain") : "";
  return html`<span
    ref=${element}
    class=${`fig ${isKnown ? colour : "none"}`}
    data-field=${field}
    data-value=${isKnown ? value : ""}
    title=${title}
    >${isKnown ? text : html`<span aria-hidden="true">${NOTHING}</span><span class="hidden">not known</span>`}</span
  >`;
}

/** A number or time of the service itself, with a text of its own and without a flash. */
export function Reading({ field, value, text, title }) {
  const isKnown = value !== null && value !== undefined;
  return html`<span class=${`fig ${isKnown ? "" : "none"}`} data-field=${field} data-value=${isKnown ? value : ""} title=${title}
    >${isKnown ? text : html`<span aria-hidden="true">${NOTHING}</span><span class="hidden">not known</span>`}</span
  >`;
}

function useFlash(element, text, isStill) {
  const before = useRef(text);
  useLayoutEffect(() => {
    if (before.current !== text && before.current !== NOTHING && !isStill && !isCalm.matches) flash(element.current);
    before.current = text;
  }, [text]);
}

// A ground that pales in steps, all figures together and when others change anyway: an animation
// would draw the page sixty times a second, because some figure changes always.
const flashing = new Map();
let isChanging = false;
let timer;

function flash(element) {
  if (!isChanging) {
    isChanging = true;
    pale();
    queueMicrotask(() => {
      isChanging = false;
      paleLater();
    });
  }
  element.dataset.flash = String(FLASH_STEPS);
  flashing.set(element, FLASH_STEPS);
}

function pale() {
  for (const [element, steps] of flashing) {
    if (steps > 1) {
      element.dataset.flash = String(steps - 1);
      flashing.set(element, steps - 1);
    } else {
      delete element.dataset.flash;
      flashing.delete(element);
    }
  }
  paleLater();
}

function paleLater() {
  clearTimeout(timer);
  if (flashing.size) timer = setTimeout(pale, FLASH_STEP_MS);
}

/**
 * Return the faults of a sum as sentences.
 *
 * missing: positions that the sum lacks; of: all positions; estimated: the estimated part as
 * text; stale, carried: counts.
 */
export function faultsOfSum({ missing = 0, of, estimated = "", stale = 0, carried = 0 }) {
  const all = of === undefined ? "" : ` of ${of}`;
  return [
    missing && `${missing}${all} missing`,
    estimated && `${estimated} of it is estimated`,
    stale && `${count(stale, "position")} stale`,
    carried && `${count(carried, "value")} from an older tick`,
  ].filter(Boolean);
}

/** A sum with its marks: `*` incomplete, `~` estimated, `!` stale.  The title has the whole
 * number, the words, and a remark. */
export function Sum({ field, value, measure = MEASURES[field] ?? {}, faults = {}, coloured = false, remark = "" }) {
  const marks = (faults.missing ? "*" : "") + (faults.estimated ? "~" : "") + (faults.stale ? "!" : "");
  const words = [...faultsOfSum(faults), remark].filter(Boolean).join("; ");
  const whole = number(value, { ...measure, large: false });
  const title = [whole !== number(value, measure) && whole, words].filter(Boolean).join("; ");
  return html`<span class="sum" title=${title || undefined}
    ><${Figure} field=${field} value=${value} measure=${measure} coloured=${coloured} /><span
      class="mark"
      aria-hidden="true"
      >${marks}</span
    >${words && html`<span class="hidden"> (${words})</span>`}</span
  >`;
}
