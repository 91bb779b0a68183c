// Requests to the service.

import { signal } from "../vendor/preact.js";
import { noteServerTime } from "./clock.js";

// The service answers within 30 seconds, if it is only that the database is slow.
const LONGEST_MS = 40_000;

/** Tells whether a token is needed and whether there is a session; it answers always. */
export const SESSION_PATH = "/v1/session";

/** Whether the service wants the token: its answer was 401. */
export const needsLogin = signal(false);

/** An answer that is no success, in the service's words. */
export class ApiError extends Error {
  /**
   * @param {number} status The HTTP status, 0 if there was no answer.
   * @param {string} detail The reason.
   * @param {number} retryAfterS Seconds to wait, if the service names them.
   */
  constructor(status, detail, retryAfterS = 0) {
    super(detail);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

/** What is read from the database, while that is known to be away. */
export const DATABASE_AWAY = new ApiError(503, "The database is away.");

/** Return the path with the parameters that have a value. */
export function address(path, params = {}) {
  const given = Object.entries(params).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const query = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return query ? `${path}?${query}` : path;
}

/**
 * Return the JSON of an answer.
 * @throws {ApiError} The service refuses, or does not answer.
 */
export async function getJson(path, params = {}, { abort } = {}) {
  return request("GET", address(path, params), undefined, abort);
}

/** Return all items of a list, page by page. */
export async function getItems(path, params = {}, { abort, pageSize = 5000 } = {}) {
  const items = [];
  let cursor;
  do {
    const page = await getJson(path, { ...params, limit: pageSize, cursor }, { abort });
    // A proxy in between may answer with JSON of its own.
    if (!Array.isArray(page?.items)) throw new ApiError(200, "The answer of the service is no list.");
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor);
  return items;
}

/** Send JSON and return the JSON of the answer, `null` if it has no body. */
export async function send(method, path, body) {
  return request(method, path, body);
}

async function request(method, path, body, abort) {
  // Each would be refused; `status.js` asks whether there is a session again.
  if (needsLogin.peek() && path !== SESSION_PATH) throw notLoggedIn();
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const tooLong = AbortSignal.timeout(LONGEST_MS);
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: abort ? AbortSignal.any([abort, tooLong]) : tooLong,
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The service does not answer.");
  }
  noteServerTime(answer.headers.get("Date"), 1000);
  if (answer.status === 401) {
    needsLogin.value = true;
    throw notLoggedIn();
  }
  if (answer.status === 204) return null;
  const value = await decoded(answer);
  if (answer.ok) return value;
  throw new ApiError(answer.status, problemText(value, answer), Number(answer.headers.get("Retry-After")) || 0);
}

function notLoggedIn() {
  return new ApiError(401, "You are not logged in.");
}

async function decoded(answer) {
  try {
    return await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(answer.status, "The answer of the service broke off or is no JSON.");
  }
}

function problemText(value, answer) {
  const reasons = (value?.errors ?? []).map((each) => `${each.where}: ${each.reason}`);
  return [value?.detail ?? `The service answers with status ${answer.status}.`, ...reasons].join(" ");
}
