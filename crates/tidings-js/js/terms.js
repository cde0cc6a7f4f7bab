// What the server takes and how often it speaks, as it says in its first word; and the times of the client itself.

/** What the server takes and how often it speaks: what is usual, until it says otherwise. */
export class Terms {
  /** Milliseconds of silence after which the server says something, or is to be asked. */
  heartbeat = 20_000;
  /** `rooms` of a client; bytes of a `message`; `commands` of a request. */
  limits = { message: 1 << 20, commands: 64 };

  /** Takes a `hello`. */
  hear({ heartbeat, limits }) {
    if (heartbeat > 0) this.heartbeat = Math.min(Math.max(heartbeat, SHORTEST), LONGEST);
    for (const [name, limit] of Object.entries(limits ?? {})) if (limit > 0) this.limits[name] = limit;
  }
}

/** Milliseconds: whatever a server says, a link is neither asked all the time nor believed for hours. */
const SHORTEST = 1_000;
const LONGEST = 60_000;

/** Milliseconds after which a connection counts as stable. */
export const STABLE = 10_000;
/** Milliseconds that a join waits for other joins, where a stream must be opened for them. */
export const GATHER = 10;
/** Milliseconds within which a page that is seen again comes back. */
export const WAKE = 500;
/** Milliseconds within which a room is asked for again that the server had no place for. */
export const REJOIN = 5_000;
