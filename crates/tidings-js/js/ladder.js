// Which transport: the first that works, down after failures of its own, up again later.

/**
 * The transports in their order, and where on them the client stands.
 *
 * A transport is left after three failures in a row, or ten seconds of them. Whether that was its fault or the server's,
 * only the next one can tell: it gets one try. If all fail, nothing is wrong with the first, and it is the first
 * again; one that works although the first has failed is kept, and what is above it is looked at again later: soon where it
 * has worked before or where everything had failed, then ever more rarely.
 */
export class Ladder {
  #transports;
  #random;
  #at = 0;
  #strikes = 0;
  #since = null;
  /** The current one has not been live since the one above it was left. */
  #trial = false;
  /** Every transport has failed since the last stable connection. */
  #blind = false;
  /** Those that were live, and have not failed when they were looked at again. */
  #seen = new Set();
  #pace = PROMOTION_FIRST;
  #target = 0;

  /** @param {{name: string, duplex: boolean}[]} transports at least one, best first */
  constructor(transports, random) {
    this.#transports = transports;
    this.#random = random;
  }

  get current() {
    return this.#transports[this.#at];
  }

  /** What to look at when the time to promote has come. */
  get above() {
    return this.#transports[this.#target];
  }

  /** A connection did not come to be, or died soon. `hopeless`: it told nothing although it was there. */
  failed(now, started, hopeless) {
    this.#strikes += 1;
    this.#since ??= started;
    if (!hopeless && !this.#trial && this.#strikes < STRIKES && now - this.#since < PATIENCE) return;
    this.#at = (this.#at + 1) % this.#transports.length;
    this.#trial = this.#at > 0;
    this.#target = 0;
    this.#forgive();
    if (!this.#trial) this.#blind = true;
  }

  /** The current one is live. Gives how long to wait before looking at what is above it: for ever, if nothing is. */
  live() {
    this.#trial = false;
    this.#seen.add(this.current.name);
    return this.#at > 0 ? this.#pause() : Infinity;
  }

  /** The current one has held. */
  stable() {
    this.#forgive();
    if (this.#at > 0) return;
    this.#blind = false;
    this.#pace = PROMOTION_FIRST;
  }

  /** What is above was looked at and works. */
  promoted() {
    this.#at = this.#target;
    this.#target = 0;
    this.#forgive();
  }

  /** What is above was looked at and does not work. Gives how long to wait before looking again. */
  notPromoted() {
    this.#blind = false;
    this.#seen.delete(this.above.name);
    this.#target = (this.#target + 1) % this.#at;
    return this.#pause();
  }

  #forgive() {
    this.#strikes = 0;
    this.#since = null;
  }

  #pause() {
    if (this.#blind) return this.#random() * PROMOTION_BLIND;
    if (this.#seen.has(this.above.name)) return PROMOTION_SEEN * (1 + this.#random());
    const pause = this.#pace * (0.5 + this.#random() / 2);
    this.#pace = Math.min(this.#pace * 2, PROMOTION_LAST);
    return pause;
  }
}

const STRIKES = 3;
/** Milliseconds of failures after which a transport is left; also how long one may take to open. */
export const PATIENCE = 10_000;
const PROMOTION_BLIND = 2_000;
const PROMOTION_SEEN = 5_000;
const PROMOTION_FIRST = 60_000;
const PROMOTION_LAST = 600_000;
