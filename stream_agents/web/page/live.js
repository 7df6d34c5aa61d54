// The connection to the agents: the stream of numbers, whether they are ready, and questions to the API.

const READY_EVERY_MS = 5000;
const ANSWER_WITHIN_MS = 8000;
const RETRY_MS = [1000, 2000, 4000, 8000, 15_000];

/** A question that the agents refuse; asking again does not help. */
export class Refused extends Error {}

export async function ask(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(ANSWER_WITHIN_MS), headers: { Accept: "application/json" } });
  const body = await response.json();
  if (response.status === 400) throw new Refused(body.error);
  if (!response.ok && path !== "readyz") throw new Error(`${path}: ${response.status}`);
  return body;
}

/**
 * Keeps a stream open. `onSummary(numbers)`; `onState({state, since, reasons, error})` where state is connecting, live
 * or lost. A stream that broke is opened again, with growing pauses; a broken one is also found by asking.
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
        this.source?.close();
        this.source = undefined;
      } else if (!this.source) {
        this.open(this.query);
      }
    });
  }

  open(query) {
    this.query = query;
    this.tries = 0;
    this.#listen();
    this.#look();
  }

  #change(more) {
    const state = more.state ?? this.now.state;
    this.now = { ...this.now, ...more, since: state === this.now.state ? this.now.since : Date.now() };
    this.onState(this.now);
  }

  #listen() {
    this.source?.close();
    clearTimeout(this.retry);
    const source = new EventSource(`events?${this.query}`);
    this.source = source;
    source.addEventListener("summary", (event) => {
      if (source !== this.source) return;
      this.tries = 0;
      this.#change({ state: "live", error: null });
      this.onSummary(JSON.parse(event.data));
    });
    source.addEventListener("error", () => {
      if (source !== this.source) return;
      source.close();
      this.#change({ state: "lost" });
      const pause = RETRY_MS[Math.min(this.tries, RETRY_MS.length - 1)];
      this.tries += 1;
      this.retry = setTimeout(() => this.#listen(), pause);
    });
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
