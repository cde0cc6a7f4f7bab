// Whether the other side is still there.

/**
 * Looks after the silence of one link. Any byte counts as life. Timers of hidden pages come up to a minute late, and after
 * a sleep what was received waits behind them: whoever looks too late looks again before it calls a link dead.
 */
export class Watch {
  /** When to look. */
  due;
  #seen;
  #heartbeat;
  #pings;
  #asked = false;
  #looks = 0;

  /** @param {boolean} pings whether the other side can be asked */
  constructor(now, heartbeat, pings) {
    this.#heartbeat = heartbeat;
    this.#pings = pings;
    this.alive(now);
  }

  /** Milliseconds of silence after which the server says something, or is asked to. */
  set heartbeat(heartbeat) {
    this.#heartbeat = heartbeat;
    this.alive(this.#seen);
  }

  get seen() {
    return this.#seen;
  }

  /** Something came. */
  alive(now) {
    this.#seen = now;
    this.#asked = false;
    this.#looks = 0;
    this.due = now + this.#heartbeat * (this.#pings ? 1 : LIMIT);
  }

  /** The page was away or the network has changed: who can be asked is asked, else a long silence ends soon. */
  look(now) {
    if (this.#pings) return this.#ask(now, now + this.#heartbeat * GRACE * 2);
    if (now - this.#seen > this.#heartbeat * SUSPECT) this.due = now + this.#heartbeat * GRACE;
    return null;
  }

  /** @returns {"ping" | "dead" | null} what to do */
  tick(now) {
    if (now < this.due) return null;
    const late = now - this.due > LATE;
    if (this.#pings && !this.#asked) {
      return this.#ask(now, Math.max(this.#seen + this.#heartbeat * LIMIT, now + this.#heartbeat * GRACE));
    }
    if (!late || this.#looks >= LOOKS) return "dead";
    this.#looks += 1;
    return this.#ask(now, now + this.#heartbeat * GRACE);
  }

  #ask(now, due) {
    this.due = due;
    this.#asked = true;
    return this.#pings ? "ping" : null;
  }
}

/** In heartbeats: how long a silence may be, how long is suspect, how long an answer may take. */
const LIMIT = 1.75;
const SUSPECT = 1.25;
const GRACE = 0.25;
/** Milliseconds by which a timer may be late and still be believed. */
const LATE = 2_000;
/** How often a late look is followed by another one. */
const LOOKS = 2;
