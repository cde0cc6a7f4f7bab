// Where the client stands in one room.

import { TidingsError } from "./errors.js";

/** Where the client stands in one room: what its cursor is, and which events it had. */
export class Reader {
  /** Where to go on from: what was asked for, then a cursor. Opaque, as the protocol wants it. */
  at;
  /** Whether the link brings this room. */
  joined = false;
  /** The reference of its join, on links that are told of joins. */
  ref;
  /** Whether new credentials were asked for because of this room. */
  renewed = false;
  #seen = new Set();

  constructor(room, from) {
    const length = new TextEncoder().encode(room).length;
    if (length < 1 || length > 200 || /^~|[\u0000-\u001f\u007f-\u009f]/.test(room)) {
      throw new TidingsError("bad_room", "no name of a room");
    }
    if (!/^(now|start|p[0-9a-z]+\.[0-9a-z]+\.[0-9a-z]+)$/.test(from)) {
      throw new TidingsError("bad_cursor", "neither now, start, nor a room's cursor");
    }
    this.room = room;
    this.at = from;
  }

  /** The cursor, once there is one. */
  get cursor() {
    return isPosition(this.at) ? this.at : null;
  }

  /** Takes what came for this room, and says whether it is news. */
  take(message) {
    const { type, id } = message;
    if (type === "event") return id === undefined || this.#advance(id);
    if (type === "gap") {
      // Events that came before it may come again, and are not repeats.
      this.#seen.clear();
      this.at = id;
    } else if (type === "joined") {
      this.joined = true;
      this.renewed = false;
      // Else a gap comes next. Cut off before it, the client comes back to where it was, and hears of it again.
      if (message.recovered) this.at = message.cursor;
    }
    return true;
  }

  #advance(id) {
    if (this.#seen.has(id)) return false;
    this.#seen.add(id);
    if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.values().next().value);
    this.at = id;
    return true;
  }
}

/** Whether a text is a place in a room, and not `now` or `start`. */
export function isPosition(text) {
  return text !== "now" && text !== "start";
}

/** Positions kept to know a repeat. */
const REMEMBERED = 128;
