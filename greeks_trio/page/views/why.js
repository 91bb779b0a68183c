import { html } from "../vendor/preact.js";

export function Why() {
  return html`<h1>Why</h1>`;
}
