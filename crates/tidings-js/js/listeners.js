// Who hears of what.

/** Functions by the name of what they want to hear. */
export class Listeners {
  #all = new Map();

  /** Adds a function. Gives a function that takes it away again. */
  on(name, listener) {
    const own = { listener };
    this.#all.set(name, [...(this.#all.get(name) ?? []), own]);
    return () => this.#all.set(name, this.#all.get(name).filter((other) => other !== own));
  }

  /** Tells all of a name. One that throws does not keep the others from hearing. Says whether there was any. */
  tell(name, ...args) {
    const listeners = this.#all.get(name) ?? [];
    for (const { listener } of listeners) {
      try {
        listener(...args);
      } catch (error) {
        report(error);
      }
    }
    return listeners.length > 0;
  }
}

/** What nobody has caught goes where uncaught errors go. */
export function report(error) {
  if (globalThis.reportError) return reportError(error);
  queueMicrotask(() => {
    throw error;
  });
}
