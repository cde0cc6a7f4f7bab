// What the client has to say: publishes and calls, in order, until each is answered.

import { TidingsError } from "./errors.js";

/**
 * Publishes and calls that are not answered yet, in order. Bounded: what does not fit is refused at once.
 *
 * A publish whose answer was lost is sent again with its key, within the time that the server remembers keys; a call
 * may have been done, and is not sent twice.
 */
export class Outbox {
  #entries = new Map();
  #bytes = 0;
  #lastRef = 0;

  get size() {
    return this.#entries.size;
  }

  /** A number that no other command has. */
  ref() {
    return ++this.#lastRef;
  }

  /** Takes a command in, and gives its reference. */
  add(command, limit) {
    const ref = this.ref();
    const text = JSON.stringify({ ...command, ref });
    const bytes = new TextEncoder().encode(text).length;
    if (bytes > limit) throw tooLarge(`${bytes} bytes of ${limit}`);
    if (this.#entries.size >= QUEUE || this.#bytes + bytes > QUEUE_BYTES) {
      throw new TidingsError("queue_full", "too much is waiting");
    }
    this.#bytes += bytes;
    // Sent as it was then, whatever becomes of the data.
    const repeats = command.type === "publish";
    this.#entries.set(ref, { ref, text, bytes, repeats, tried: null, unsure: false, via: null, alone: false });
    return ref;
  }

  /** The texts to send next over a way, at most so many and so long together. */
  take(now, via, count = Infinity, limit = Infinity) {
    const taken = [];
    let bytes = 2;
    for (const entry of this.#entries.values()) {
      if (entry.via !== null) continue;
      bytes += entry.bytes + 1;
      const first = taken.length === 0;
      if (taken.length >= count || (!first && (bytes > limit || entry.alone))) break;
      entry.via = via;
      entry.tried ??= now;
      taken.push(entry.text);
      if (entry.alone) break;
    }
    return taken;
  }

  /** Whether this reference waits for an answer; then it no longer does. */
  settle(ref) {
    const entry = this.#entries.get(ref);
    if (!entry) return false;
    this.#entries.delete(ref);
    this.#bytes -= entry.bytes;
    return true;
  }

  /**
   * What was sent over a way has no answer and will have none. Gives the references that are given up: calls, unless
   * it is known that `nothing` was done.
   */
  lost(via, nothing) {
    const gone = [];
    for (const entry of this.#entries.values()) {
      if (entry.via !== via) continue;
      entry.via = null;
      if (!nothing) entry.unsure = true;
      if (!entry.unsure) entry.tried = null;
      else if (!entry.repeats) gone.push(entry.ref);
    }
    return gone;
  }

  /** The server takes less than was sent at once. Gives the reference that is too large by itself, if it is known. */
  tooMuch(via) {
    const sent = [...this.#entries.values()].filter((entry) => entry.via === via);
    // A request of several is sent again one by one; of messages, the longest is the one.
    if (via === VIA_POST && sent.length > 1) {
      for (const entry of sent) entry.alone = true;
      return null;
    }
    return sent.reduce((most, entry) => (most && most.bytes >= entry.bytes ? most : entry), null)?.ref ?? null;
  }

  /** The references that were tried so long ago that a repeat might be taken for another. */
  expire(now) {
    return this.refs().filter((ref) => this.#expiry(ref) <= now);
  }

  /** When the first of them comes to be so old. */
  get expiry() {
    return this.refs().reduce((first, ref) => Math.min(first, this.#expiry(ref)), Infinity);
  }

  /** All references. */
  refs() {
    return [...this.#entries.keys()];
  }

  #expiry(ref) {
    const { tried } = this.#entries.get(ref);
    return tried === null ? Infinity : tried + KEY_TIME;
  }
}

/** The error for a command that the server does not take. */
export function tooLarge(what) {
  return new TidingsError("too_large", `too large: ${what}`);
}

/** The error for a command whose answer was lost. */
export function unknownOutcome() {
  return new TidingsError("unknown_outcome", "no answer came; it may have been done");
}

/** The ways up: frames of a link, or a request. */
export const VIA_LINK = "link";
export const VIA_POST = "post";
/** Commands, and their bytes, that may wait. */
const QUEUE = 256;
const QUEUE_BYTES = 4 << 20;
/** Below the five minutes for which a server remembers keys. */
const KEY_TIME = 240_000;
