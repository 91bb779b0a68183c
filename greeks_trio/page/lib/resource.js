// Answers of the HTTP interface that a view shows, read again at intervals.

import { useEffect, useRef, useState } from "../vendor/preact.js";
import { getItems, getJson } from "./api.js";
import { serverNow } from "./clock.js";
import { isDatabaseAway, readError } from "./status.js";

const LONGEST_PAUSE_MS = 60_000;
// A read waits for a connection, and the browser has six for all reads together.
const PAUSE_WITHOUT_DATABASE_MS = 10_000;

/**
 * Return the pause after an answer: at least ten times its duration, so that a slow answer is
 * not asked for more often.  A service that stood still for long is asked again after a minute.
 */
export function pauseAfter(durationMs, everyMs) {
  return Math.max(everyMs, Math.min(10 * durationMs, LONGEST_PAUSE_MS));
}

/** Run the function when the database is back. */
export function useReturnOfDatabase(run) {
  const isAway = isDatabaseAway.value;
  const wasAway = useRef(false);
  useEffect(() => {
    if (wasAway.current && !isAway) run();
    wasAway.current = isAway;
  }, [isAway]);
  return isAway;
}

/**
 * Read an answer now and again every `everyMs`, while the page is visible.
 *
 * The last value stays through an error, so that the view can show it as old.  What waits for
 * a database that is away counts as an error; it is read again when the database is back.
 *
 * @param {string | null} path `null` reads nothing.
 * @param {object} params Another value of a parameter starts anew.
 * @param {{everyMs?: number, isList?: boolean, keep?: boolean}} options `isList`: all pages
 *   of a list, as an array.  `keep`: the old value stays until the new one is there.
 * @returns {{value: any, error: Error | null, at: number | null, params: object, isLoading: boolean, everyMs: number, reload: () => void}}
 *   `at`: the service's time of the value; `params`: those that it belongs to, which with `keep`
 *   may be the ones before.
 */
export function useResource(path, params = {}, { everyMs = 0, isList = false, keep = false } = {}) {
  const key = JSON.stringify([path, params]);
  const [state, setState] = useState({ key: null, params: {}, value: null, error: null, at: null });
  const reload = useRef(() => {});

  useEffect(() => {
    if (path === null) return undefined;
    const abort = new AbortController();
    let timer;
    const read = async () => {
      clearTimeout(timer);
      const began = performance.now();
      let pauseMs = everyMs;
      try {
        const value = await (isList ? getItems : getJson)(path, params, { abort: abort.signal });
        setState({ key, params, value, error: null, at: serverNow() });
        pauseMs = pauseAfter(performance.now() - began, everyMs);
      } catch (error) {
        if (abort.signal.aborted) return;
        // A value of other parameters must not stand under the new ones.
        setState((old) => ({ ...(old.key === key ? old : { value: null, at: null }), key, params, error }));
      }
      // A failure may have taken as long as its time limit, which says nothing of the load.
      if (everyMs) timer = setTimeout(readIfVisible, isDatabaseAway.peek() ? Math.max(pauseMs, PAUSE_WITHOUT_DATABASE_MS) : pauseMs);
    };
    const readIfVisible = () => (document.hidden ? undefined : read());
    const onVisible = () => everyMs && readIfVisible();
    document.addEventListener("visibilitychange", onVisible);
    reload.current = read;
    read();
    return () => {
      abort.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", onVisible);
    };
  }, [key, everyMs]);

  const isAway = useReturnOfDatabase(() => path !== null && reload.current());
  const isOwn = state.key === key;
  return {
    value: isOwn || keep ? state.value : null,
    error: readError(isOwn ? state.error : null, path !== null && !isOwn),
    at: isOwn || keep ? state.at : null,
    params: state.params,
    everyMs,
    isLoading: path !== null && !isOwn && !isAway,
    reload: () => reload.current(),
  };
}
