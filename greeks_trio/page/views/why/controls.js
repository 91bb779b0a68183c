// The two moments and the part of the book.

import { html, useEffect, useState } from "../../vendor/preact.js";
import { FilterPicker, Fold } from "../../lib/picker.js";
import { Segments } from "../../lib/parts.js";
import { change } from "../../lib/router.js";
import { MOST_MS, RANGES, fieldMoment, fieldText, momentsOf, zoneName } from "./ranges.js";

/** The controls of the view. */
export function Controls({ params, range }) {
  return html`<section class="panel" aria-label="Choices">
    <div class="controls choices">
      <${Segments}
        label="Range"
        options=${Object.entries(RANGES).map(([name, { label, title }]) => [name, label, title])}
        value=${range.name}
        onPick=${(name) => change({ range: name, start: null, end: null }, { replace: false })}
      />
      <${Moments} range=${range} />
    </div>
    <${Fold} summary="Filters">
      <div class="controls choices"><${FilterPicker} params=${params} /></div>
    <//>
  </section>`;
}

function Moments({ range }) {
  const given = momentsOf(range).map(fieldText);
  const [fields, setFields] = useState(given);
  const key = JSON.stringify(range);
  useEffect(() => setFields(given), [key]);
  const [start, end] = fields.map(fieldMoment);
  const fault = faultOf(start, end);
  const apply = (event) => {
    event.preventDefault();
    if (fault) return;
    change({ range: null, start: new Date(start).toISOString(), end: end === null ? null : new Date(end).toISOString() }, { replace: false });
  };
  return html`<form class="controls moments" onSubmit=${apply}>
    <label class="label"
      >From <input class="field" type="datetime-local" step="1" name="start" value=${fields[0]} onInput=${(event) => setFields([event.target.value, fields[1]])}
    /></label>
    <label class="label"
      >to <input class="field" type="datetime-local" step="1" name="end" value=${fields[1]} onInput=${(event) => setFields([fields[0], event.target.value])}
    /></label>
    <button class="button" type="submit" disabled=${Boolean(fault)} title=${fault || undefined}>Explain</button>
    <span class="meta">${fault || `Times of ${zoneName()}; without an end: until now.`}</span>
  </form>`;
}

function faultOf(start, end) {
  if (start === null) return "The first moment is missing.";
  if (end !== null && end <= start) return "The first moment has to be before the last one.";
  if ((end ?? Date.now()) - start > MOST_MS) return "At most 31 days.";
  return "";
}
