// What the charts show, and what they lack, in words.

import { html } from "../../vendor/preact.js";
import { staleAfterS } from "../../lib/contracts.js";
import { age, brokerName, count, moment } from "../../lib/format.js";
import { href, route } from "../../lib/router.js";
import { GAP_REASONS } from "../../lib/words.js";

const MOST_LISTED = 8;

/** Return the gaps of all series: `[from, to, reasons, broker, isOpen]`; one that lasts ends now. */
export function shownGaps(series, nowS) {
  return series.flatMap(({ gaps, broker }) => gaps.map(([from, to, reasons]) => [from, to ?? nowS, reasons, broker, to === null]));
}

/** Return gaps as intervals that do not overlap, for the shade. */
export function merged(gaps) {
  const found = [];
  for (const [from, to] of [...gaps].sort((one, two) => one[0] - two[0])) {
    const last = found.at(-1);
    if (last && from <= last[1]) last[1] = Math.max(last[1], to);
    else found.push([from, to]);
  }
  return found;
}

/** What a point and the band are, for each series. */
export function PeriodNote({ series, left, range }) {
  if (!series.length) return html`<p class="note">No tick of this contract is stored in this time. Choose a longer range.</p>`;
  return html`<div class="note">
    ${series.map((each) => html`<p key=${each.broker}><b>${brokerName(each.broker)} ${each.account_id}</b>: ${kindWords(each)}</p>`)}
    <p>
      ${range.isLive ? "New ticks are added at the right. " : ""}A line is open where no tick came for ${age(Math.max(staleAfterS.value, 2 * Math.max(...series.map((each) => each.interval_s ?? 0))))} or longer.
      ${" "}Drag over a chart to look closer.
    </p>
    ${left.length > 0 &&
    html`<p>
      Not drawn, because the accounts of a broker have the same ticks:
      ${left.map((each, at) => html`${at ? ", " : " "}<a key=${each.account_id} href=${href("contract", { ...route.value.params, broker: each.broker, account_id: each.account_id })}>${brokerName(each.broker)} ${each.account_id}</a>`)}
    </p>`}
  </div>`;
}

function kindWords({ kind, ticks, interval_s: interval }) {
  if (kind === "ticks") return ticks ? `all ${count(ticks, "tick")}, each one a point.` : "no tick in this time.";
  const each = `each point is the last tick of ${lengthOf(interval)}`;
  if (kind === "intervals") return `${count(ticks, "tick")}; ${each}; the band is from the lowest to the highest.`;
  return `too many ticks to read all of them; ${each}; lowest and highest are not known.`;
}

function lengthOf(seconds) {
  if (seconds % 86_400 === 0) return count(seconds / 86_400, "day");
  if (seconds % 3600 === 0) return count(seconds / 3600, "hour");
  return seconds % 60 === 0 ? `${seconds / 60} min` : `${seconds} s`;
}

/** The gaps as a list, with their reasons. */
export function Gaps({ series, range }) {
  const gaps = shownGaps(series, range.to).sort((one, two) => two[0] - one[0]);
  const leftOut = series.reduce((sum, each) => sum + each.gaps_left_out, 0);
  if (!series.length) return null;
  if (!gaps.length) return html`<p class="note">No gap is known in this time.</p>`;
  const total = series.map((each) => [each.broker, shownGaps([each], range.to).reduce((sum, [from, to]) => sum + to - from, 0)]).filter(([, seconds]) => seconds > 0);
  return html`<section class="gaps" aria-label="Gaps">
    <h3><span class="gap-swatch" aria-hidden="true"></span>${count(gaps.length + leftOut, "gap")} <span class="meta">${total.map(([broker, seconds]) => `${brokerName(broker)} ${age(seconds)}`).join(", ")} in all</span></h3>
    <${GapList} gaps=${gaps.slice(0, MOST_LISTED)} />
    ${gaps.length > MOST_LISTED && html`<details><summary>${count(gaps.length - MOST_LISTED, "older gap")}</summary><${GapList} gaps=${gaps.slice(MOST_LISTED)} /></details>`}
    ${leftOut > 0 && html`<p class="note">${count(leftOut, "shorter gap")} of this time ${leftOut === 1 ? "is" : "are"} not in the list.</p>`}
  </section>`;
}

function GapList({ gaps }) {
  return html`<ul>
    ${gaps.map(
      ([from, to, reasons, broker, isOpen]) => html`<li key=${`${broker} ${from}`} data-gap=${reasons}>
        <b>${brokerName(broker)}</b> ${moment(from * 1000)} ${isOpen ? "until now" : `to ${moment(to * 1000)}`} (${age(to - from)}): ${reasons.split(", ").map(inWords).join(" ")}
      </li>`,
    )}
  </ul>`;
}

function inWords(reason) {
  return GAP_REASONS[reason] ? `${reason}. ${GAP_REASONS[reason]}` : `${reason}.`;
}
