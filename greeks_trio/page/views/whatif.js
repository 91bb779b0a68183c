import { html } from "../vendor/preact.js";

export function WhatIf() {
  return html`<h1>WhatIf</h1>`;
}
