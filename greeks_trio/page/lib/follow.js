// Answers that the service has to compute, such as scenarios.  A view asks for one at a time,
// because the service computes one at a time; the last answer stays until the next one comes.

import { useEffect, useRef, useState } from "../vendor/preact.js";
import { getJson } from "./api.js";
import { serverNow } from "./clock.js";
import { link } from "./live.js";
import { pauseAfter, useReturnOfDatabase } from "./resource.js";
import { readError } from "./status.js";

const BUSY = 503;
// The service ends a computation after 20 seconds.
const LONGEST_MS = 30_000;
// After this time, a new question does not wait for the answer to the old one.
const LATE_MS = 5_000;

const NOTHING = { key: null, value: null, choices: null, error: null, at: null };

let turn = Promise.resolve();

/** Run the task when all tasks before it have ended. */
async function inTurn(task) {
  const before = turn;
  let end;
  turn = new Promise((resolve) => {
    end = resolve;
  });
  await before;
  try {
    return await task();
  } finally {
    end();
  }
}

/**
 * Read an answer now, again every `everyMs` while the page is visible, and when the choices
 * change.  While an answer is on its way, only the last of several changes is asked for.
 *
 * @param {string | null} path `null` reads nothing.
 * @param {object} choices Another value of a choice reads anew.
 * @param {{everyMs?: number, paramsOf?: (choices: object) => object}} options `paramsOf` makes
 *   the parameters at the moment of the request, for those that depend on the time.
 * @returns {{value: any, choices: object | null, error: Error | null, at: number | null,
 *   isLoading: boolean, isBehind: boolean, isOther: boolean, everyMs: number, reload: () => void}} `choices`: those
 *   of the value.  `at`: the service's time of the value.  `isBehind`: the value is of other
 *   choices.  `isOther`: it is of other positions, by the choice `filters`.
 */
export function useFollowed(path, choices, { everyMs = 0, paramsOf = (each) => each } = {}) {
  const key = JSON.stringify([path, choices]);
  const wanted = useRef();
  const follower = useRef(null);
  const [state, setState] = useState(NOTHING);
  wanted.current = { path, choices, key, everyMs, paramsOf };

  useEffect(() => {
    follower.current = new Follower(() => wanted.current, setState);
    const onVisible = () => wanted.current.everyMs && !document.hidden && follower.current.read();
    document.addEventListener("visibilitychange", onVisible);
    return () => {
      document.removeEventListener("visibilitychange", onVisible);
      follower.current.stop();
    };
  }, []);
  useEffect(() => follower.current.restart(), [key]);
  const isLost = link.value.state === "lost";
  const wasLost = useRef(false);
  useEffect(() => {
    if (wasLost.current && !isLost) follower.current.restart();
    wasLost.current = isLost;
  }, [isLost]);

  useReturnOfDatabase(() => follower.current.restart());
  const isBehind = path !== null && state.key !== key;
  const { value, choices: shown, at } = state;
  const error = readError(state.error, isBehind);
  const isOther = isBehind && shown !== null && !hasSameFilters(shown, choices);
  return { value, choices: shown, error, at, isBehind, isOther, isLoading: isBehind && value === null && !error, everyMs, reload: () => follower.current.read() };
}

function hasSameFilters(one, other) {
  return JSON.stringify(one?.filters) === JSON.stringify(other.filters);
}

class Follower {
  constructor(wanted, setState) {
    this.wanted = wanted;
    this.setState = setState;
    this.abort = new AbortController();
    this.isReading = false;
  }

  stop() {
    this.abort.abort();
    clearTimeout(this.timer);
  }

  /** Read at once, also if the last question has had no answer for long. */
  restart() {
    if (performance.now() - this.began > LATE_MS) this.attempt?.abort();
    this.read();
  }

  async read() {
    this.isStale = true;
    if (this.isReading) return;
    this.isReading = true;
    clearTimeout(this.timer);
    let pauseMs = 0;
    while (this.isStale && !this.abort.signal.aborted) {
      pauseMs = await inTurn(() => this.#readOnce());
    }
    this.isReading = false;
    if (pauseMs && !this.abort.signal.aborted) this.timer = setTimeout(() => document.hidden || this.read(), pauseMs);
  }

  // Returns the milliseconds until the next reading; 0 for none.
  async #readOnce() {
    this.isStale = false;
    const { path, choices, key, everyMs, paramsOf } = this.wanted();
    if (path === null || this.abort.signal.aborted) return 0;
    this.began = performance.now();
    this.attempt = new AbortController();
    try {
      const abort = AbortSignal.any([this.abort.signal, this.attempt.signal, AbortSignal.timeout(LONGEST_MS)]);
      const value = await getJson(path, paramsOf(choices), { abort });
      this.setState({ key, value, choices, error: null, at: serverNow() });
      return everyMs && pauseAfter(performance.now() - this.began, everyMs);
    } catch (error) {
      if (this.abort.signal.aborted || this.attempt.signal.aborted) return 0;
      // Values of other positions must not stand below the filters that are chosen now.
      this.setState((old) => ({ ...(hasSameFilters(old.choices, choices) ? old : NOTHING), key, error }));
      return error.status === BUSY && error.retryAfterS ? error.retryAfterS * 1000 : everyMs;
    }
  }
}
