// The waterfall: from the value at the start to the value at the end, part by part.

import { html } from "../../vendor/preact.js";
import { number } from "../../lib/format.js";
import { domainOf, moneyMeasure, stepsOf } from "./parts.js";

const HEIGHT = 300;

/** @param {{row: object, isUpright: boolean}} props `isUpright`: bars stand; otherwise they lie, for narrow screens. */
export function Waterfall({ row, isUpright }) {
  const steps = stepsOf(row);
  const measure = moneyMeasure(row);
  const place = placer(domainOf(steps));
  const words = steps.map((step) => `${step.label} ${text(step, measure)}`).join(", ");
  const isCut = steps.some((step) => place(step).isCut);
  return html`<figure class=${`waterfall ${isUpright ? "upright" : ""}`} role="img" aria-label=${`Waterfall in ${row.currency}: ${words}`}>
    <div class="bars" aria-hidden="true" style=${isUpright ? { height: `${HEIGHT}px` } : {}}>
      ${steps.map((step, at) => html`<${Bar} key=${step.field} ...${{ step, place, measure, isLast: at === steps.length - 1, isUpright }} />`)}
    </div>
    ${isCut && html`<figcaption class="note">Bars that fade out begin outside of the picture, so that the parts can be seen.</figcaption>`}
  </figure>`;
}

function text(step, measure) {
  return number(step.value, { ...measure, signed: step.kind !== "total" });
}

// Returns the place of a step in per cent of the picture, from its lower edge.
function placer([low, high]) {
  const at = (value) => (100 * (value - low)) / (high - low);
  return ({ from, to }) => {
    const [one, other] = [at(Math.min(from, to)), at(Math.max(from, to))];
    const [start, end] = [Math.max(one, 0), Math.min(other, 100)];
    return { start: Math.min(start, 100), size: Math.max(end - start, 0), level: Math.min(Math.max(at(to), 0), 100), isCut: one < -0.01 || other > 100.01, isBelow: one < -0.01 };
  };
}

function Bar({ step, place, measure, isLast, isUpright }) {
  const { start, size, level, isCut, isBelow } = place(step);
  const shown = text(step, measure);
  const isGain = (step.kind === "part" || step.kind === "residual") && /[1-9]/.test(shown);
  const sign = isGain ? (step.value < 0 ? "loss" : "gain") : "";
  const [offset, length] = isUpright ? ["bottom", "height"] : ["left", "width"];
  return html`<div class="step">
    <span class="name" title=${step.title}>${step.label}</span>
    <span class="track"><span class="inner">
      <span class=${`fill ${step.kind} ${sign} ${isCut ? (isBelow ? "torn" : "torn far") : ""}`} style=${{ [offset]: `${start}%`, [length]: `${size}%` }} />
      ${!isLast && html`<span class="level" style=${{ [offset]: `${level}%` }} />`}
      <span class=${`value fig ${sign}`} style=${{ [offset]: `${start + size}%` }}>${shown}</span>
    </span></span>
  </div>`;
}
