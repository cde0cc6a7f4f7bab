// What a loop over a room has not taken yet.

/**
 * The asynchronous iterator over a room. It holds so many messages; whoever is further behind loses them all, and finds a
 * gap in their place, as a client that is too slow for the server does.
 */
export class Backlog {
  #room;
  #left;
  #messages = [];
  /** Calls of `next` that wait. */
  #waiting = [];
  #over = false;
  #error;

  /** @param {() => void} left called when the loop was left */
  constructor(room, left) {
    this.#room = room;
    this.#left = left;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  next() {
    if (this.#messages.length > 0) return Promise.resolve({ value: this.#messages.shift(), done: false });
    if (!this.#over) return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
    const error = this.#error;
    this.#error = undefined;
    return error ? Promise.reject(error) : Promise.resolve({ value: undefined, done: true });
  }

  return() {
    this.#messages = [];
    this.finish();
    return Promise.resolve({ value: undefined, done: true });
  }

  add(message) {
    const waiting = this.#waiting.shift();
    if (waiting) return waiting.resolve({ value: message, done: false });
    this.#messages.push(message);
    if (this.#messages.length <= BACKLOG) return;
    const last = this.#messages.findLast(({ id }) => id !== undefined);
    this.#messages = [{ type: "gap", room: this.#room, id: last?.id, reason: "slow" }];
  }

  finish(error) {
    if (this.#over) return;
    this.#over = true;
    this.#left();
    this.#error = error;
    for (const { resolve, reject } of this.#waiting.splice(0)) {
      if (this.#error) reject(this.#error);
      else resolve({ value: undefined, done: true });
      this.#error = undefined;
    }
  }
}

/** Messages that a loop may be behind. */
const BACKLOG = 1_000;
