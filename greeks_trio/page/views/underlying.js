import { html } from "../vendor/preact.js";

export function Underlying() {
  return html`<h1>Underlying</h1>`;
}
