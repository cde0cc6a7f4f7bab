// A room, as the application sees it.

import { Backlog } from "./backlog.js";
import { Listeners, report } from "./listeners.js";

/** A room that the client is in. Made by `Tidings.join`. */
export class Room {
  /** Its name. */
  name;
  /** Where the application stands in it: what to go on from, on any client. Null until the room was joined. */
  cursor = null;
  #client;
  #listeners = new Listeners();
  #backlogs = new Set();
  #over = false;

  constructor(name, client) {
    this.name = name;
    this.#client = client;
  }

  /**
   * Listens to events of a name, or to what the room itself has to say: `joined`, `gap` (something is missing), `end`
   * (the last event was the last), `error` (the room is not open to us), and `event` for events of every name.
   * @returns {() => void} stops listening
   */
  on(name, listener) {
    return this.#listeners.on(name, listener);
  }

  /** Publishes an event. Resolves to its position, or to null where the room keeps none. */
  publish(event, data, options) {
    return this.#client.publish(this.name, event, data, options);
  }

  /** Leaves the room. */
  leave() {
    if (this.#over) return;
    this.#client.leave(this);
    this.#finish();
  }

  /**
   * What comes from here on, events and gaps, as objects of the protocol. Whoever takes them too slowly is told so by a gap
   * with the reason `slow` in place of what it missed. It ends with the room, and throws what `error` would be told.
   */
  [Symbol.asyncIterator]() {
    const backlog = new Backlog(this.name, () => this.#backlogs.delete(backlog));
    if (this.#over) backlog.finish();
    else this.#backlogs.add(backlog);
    return backlog;
  }

  /** What came for the room. */
  take(message) {
    const { type, id, event, data } = message;
    if (type === "event") {
      if (!OWN.includes(event)) this.#listeners.tell(event, data, message);
      this.#listeners.tell("event", data, message);
    } else {
      this.#listeners.tell(type, message);
    }
    if (type === "joined") this.cursor = message.recovered ? message.cursor : this.cursor ?? message.cursor;
    else this.cursor = id ?? this.cursor;
    if (type !== "joined" && type !== "end") for (const backlog of this.#backlogs) backlog.add(message);
    if (type === "end") this.#finish();
  }

  /** It is not open to us. */
  refuse(error) {
    const told = this.#listeners.tell("error", error);
    if (!told && this.#backlogs.size === 0 && error.code !== "closed") report(error);
    this.#finish(error.code === "closed" ? undefined : error);
  }

  #finish(error) {
    this.#over = true;
    for (const backlog of this.#backlogs) backlog.finish(error);
  }
}

/** Names of what a room says itself. Events that are called so are heard as `event`. */
const OWN = ["joined", "gap", "end", "error", "event"];
