// All times at which something is to be done, in one table.

/** Named times. One that is set again moves. */
export class Timers {
  #due = new Map();

  at(name, due) {
    this.#due.set(name, due);
  }

  has(...names) {
    return names.some((name) => this.#due.has(name));
  }

  delete(...names) {
    for (const name of names) this.#due.delete(name);
  }

  clear() {
    this.#due.clear();
  }

  get first() {
    return Math.min(...this.#due.values());
  }

  /** Those that have come, each once. What one of them takes back or moves is not among them. */
  *take(now) {
    for (const [name, due] of [...this.#due]) {
      if (due > now || this.#due.get(name) !== due) continue;
      this.#due.delete(name);
      yield name;
    }
  }
}
