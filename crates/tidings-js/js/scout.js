// A look at a better transport, while the one in use goes on.

/**
 * A link that brings no events: it is only to show whether it would. It must say something, take something up where it
 * can, and live past the moment at which what cuts connections cuts them.
 */
export class Scout {
  id;
  transport;
  /** When to judge it. */
  due;
  #first = null;
  #last = null;
  #words = 0;

  constructor(now, id, transport) {
    this.id = id;
    this.transport = transport;
    this.due = now + HEAR;
  }

  /** Something came. Says whether to send something up. */
  heard(now) {
    this.#last = now;
    this.#words += 1;
    if (this.#first !== null) return false;
    this.#first = now;
    this.due = now + (this.transport.duplex ? HOLD : SIGN);
    return this.transport.duplex;
  }

  /** Whether it has shown that it works. */
  get works() {
    return this.transport.duplex ? this.#words > 1 : this.#last - this.#first >= LATER;
  }
}

/** Milliseconds for the first word. */
const HEAR = 10_000;
/** Milliseconds that it must live after it, where it answers what is sent up. */
const HOLD = 3_000;
/** Milliseconds in which a stream gives a sign of life, and after which it is one: what is held back on the way comes at once. */
const SIGN = 30_000;
const LATER = 1_000;
