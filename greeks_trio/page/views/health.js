import { html } from "../vendor/preact.js";

export function Health() {
  return html`<h1>Health</h1>`;
}
