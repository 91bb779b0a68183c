// One figure of the service with its name.

import { html } from "../../vendor/preact.js";
import { Reading } from "../../lib/figure.js";
import { number } from "../../lib/format.js";

/**
 * @param {object} props
 * @param {string} props.label
 * @param {string} props.title The definition.
 * @param {string} props.field Its place in `/v1/streaming/status`.
 * @param {any} props.value The raw value.
 * @param {(value) => string} props.text By default a whole number.
 */
export function Fact({ label, title, field, value, text = number, children }) {
  const isKnown = value !== null && value !== undefined;
  return html`<div title=${title}>
    <dt>${label}</dt>
    <dd><${Reading} field=${field} value=${value} text=${isKnown ? text(value) : ""} />${children}</dd>
  </div>`;
}
