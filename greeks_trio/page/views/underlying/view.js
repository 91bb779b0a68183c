// The underlyings: a list of all, or one of them with its book and its volatilities.

import { html } from "../../vendor/preact.js";
import { UnderlyingList } from "./list.js";
import { OneUnderlying } from "./one.js";

/** The view `underlying`. */
export function Underlying({ params }) {
  return params.underlying ? html`<${OneUnderlying} key=${params.underlying} params=${params} />` : html`<${UnderlyingList} params=${params} />`;
}
