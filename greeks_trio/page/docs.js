// The documentation of the API: Swagger UI over /openapi.json of this service.

const dark = matchMedia("(prefers-color-scheme: dark)");
const applyColours = () => document.documentElement.classList.toggle("dark-mode", dark.matches);

const ours = {
  wrapComponents: {
    // The original is a link inside of a button.
    DeepLink: (Original, { React }) => ({ text }) => React.createElement("span", null, text),
  },
  statePlugins: {
    spec: {
      wrapSelectors: {
        // The stream never ends, and Swagger UI would wait for its end.
        allowTryItOutFor: (original) => (state, path, method) =>
          path !== "/v1/stream" && original(state, path, method),
      },
    },
    layout: {
      wrapActions: {
        // The original takes `_` in the name of an operation for a space, and warns of it.
        parseDeepLinkHash: (original, { layoutActions, layoutSelectors }) => (hash) => {
          const path = hash.replace(/^#!?\/?/, "");
          if (!path) return;
          const key = layoutSelectors.isShownKeyFromUrlHashArray(path.split("/"));
          layoutActions.show(key, true);
          layoutActions.scrollTo(key);
        },
      },
    },
  },
};

// The attributes that Swagger UI leaves out, for screen readers and the keyboard.
const ATTRIBUTES = [
  [".information-container", "role", () => "region"],
  [".information-container", "aria-label", () => "Introduction"],
  [".filter", "role", () => "search"],
  [".opblock-tag", "aria-level", () => "2"],
  ["h4", "aria-level", () => "3"],
  ["h5", "aria-level", () => "4"],
  [".microlight", "tabindex", () => "0"],
  ["[data-param-name] :is(select, textarea)", "aria-label", (found) => found.closest("tr").dataset.paramName],
  [".body-param__text", "aria-label", () => "Request body"],
  [".responses-table[role=region]", "aria-label", (found) => `Answers of ${nameOf(found)}`],
];

function nameOf(part) {
  const operation = part.closest(".opblock");
  const words = [".opblock-summary-method", ".opblock-summary-path"];
  return words.map((each) => operation.querySelector(each).textContent).join(" ");
}

function addAttributes() {
  for (const [selector, name, valueOf] of ATTRIBUTES) {
    for (const found of document.querySelectorAll(`#api ${selector}:not([${name}])`)) {
      found.setAttribute(name, valueOf(found));
    }
  }
}

function showApi() {
  new MutationObserver(addAttributes).observe(document.getElementById("api"), { childList: true, subtree: true });
  SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#api",
    deepLinking: true,
    // The structure of each answer stands at its operation.
    defaultModelsExpandDepth: -1,
    displayRequestDuration: true,
    filter: true,
    plugins: [() => ours],
    // Colours for an answer of a megabyte would take seconds.
    syntaxHighlight: false,
    // No other service checks the description.
    validatorUrl: null,
  });
}

applyColours();
dark.addEventListener("change", applyColours);
document.addEventListener("DOMContentLoaded", showApi);
