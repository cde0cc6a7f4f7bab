// When to come back: a random time, so that a fleet that lost a server at once does not return at once.

/** Full jitter: a random time below a bound that doubles. */
export class Backoff {
  #random;
  #bound = BACKOFF_BASE;

  constructor(random) {
    this.#random = random;
  }

  /**
   * Milliseconds until the next attempt.
   * @param {{retry?: [number, number], hint?: [number, number]}} [told] what the server has said: `retry` for this
   *   end alone, and `hint` for every end, to which failures add their own
   */
  next({ retry, hint } = {}) {
    if (retry) return within(retry, this.#random);
    const delay = this.#random() * this.#bound;
    this.#bound = Math.min(this.#bound * 2, BACKOFF_CAP);
    return hint ? Math.max(delay, within(hint, this.#random)) : delay;
  }

  /** Only after a connection that has held: one that opens and dies is a failure like any other. */
  reset() {
    this.#bound = BACKOFF_BASE;
  }
}

/** A random time in a window that the server has named, of whatever the server may have written there. */
export function within(window, random) {
  const [least, most] = window.map((time) => (time >= 0 ? Math.min(time, LONGEST_HINT) : 0));
  return least + random() * Math.max(0, most - least);
}

/** The window for a server that has named one moment to everybody: never before it, and not all at once. */
export function windowFrom(milliseconds) {
  return [milliseconds, milliseconds + Math.max(1_000, milliseconds / 2)];
}

/** Milliseconds; PROTOCOL.md section 7. */
export const BACKOFF_BASE = 1_200;
export const BACKOFF_CAP = 30_000;
/** A server that says "next year" is asked again in an hour. */
const LONGEST_HINT = 3_600_000;
