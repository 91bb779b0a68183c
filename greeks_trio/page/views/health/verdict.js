// The state of the service at one glance: everything that is a fault, worst first.

import { html } from "../../vendor/preact.js";
import { conditions, faults, isAllWell } from "../../lib/faults.js";
import { brokerName } from "../../lib/format.js";
import { Badge, Words } from "../../lib/parts.js";
import { feeds, isOff, pageState, stateWord, statusRead } from "../../lib/status.js";

const NAMES = { critical: "fault", warn: "warning", info: "note" };
const ORDER = ["critical", "warn", "info"];

/** Everything works, or what does not. */
export function Verdict() {
  if (isFirst()) return html`<section class="panel verdict" aria-label="State of the service"><h2>Connecting</h2><p class="note">The page asks the service for its state.</p></section>`;
  const found = faults.value;
  const level = isAllWell.value ? "ok" : (ORDER.find((each) => found.some((fault) => fault.level === each && each !== "info")) ?? "warn");
  return html`<section class=${`panel verdict ${level}`} aria-label="State of the service" data-level=${level}>
    <h2>${titleOf(level)}</h2>
    ${level === "ok" && html`<p class="note">The service is ready, and it has no warning. This page is live.</p>`}
    <ul>
      ${found.map(
        (fault) => html`<li key=${fault.text}><${Badge} state=${fault.level}>${NAMES[fault.level]}<//><span><${Words} text=${capital(fault.text)} /></span></li>`,
      )}
    </ul>
    ${conditions.value.map((each) => html`<${Condition} key=${each.kind} condition=${each} />`)}
  </section>`;
}

// The first answer comes soon, and most often it is a good one.
function isFirst() {
  return statusRead.value.isLoading && ["connecting", "live"].includes(pageState.value);
}

function titleOf(level) {
  const off = feeds.value.filter(isOff).map((feed) => `${brokerName(feed.broker)} is ${stateWord(feed)}`);
  if (level === "ok") return off.length ? `\u2713 Everything else works: ${off.join(", ")}` : "\u2713 Everything works";
  if (pageState.value !== "live") return "The page does not know";
  return level === "critical" ? "\u2716 Something is wrong" : "\u25b2 It works, and needs a look";
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function Condition({ condition: { kind, meaning, remedy } }) {
  return html`<div class="condition" data-condition=${kind}>
    <h3>${kind}</h3>
    <p><${Words} text=${meaning} /></p>
    <p><b>What to do:</b> <${Words} text=${remedy} /></p>
  </div>`;
}
