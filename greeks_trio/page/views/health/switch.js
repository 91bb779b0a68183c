// Start and stop of a feed, each after a confirmation.

import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { send } from "../../lib/api.js";
import { brokerName } from "../../lib/format.js";
import { isUp, pageState } from "../../lib/status.js";

/** The buttons of a feed, and the outcome of the last request in words. */
export function Switch({ feed, others }) {
  const [asked, setAsked] = useState(null);
  const [outcome, setOutcome] = useState("");
  const [isBusy, setBusy] = useState(false);
  const run = async (action) => {
    setBusy(true);
    setOutcome(action === "stop" ? "Stopping\u2026" : "Starting\u2026");
    setOutcome(await request(action, feed.broker));
    setBusy(false);
  };
  const close = (isConfirmed) => {
    setAsked(null);
    if (isConfirmed) run(asked);
  };
  const isOff = pageState.value !== "live";
  // A disabled button would lose the focus.
  const ask = (action) => isBusy || setAsked(action);
  return html`<div class="controls switch">
    <button class="button" type="button" disabled=${isOff} onClick=${() => ask(feed.is_stopped ? "start" : "stop")}>
      ${feed.is_stopped ? "Start" : "Stop"}<span class="hidden"> ${brokerName(feed.broker)}</span>
    </button>
    ${!feed.is_stopped &&
    !isUp(feed) &&
    html`<button class="button" type="button" disabled=${isOff} onClick=${() => ask("start")}>
      Try now<span class="hidden"> to connect ${brokerName(feed.broker)}</span>
    </button>`}
    <span class="note" role="status">${outcome}</span>
    ${asked && html`<${Confirm} action=${asked} feed=${feed} others=${others} onClose=${close} />`}
  </div>`;
}

async function request(action, broker) {
  try {
    const { sessions } = await send("POST", `/v1/streaming/${action}`, { brokers: [broker] });
    return outcomeOf(action, sessions.find((session) => session.broker === broker));
  } catch (error) {
    return `Not done: ${error.message}`;
  }
}

function outcomeOf(action, { broker, last_error: error }) {
  const name = brokerName(broker);
  if (action === "start") return `${name} is asked to connect.`;
  // The connection needs more than a few seconds to end.
  if (error !== "stopped by request") return `The stop of ${name} is asked for: ${error}.`;
  return `${name} was stopped. Every tick that was read is stored.`;
}

// Escape closes it, too; the focus returns to the button.
function Confirm({ action, feed, others, onClose }) {
  const dialog = useRef(null);
  const name = brokerName(feed.broker);
  useEffect(() => {
    dialog.current.showModal();
  }, []);
  return html`<dialog ref=${dialog} aria-labelledby="switch-title" onClose=${() => onClose(dialog.current.returnValue === "confirmed")}>
    <h2 id="switch-title">${action === "stop" ? `Stop ${name}?` : `Connect ${name} now?`}</h2>
    ${action === "stop" ? html`<${AboutStop} others=${others} />` : html`<${AboutStart} />`}
    <div class="controls">
      <button class="button" type="button" onClick=${() => dialog.current.close()}>Cancel</button>
      <button class="button primary" type="button" onClick=${() => dialog.current.close("confirmed")}>${action === "stop" ? `Stop ${name}` : `Connect ${name}`}</button>
    </div>
  </dialog>`;
}

function AboutStop({ others }) {
  const names = others.map((each) => brokerName(each.broker)).join(", ");
  return html`<ul class="points">
    <li>The connection ends. Every tick that was read is stored.</li>
    ${names && html`<li>${names} goes on.</li>`}
    <li>The figures of this broker become grey, and stale after a while.</li>
    <li>It stays stopped until it is started here, or the service restarts. The outage is recorded as “stopped by request”.</li>
  </ul>`;
}

function AboutStart() {
  return html`<ul class="points">
    <li>The service connects at once instead of after its pause.</li>
    <li>It never tries sooner than the broker asked for, and at most six times a minute.</li>
  </ul>`;
}
