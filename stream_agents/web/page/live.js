// The connection to the agents: the stream of numbers, whether they are ready, and questions to the API.

import { Locked, fetched } from "./token.js";

const READY_EVERY_MS = 5000;
const ANSWER_WITHIN_MS = 8000;
const RETRY_MS = [1000, 2000, 4000, 8000, 15_000];

/** A question that the agents refuse; asking again does not help. */
export class Refused extends Error {}

export async function ask(path) {
  const response = await fetched(path, "application/json", AbortSignal.timeout(ANSWER_WITHIN_MS));
  const body = await response.json();
  if (response.status === 400) throw new Refused(body.error);
  if (!response.ok && path !== "readyz") throw new Error(`${path}: ${response.status}`);
  return body;
}

/** The data of each event `name` of a stream, until it ends. An `EventSource` would do it, but sends no token. */
async function* events(path, name, signal) {
  const response = await fetched(path, "text/event-stream", signal);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { done, value } = await reader.read();
    if (done) return;
    const whole = (rest + value).split("\n\n");
    rest = whole.pop();
    for (const text of whole) {
      const fields = new Map(text.split("\n").map((line) => line.split(/: (.*)/, 2))); // each has one line here
      if (fields.get("event") === name) yield fields.get("data");
    }
  }
}

/**
 * Keeps a stream open. `onSummary(numbers)`; `onState({state, since, reasons, error})` where state is connecting, live,
 * lost or locked. A stream that broke is opened again, with growing pauses; a broken one is also found by asking. One
 * that is locked stays so until it is opened again.
 */
export class Live {
  constructor(onSummary, onState) {
    this.onSummary = onSummary;
    this.onState = onState;
    this.now = { state: "connecting", since: Date.now(), reasons: [], error: null };
    this.tries = 0;
    // A browser has six connections to a place: a tab that nobody sees leaves its own to others.
    document.addEventListener("visibilitychange", () => {
      if (this.query === undefined) return;
      if (document.hidden) {
        clearTimeout(this.retry);
        clearTimeout(this.looking);
        this.source?.abort();
        this.source = undefined;
      } else if (!this.source && this.now.state !== "locked") {
        this.open(this.query);
      }
    });
  }

  open(query) {
    this.query = query;
    this.tries = 0;
    if (this.now.state === "locked") this.#change({ state: "connecting" });
    this.#listen();
    this.#look();
  }

  /** The agents ask for a token that we do not have. */
  lock() {
    this.source?.abort();
    this.source = undefined;
    clearTimeout(this.retry);
    this.#change({ state: "locked" });
  }

  #change(more) {
    const state = more.state ?? this.now.state;
    this.now = { ...this.now, ...more, since: state === this.now.state ? this.now.since : Date.now() };
    this.onState(this.now);
  }

  async #listen() {
    this.source?.abort();
    clearTimeout(this.retry);
    const source = new AbortController();
    this.source = source;
    let locked = false;
    try {
      for await (const data of events(`events?${this.query}`, "summary", source.signal)) {
        if (source !== this.source) return;
        this.tries = 0;
        this.#change({ state: "live", error: null });
        this.onSummary(JSON.parse(data));
      }
    } catch (error) {
      locked = error instanceof Locked;
      if (!(locked || error instanceof TypeError || error instanceof DOMException)) console.warn(error.message);
    }
    if (source !== this.source) return; // another one took its place, or nobody looks
    this.#change({ state: locked ? "locked" : "lost" });
    if (locked) {
      this.source = undefined;
      return;
    }
    const pause = RETRY_MS[Math.min(this.tries, RETRY_MS.length - 1)];
    this.tries += 1;
    this.retry = setTimeout(() => this.#listen(), pause);
  }

  /** Whether the agents are ready. A stream on which nothing changes does not tell that its other end is gone. */
  async #look() {
    clearTimeout(this.looking);
    try {
      const { reasons } = await ask("readyz");
      this.#change({ reasons });
    } catch {
      if (this.now.state === "live") {
        this.#change({ state: "lost" });
        this.#listen();
      }
    }
    if (!document.hidden) this.looking = setTimeout(() => this.#look(), READY_EVERY_MS);
  }
}
