import { html } from "../vendor/preact.js";

export function Contracts() {
  return html`<h1>Contracts</h1>`;
}
