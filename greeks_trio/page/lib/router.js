// The address of a view: `#/contracts?underlying=SPY&sort=-vega`.  It holds everything that
// a person has chosen, so that a view can be shared and loaded again.

import { signal } from "../vendor/preact.js";

/** `{view, params}` of the present address. */
export const route = signal(parse(location.hash));

addEventListener("hashchange", () => {
  route.value = parse(location.hash);
});

function parse(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  return { view: path || "book", params: Object.fromEntries(new URLSearchParams(query)) };
}

/** Return the address of a view; parameters without a value are left out. */
export function href(view, params = {}) {
  const given = Object.entries(params).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const query = new URLSearchParams(given).toString();
  return `#/${view}${query ? `?${query}` : ""}`;
}

/** Go to a view, as a link does. */
export function go(view, params = {}) {
  location.hash = href(view, params);
}

/** Change parameters of the present view.  With `replace`, Back skips the old ones. */
export function change(params, { replace = true } = {}) {
  const { view, params: old } = route.peek();
  const target = href(view, { ...old, ...params });
  if (!replace) {
    location.hash = target;
    return;
  }
  history.replaceState(history.state, "", target);
  route.value = parse(location.hash);
}
