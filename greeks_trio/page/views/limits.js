import { html } from "../vendor/preact.js";

export function Limits() {
  return html`<h1>Limits</h1>`;
}
