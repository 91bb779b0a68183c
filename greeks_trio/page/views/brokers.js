import { html } from "../vendor/preact.js";

export function Brokers() {
  return html`<h1>Brokers</h1>`;
}
