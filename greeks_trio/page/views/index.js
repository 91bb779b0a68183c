// The views, in the order of the navigation.

import { Book } from "./book/view.js";
import { Brokers } from "./brokers/view.js";
import { Contract } from "./contract.js";
import { Contracts } from "./contracts.js";
import { Health } from "./health/view.js";
import { Limits } from "./limits/view.js";
import { Underlying } from "./underlying/view.js";
import { WhatIf } from "./whatif/view.js";
import { Why } from "./why/view.js";

/** `isInNav`: false for a view that others lead to. */
export const VIEWS = [
  { name: "book", title: "Book", View: Book, isInNav: true },
  { name: "contracts", title: "Contracts", View: Contracts, isInNav: true },
  { name: "contract", title: "Contract", View: Contract, isInNav: false },
  { name: "underlying", title: "Underlyings", View: Underlying, isInNav: true },
  { name: "what-if", title: "What if", View: WhatIf, isInNav: true },
  { name: "why", title: "Why", View: Why, isInNav: true },
  { name: "brokers", title: "Brokers", View: Brokers, isInNav: true },
  { name: "limits", title: "Limits", View: Limits, isInNav: true },
  { name: "health", title: "Health", View: Health, isInNav: true },
];
