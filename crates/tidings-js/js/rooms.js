// The rooms the client wants to be in, and what of them the link brings.

import { TidingsError } from "./errors.js";
import { Reader } from "./reader.js";

/** The rooms the client wants to be in, and what of them the link brings. */
export class Rooms {
  #readers = new Map();
  /** Rooms by the references of joins under way. */
  #joins = new Map();

  get size() {
    return this.#readers.size;
  }

  /** Readers, in the order of their joins. */
  all() {
    return [...this.#readers.values()];
  }

  get(room) {
    return this.#readers.get(room);
  }

  has(room) {
    return this.#readers.has(room);
  }

  /** Another room, from somewhere. Throws where the one or the other cannot be. */
  add(room, from, most) {
    const reader = new Reader(room, from);
    if (this.size >= most) throw new TidingsError("too_many_rooms", `at most ${most} rooms`);
    this.#readers.set(room, reader);
  }

  delete(room) {
    return this.#readers.delete(room);
  }

  clear() {
    this.#readers.clear();
  }

  /** The joins that the link does not know of, each with a reference of its own. */
  joins(nextRef) {
    const texts = [];
    for (const reader of this.#readers.values()) {
      if (reader.joined || this.#joins.has(reader.ref)) continue;
      const { room, at } = reader;
      reader.ref = nextRef();
      this.#joins.set(reader.ref, room);
      texts.push(JSON.stringify({ type: "join", ref: reader.ref, room, from: at }));
    }
    return texts;
  }

  /** The room whose join this was, which is answered now. */
  answered(ref) {
    const room = this.#joins.get(ref);
    this.#joins.delete(ref);
    // An answer to a join that was taken back.
    return this.#readers.get(room)?.ref === ref ? room : undefined;
  }

  /** Takes what came for a room, and says whether the application is to hear of it. */
  take(message) {
    const reader = this.#readers.get(message.room);
    if (!reader) return false;
    if (message.type === "end") return this.#readers.delete(message.room);
    if (message.type === "joined") {
      this.#joins.delete(message.ref);
      // Left and joined again, it is the second answer that counts: between the two, events were missed.
      if (message.ref !== reader.ref) return false;
    } else if (!reader.joined) {
      return false;
    }
    return reader.take(message);
  }

  /** There is no link any more. */
  unlink() {
    this.#joins.clear();
    for (const reader of this.#readers.values()) {
      reader.joined = false;
      reader.ref = undefined;
    }
  }
}
