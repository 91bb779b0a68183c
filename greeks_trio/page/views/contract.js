import { html } from "../vendor/preact.js";

export function Contract() {
  return html`<h1>Contract</h1>`;
}
