// The views, in the order of the navigation.  Each is loaded when it is first shown.

/** `isInNav`: false for a view that others lead to; `parent`: the view that has it in its list. */
export const VIEWS = [
  { name: "book", title: "Book", load: () => import("./book/view.js").then((module) => module.Book), isInNav: true },
  { name: "contracts", title: "Contracts", load: () => import("./contracts.js").then((module) => module.Contracts), isInNav: true },
  { name: "contract", title: "Contract", load: () => import("./contract.js").then((module) => module.Contract), isInNav: false, parent: "contracts" },
  { name: "underlying", title: "Underlyings", load: () => import("./underlying/view.js").then((module) => module.Underlying), isInNav: true },
  { name: "what-if", title: "What if", load: () => import("./whatif/view.js").then((module) => module.WhatIf), isInNav: true },
  { name: "why", title: "Why", load: () => import("./why/view.js").then((module) => module.Why), isInNav: true },
  { name: "brokers", title: "Brokers", load: () => import("./brokers/view.js").then((module) => module.Brokers), isInNav: true },
  { name: "limits", title: "Limits", load: () => import("./limits/view.js").then((module) => module.Limits), isInNav: true },
  { name: "health", title: "Health", load: () => import("./health/view.js").then((module) => module.Health), isInNav: true },
];
