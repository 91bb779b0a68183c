// The chart of the smile, with its expirations to choose and the values under the pointer.

import { html, useMemo, useState } from "../../vendor/preact.js";
import { Chart } from "../../lib/chart.js";
import { now } from "../../lib/clock.js";
import { contracts } from "../../lib/contracts.js";
import { Figure } from "../../lib/figure.js";
import { brokerName, count, day, number } from "../../lib/format.js";
import { Empty } from "../../lib/parts.js";
import { change } from "../../lib/router.js";
import { IV, chosenExpirations, colourOf, ivText, nearestStrike, seriesOf, shortDay, smileOf, strikesOf } from "./smile.js";

const HEIGHT = 300;
const ROOM = 0.04;

/**
 * @param {{underlying: string, currency: string, price: object | undefined, wanted: string}} props
 *   `wanted`: the expirations of the address, with commas between them.
 */
export function SmilePanel({ underlying, currency, price, wanted }) {
  // Once a second is often enough to draw all points again.
  const second = Math.floor(now.value / 1000);
  const smiles = useMemo(() => smileOf(contracts.values(), { underlying, currency }, second * 1000), [underlying, currency, second]);
  const chosen = chosenExpirations(smiles, wanted);
  return html`<section class="panel" aria-label="Smile">
    <header>
      <h2>Smile</h2>
      <${Expirations} smiles=${smiles} chosen=${chosen} />
    </header>
    ${chosen.some((each) => each.points.length)
      ? html`<${SmileChart} ...${{ smiles, chosen, price, second, underlying }} />`
      : html`<${Empty} title="No implied volatilities"
          >${smiles.length ? lacking(smiles) : "No option on it is held or watched."} <code>GREEKS_WATCHLIST</code> names options to stream besides those
          that are held.<//
        >`}
  </section>`;
}

function Expirations({ smiles, chosen }) {
  const year = String(new Date(now.value).getUTCFullYear());
  const names = chosen.map((each) => each.expiration);
  const toggle = (expiration) => {
    const next = names.includes(expiration) ? names.filter((each) => each !== expiration) : [...names, expiration].sort();
    change({ expirations: next.join(",") });
  };
  return html`<div class="controls picks" role="group" aria-label="Expirations">
    ${smiles.map(
      ({ expiration, points }) => html`<button
        key=${expiration}
        type="button"
        class="pick"
        aria-pressed=${String(names.includes(expiration))}
        title=${`${day(expiration)}: ${count(points.length, "point")}`}
        onClick=${() => toggle(expiration)}
      >
        <span class="swatch" style=${{ background: `var(${colourOf(smiles, expiration)})` }} aria-hidden="true" />${shortDay(expiration, year)}
      </button>`,
    )}
  </div>`;
}

function SmileChart({ smiles, chosen, price, second, underlying }) {
  const [cursor, setCursor] = useState(null);
  const strikes = useMemo(() => strikesOf(chosen), [second, chosen.map((each) => each.expiration).join()]);
  const known = price?.price ?? null;
  const near = nearestStrike(strikes, known);
  const year = String(new Date(second * 1000).getUTCFullYear());
  const series = useMemo(() => seriesOf(chosen, { smiles, strikes, price: known, year }), [strikes]);
  const marks = useMemo(() => (near === null ? [] : [{ x: near, label: `${strikeText(near)} near the money` }]), [near]);
  const at = cursor ?? strikes.indexOf(near);
  return html`<div class="body">
    <${Chart}
      label=${`Implied volatility by strike, ${underlying}`}
      summary=${chosen.map((each) => summaryOf(each, near)).join(" ")}
      x=${strikes}
      series=${series}
      marks=${marks}
      range=${widen(strikes)}
      height=${HEIGHT}
      isTime=${false}
      hasLegend=${false}
      formatX=${strikeText}
      onCursor=${setCursor}
    />
    <${Key} />
    <${AtStrike} strike=${strikes[at]} isNear=${cursor === null} smiles=${smiles} chosen=${chosen} />
    <p class="note">${notes(chosen, known)}</p>
  </div>`;
}

function strikeText(strike) {
  return number(strike, { most: 4 });
}

function widen(strikes) {
  const [low, high] = [strikes[0], strikes[strikes.length - 1]];
  const room = (high - low) * ROOM || Math.abs(low) * ROOM || 1;
  return [low - room, high + room];
}

function summaryOf({ expiration, points }, near) {
  const there = points.filter((point) => point.strike === near).map((point) => ivText(point.iv));
  return `${day(expiration)}: ${count(points.length, "point")}${there.length ? `, near the money ${there.join(" and ")}` : ""}.`;
}

function Key() {
  return html`<p class="key note" aria-hidden="true">
    <span>● ■ calls</span><span>○ □ puts</span><span>● ○ and line: IBKR</span><span>■ □ and dashes: Tastytrade</span><span>✕ stale, or of a broker that is down</span>
  </p>`;
}

// The values of all chosen expirations at one strike.
function AtStrike({ strike, isNear, smiles, chosen }) {
  if (strike === undefined) return null;
  return html`<dl class="readout">
    <dt>Strike ${strikeText(strike)}${isNear ? ", near the money" : ""}</dt>
    ${chosen.map(({ expiration, points }) => {
      const there = points.filter((point) => point.strike === strike);
      return html`<dd key=${expiration} data-key=${expiration}>
        <span class="swatch" style=${{ background: `var(${colourOf(smiles, expiration)})` }} aria-hidden="true" />${day(expiration)}:${" "}
        ${there.length ? there.map((point) => html`<${Point} key=${`${point.right} ${point.broker}`} point=${point} />`) : "none"}
      </dd>`;
    })}
  </dl>`;
}

function Point({ point: { right, broker, iv, isStale } }) {
  return html`<span class="point"
    >${right} <${Figure} field=${`${broker}_${right}`} value=${iv} measure=${IV} isStill /> ${brokerName(broker)}${isStale ? " (stale)" : ""}</span
  >`;
}

function notes(chosen, price) {
  const sentences = [
    price === null ? "The price of the underlying is not known: the lines join all options." : "The lines join the options out of the money.",
    lacking(chosen),
  ];
  return sentences.filter(Boolean).join(" ");
}

function lacking(smiles) {
  const sum = (name) => smiles.reduce((total, each) => total + each[name], 0);
  const withoutIv = sum("withoutIv");
  const stale = sum("stale");
  return [withoutIv && `${count(withoutIv, "option")} without implied volatility ${withoutIv === 1 ? "is" : "are"} not shown.`, stale && `${count(stale, "point")} stale.`]
    .filter(Boolean)
    .join(" ");
}
