// One connection to `/v1/stream`, which is opened again whenever it is lost.
// It runs in a shared worker, so that all tabs use one stream, or in the page itself.

const SESSION_PATH = "/v1/session";
const EVENTS = ["greeks", "sessions", "slo", "alert", "time"];
// The service tells the time every 5 seconds.
const SILENCE_MS = 15_000;
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 10_000;

export class Stream {
  /**
   * @param {(name: string, data: any) => void} tell Gets each event with its JSON text, and
   *   `link` with `{state, reason, heardAt}`: `connecting`, `live`, `lost` or `login`; heardAt
   *   is the time of the last event by this browser's clock.
   * @param {string} url Of the stream.
   */
  constructor(tell, url = "/v1/stream") {
    this.tell = tell;
    this.url = url;
    this.heardAt = Date.now();
    this.link = { state: "connecting", reason: "", heardAt: this.heardAt };
    this.delayMs = FIRST_DELAY_MS;
    this.failures = 0;
    this.turn = 0;
  }

  /** Connect, and stay connected until `close`. */
  open() {
    this.source = new EventSource(this.url);
    this.source.onopen = () => {
      this.delayMs = FIRST_DELAY_MS;
      this.failures = 0;
      this.#hear();
      this.#say("live");
    };
    for (const name of EVENTS) {
      this.source.addEventListener(name, (event) => {
        this.#hear();
        this.tell(name, event.data);
      });
    }
    this.source.onerror = () => this.#lost();
    this.#expect();
  }

  /** Connect now instead of after the delay; with a connection, do nothing. */
  retry() {
    if (this.link.state === "live") return;
    this.close();
    this.#say("connecting");
    this.open();
  }

  /** End the connection while nobody looks; `open` connects again. */
  pause() {
    this.close();
    this.#say("connecting", "No page was open, or it was in the background.");
  }

  /** End the connection. */
  close() {
    this.turn += 1;
    clearTimeout(this.silence);
    clearTimeout(this.waiting);
    this.source?.close();
  }

  #hear() {
    this.heardAt = Date.now();
    this.#expect();
  }

  #expect() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.#lost("The service has sent nothing for 15 seconds."), SILENCE_MS);
  }

  async #lost(reason = "The connection was lost.") {
    this.close();
    const { turn } = this;
    this.failures += 1;
    if (this.link.state !== "login") this.#say("lost", reason);
    const [state, words] = await whyLost(this.failures);
    if (turn !== this.turn) return;
    this.#say(state, words);
    // With jitter, so that many pages do not come back at once.
    const delay = this.delayMs * (0.75 + Math.random() / 2);
    this.delayMs = Math.min(this.delayMs * 2, LONGEST_DELAY_MS);
    // Without a session the stream would be refused.
    this.waiting = setTimeout(() => (state === "login" ? this.#lost() : this.open()), delay);
  }

  #say(state, reason = "") {
    this.link = { state, reason, heardAt: this.heardAt };
    this.tell("link", this.link);
  }
}

// An EventSource does not tell the status of the answer.
async function whyLost(failures) {
  try {
    const answer = await fetch(SESSION_PATH, { cache: "no-store", signal: AbortSignal.timeout(4000) });
    if (!answer.ok) return ["lost", `The service answers with status ${answer.status}.`];
    const { token_needed: isNeeded, session_open: isOpen } = await answer.json();
    if (isNeeded && !isOpen) return ["login", "The session has ended."];
    // A service that stops or starts answers for a moment without a stream.
    if (failures < 3) return ["lost", "The service has closed the stream."];
    return ["lost", "The service answers, and opens no stream: all of its streams may be in use."];
  } catch {
    return ["lost", "The service does not answer."];
  }
}
