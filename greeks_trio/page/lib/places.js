// Where a person was: Back returns to the same place of a view, and another view begins at its
// top.  Each entry of the history keeps its own places.

import { useLayoutEffect } from "../vendor/preact.js";
import { filtersOf } from "./filters.js";
import { route } from "./router.js";

const PAUSE_MS = 150;
// The data of a view come after it, and give it its height.
const PATIENCE_MS = 1500;
const LOOKS_MS = [150, 700];
const MOVES = ["wheel", "touchmove", "keydown", "pointerdown"];

let subject;
let timer;
let frame = 0;
let looks = [];

/** Return what this entry of the history remembers under a name. */
export function remembered(name) {
  return history.state?.[name];
}

/** Remember a value with this entry of the history. */
export function remember(name, value) {
  history.replaceState({ ...history.state, [name]: value }, "");
}

/** Keep the place in the page, and go to it, as long as the page is open. */
export function followPlaces() {
  history.scrollRestoration = "manual";
  subject = subjectOf(route.peek());
  addEventListener("hashchange", onAddress);
  addEventListener("scroll", onScroll, { passive: true });
  for (const move of MOVES) addEventListener(move, onMove, { passive: true });
  returnTo(remembered("top") ?? 0);
}

// A choice within a view, such as a range, moves nothing.
function onAddress() {
  clearTimeout(timer);
  endLooks();
  const next = subjectOf(route.peek());
  const isOther = next !== subject;
  subject = next;
  const top = remembered("top");
  if (top !== undefined) returnTo(top);
  else if (isOther) returnTo(0);
  else remember("top", scrollY);
  if (isOther) looks = LOOKS_MS.map((pause) => setTimeout(focusMain, pause));
}

function subjectOf({ view, params }) {
  return JSON.stringify([view, filtersOf(params), params.contract_key]);
}

// Where the element with the focus has gone, Tab goes on at the new view, not at the navigation.
function focusMain() {
  if (document.activeElement !== document.body) return;
  document.getElementById("main").focus({ preventScroll: true });
  endLooks();
}

// Once, and not against a person who does something.
function endLooks() {
  for (const look of looks) clearTimeout(look);
}

function onScroll() {
  clearTimeout(timer);
  if (!frame) timer = setTimeout(() => remember("top", scrollY), PAUSE_MS);
}

function returnTo(top) {
  endReturn();
  const until = performance.now() + PATIENCE_MS;
  const step = () => {
    scrollTo(0, top);
    frame = top === 0 || performance.now() > until ? 0 : requestAnimationFrame(step);
  };
  frame = requestAnimationFrame(step);
}

function onMove() {
  endReturn();
  endLooks();
}

function endReturn() {
  cancelAnimationFrame(frame);
  frame = 0;
}

/** Keep the place in an element that scrolls by itself, and go to it when it appears. */
export function usePlace(element, name) {
  useLayoutEffect(() => {
    const { current } = element;
    let pause;
    const onPlace = () => {
      clearTimeout(pause);
      pause = setTimeout(() => remember(name, current.scrollTop), PAUSE_MS);
    };
    current.scrollTop = remembered(name) ?? 0;
    current.addEventListener("scroll", onPlace, { passive: true });
    return () => {
      clearTimeout(pause);
      current.removeEventListener("scroll", onPlace);
    };
  }, []);
}
