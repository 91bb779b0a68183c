// The scenario: a move, a shift of the volatility and days forward, each by a slider and a field.

import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { change } from "../../lib/router.js";
import { MOST_DAYS, MOVE_UNITS, VOL_UNITS } from "./choices.js";

// The address follows a slider that is being dragged, but a browser allows few changes of it.
const ADDRESS_EVERY_MS = 150;

/**
 * Return the scenario, and a function that changes it at once.  The address follows.
 * @param {{move: number, vol: number, days: number}} choices Those of the address.
 */
export function useScenario({ move, vol, days }) {
  const [scenario, setScenario] = useState({ move, vol, days });
  const timer = useRef(null);
  useEffect(() => {
    // Somebody else has changed the address: Back, or a link.
    if (timer.current === null) setScenario({ move, vol, days });
  }, [move, vol, days]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const latest = useRef(scenario);
  latest.current = scenario;
  const set = (changed) => {
    latest.current = { ...latest.current, ...changed };
    setScenario(latest.current);
    timer.current ??= setTimeout(() => {
      timer.current = null;
      const now = latest.current;
      change({ move: now.move || null, vol: now.vol || null, days: now.days || null });
    }, ADDRESS_EVERY_MS);
  };
  return [scenario, set];
}

/** The three sliders. */
export function Sliders({ scenario, choices, onChange }) {
  const { moveUnit, volUnit, range, volRange, benchmark } = choices;
  const isNow = scenario.move === 0 && scenario.vol === 0 && scenario.days === 0;
  return html`<div class="sliders">
    <${Slider}
      name="move"
      label=${benchmark ? `Move of ${benchmark.toUpperCase()}` : "Move of each underlying"}
      unit=${MOVE_UNITS[moveUnit].suffix}
      low=${-range}
      high=${range}
      step=${MOVE_UNITS[moveUnit].step(range)}
      value=${scenario.move}
      onChange=${(move) => onChange({ move })}
    />
    <${Slider}
      name="vol"
      label="Shift of the volatility"
      unit=${VOL_UNITS[volUnit].suffix}
      low=${-volRange}
      high=${volRange}
      step=${VOL_UNITS[volUnit].step(volRange)}
      value=${scenario.vol}
      onChange=${(vol) => onChange({ vol })}
    />
    <${Slider} name="days" label="Days forward" unit="\u202fd" low=${0} high=${MOST_DAYS} step=${1} value=${scenario.days} onChange=${(days) => onChange({ days })} />
    <button class="button" type="button" disabled=${isNow} onClick=${() => onChange({ move: 0, vol: 0, days: 0 })}>Reset</button>
  </div>`;
}

function Slider({ name, label, unit, low, high, step, value, onChange }) {
  // What is being typed may be no number yet, such as a minus sign; it stays as it is.
  const [draft, setDraft] = useState(null);
  const set = ({ target }) => {
    if (target.value !== "" && target.validity.valid) onChange(Number(target.value));
  };
  return html`<div class="slider" role="group" aria-label=${label}>
    <span class="label" aria-hidden="true">${label}</span>
    <input
      type="range"
      name=${name}
      min=${low}
      max=${high}
      step=${step}
      value=${value}
      aria-label=${label}
      aria-valuetext=${`${value}${unit}`}
      onInput=${set}
    />
    <span class="exact"
      ><input
        class="field"
        type="number"
        name=${`${name}-exact`}
        min=${name === "days" ? 0 : -100}
        max=${name === "days" ? 3650 : 1000}
        step="any"
        value=${draft ?? value}
        aria-label=${`${label}, exact`}
        onInput=${(event) => {
          setDraft(event.target.value);
          set(event);
        }}
        onBlur=${() => setDraft(null)}
      /><span aria-hidden="true">${unit}</span></span
    >
  </div>`;
}
