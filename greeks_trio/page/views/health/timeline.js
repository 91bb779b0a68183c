// Outages over time: one lane for the whole service, one for each broker.

import { html } from "../../vendor/preact.js";
import { age, brokerName, count, moment } from "../../lib/format.js";

const TICKS = 6;
const HOUR = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const DAY_MS = 86_400_000;

/**
 * @param {object} props
 * @param {Array<object>} props.outages Each with `broker, scope, beganAt, endedAt, reasons`.
 * @param {Array<string>} props.brokers
 * @param {number} props.from Milliseconds since 1970, as is `until`.
 */
export function Timeline({ outages, brokers, from, until }) {
  const lanes = [
    ["service", "Whole service", merged(outages.filter((each) => each.scope === "service"))],
    ...brokers.map((broker) => [broker, brokerName(broker), laneOf(outages, broker)]),
  ];
  return html`<div class="timeline" role="img" aria-label=${summary(lanes, from)}>
    ${lanes.map(
      ([id, label, bars]) => html`<div class="lane" key=${id} data-lane=${id}>
        <span class="name">${label}</span>
        <div class="track">${bars.map((bar) => html`<${Bar} key=${`${bar.scope}${bar.beganAt}`} bar=${bar} from=${from} until=${until} />`)}</div>
      </div>`,
    )}
    <div class="lane axis"><span class="name" /><div class="track">${axis(from, until)}</div></div>
    <p class="note legend">
      <span><span class="bar fault" />no data</span>
      <span><span class="bar planned" />stopped by a person, or with the service</span>
      <span><span class="bar part" />some contracts or accounts</span>
      <span><span class="bar fault lasts" />lasts</span>
    </p>
  </div>`;
}

function laneOf(outages, broker) {
  const own = outages.filter((each) => each.broker === broker);
  const whole = own.filter((each) => each.scope === "broker" || each.scope === "service");
  // Hundreds of contracts may be without data at a time: one bar for them.
  return [...merged(own.filter((each) => each.scope === "contract" || each.scope === "account")), ...whole.map((each) => ({ ...each, number: 1 }))];
}

/** Return the intervals of the outages, those that overlap as one. */
function merged(outages) {
  const found = [];
  for (const each of [...outages].sort((one, other) => one.beganAt - other.beganAt)) {
    const last = found.at(-1);
    if (last && (last.endedAt === null || each.beganAt <= last.endedAt)) {
      last.endedAt = last.endedAt === null || each.endedAt === null ? null : Math.max(last.endedAt, each.endedAt);
      last.reasons = [...new Set([...last.reasons, ...each.reasons])];
      last.number += 1;
    } else found.push({ ...each, number: 1 });
  }
  return found;
}

function Bar({ bar, from, until }) {
  const { scope, beganAt, endedAt, reasons, number } = bar;
  const left = Math.max(0, (beganAt - from) / (until - from));
  const right = endedAt === null ? 1 : Math.min(1, (endedAt - from) / (until - from));
  if (right < 0 || left > 1) return null;
  const kind = scope === "contract" || scope === "account" ? "part" : reasons.every(isPlanned) ? "planned" : "fault";
  const what = kind === "part" ? `${count(number, "outage")} of contracts or accounts: ` : "";
  const length = age(Math.max(0, (endedAt ?? until) - beganAt) / 1000);
  const title = `${what}${reasons.join(", ")}, began ${moment(beganAt)}, ${endedAt === null ? `lasts, ${length} so far` : `lasted ${length}`}`;
  return html`<span class=${`bar ${kind} ${endedAt === null ? "lasts" : ""}`} style=${{ left: `${left * 100}%`, width: `${(right - left) * 100}%` }} title=${title} />`;
}

/** Whether a person, or the end of the service, was the reason. */
export function isPlanned(reason) {
  return reason.startsWith("stopped");
}

function axis(from, until) {
  const format = until - from > 2 * DAY_MS ? DAY : HOUR;
  return Array.from({ length: TICKS + 1 }, (_, at) => {
    const place = at / TICKS;
    const text = at === TICKS ? "now" : format.format(new Date(from + place * (until - from)));
    return html`<span key=${at} class="tick" style=${{ left: `${place * 100}%` }}>${text}</span>`;
  });
}

function summary(lanes, from) {
  const words = lanes.map(([, label, bars]) => {
    const open = bars.some((bar) => bar.endedAt === null) ? ", one lasts" : "";
    return `${label}: ${bars.length ? count(bars.length, "outage") : "no outage"}${open}`;
  });
  return `Outages since ${moment(from)}. ${words.join(". ")}. The table below has each.`;
}
