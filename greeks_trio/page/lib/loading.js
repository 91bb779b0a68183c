// The views that the browser has loaded so far.

import { signal } from "../vendor/preact.js";

// By then the first view has its figures.
const REST_AFTER_MS = 2000;

/** By the name of the view: `{View}`, or `{error}` of the last attempt. */
export const loaded = signal({});

/** Load a view, unless it is there. */
export async function load(view) {
  if (loaded.peek()[view.name]?.View) return;
  try {
    note(view, { View: await view.load() });
  } catch (error) {
    note(view, { error });
  }
}

/** Load the views one after the other, so that each is there at once and without the service. */
export function loadRest(views) {
  setTimeout(async () => {
    for (const view of views) await load(view);
  }, REST_AFTER_MS);
}

function note({ name }, state) {
  loaded.value = { ...loaded.peek(), [name]: state };
}
