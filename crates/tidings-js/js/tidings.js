// Tidings for browsers: rooms over WebSocket, Server-Sent Events or long-polling, each event once and in order, or a gap
// that says so. This is what applications import; the wire is in PROTOCOL.md.

import { TidingsError, errorOf } from "./errors.js";
import { Listeners } from "./listeners.js";
import { Reader } from "./reader.js";
import { Room } from "./room.js";
import { Runtime } from "./runtime.js";
import { Tab, randomId } from "./share/tab.js";
import { transports } from "./transports.js";

export { TidingsError };

/** A client of one Tidings server. */
export class Tidings {
  #context;
  #rooms = new Map();
  #listeners = new Listeners();
  #runtime;
  #tab = null;
  #state = { state: "idle" };
  #keys = randomId();
  #lastKey = 0;

  /**
   * @param {string} base where the server's endpoints stand, such as `/realtime`; outside of a page, with its origin
   * @param {object} [options] see `TidingsOptions` in `tidings.d.ts`
   */
  constructor(base, options = {}) {
    const { token, tokenIn = "header", credentials = "same-origin", share = token === undefined } = options;
    const { fetch = globalThis.fetch, WebSocket = globalThis.WebSocket, EventSource = globalThis.EventSource } = options;
    const names = options.transports ?? ["ws", "sse", "poll"];
    this.#context = {
      base: new URL(base, globalThis.location?.href).href.replace(/\/+$/, ""),
      fetch: fetch && ((...args) => fetch(...args)),
      WebSocket, EventSource, credentials, tokenIn, hasToken: token !== undefined, native: options.eventSource === true,
    };
    const real = transports(names, this.#context);
    const heed = {
      tell: (room, message) => this.#rooms.get(room)?.take(message),
      refuse: (name, error) => {
        const room = this.#rooms.get(name);
        this.#rooms.delete(name);
        room?.refuse(error);
      },
      state: (change) => this.#change(change),
      note: (message) => this.#hear(message),
    };
    if (share !== false && globalThis.navigator?.locks && globalThis.BroadcastChannel) {
      // Tabs share a connection only where they would make the same one.
      const name = JSON.stringify([this.#context.base, names, share]);
      this.#tab = new Tab(name, (hub) => new Runtime(this.#context, real, options, hub), () => {
        // A sandboxed frame, say: alone then.
        if (this.#tab) this.#alone(real);
      });
      this.#runtime = new Runtime(this.#context, [{ name: "tab", duplex: true, local: true, open: this.#tab.open }], options, heed);
    } else {
      this.#runtime = new Runtime(this.#context, real, options, heed);
    }
  }

  /** `idle`, `connecting`, `live`, `waiting` (to try again), `offline` or `closed`. */
  get state() {
    return this.#state.state;
  }

  /** The transport in use, or the next to be tried. */
  get transport() {
    return this.#tab ? this.#state.transport : this.#runtime.transport;
  }

  /** Listens to `state`: `{ state, transport, reason, error, delay }`. Returns what stops listening. */
  on(name, listener) {
    return this.#listeners.on(name, listener);
  }

  /**
   * Enters a room. In a room where the client is already, the same room comes back.
   * @param {string} name
   * @param {{from?: string}} [options] `now` (unless given), `start`, or the `cursor` of a room
   */
  join(name, { from = "now" } = {}) {
    const known = this.#rooms.get(name);
    if (known) return known;
    // What cannot be is said at once, wherever the connection is.
    new Reader(name, from);
    const room = new Room(name, this);
    this.#rooms.set(name, room);
    try {
      this.#runtime.join(name, from);
    } catch (error) {
      this.#rooms.delete(name);
      throw error;
    }
    return room;
  }

  /** Publishes an event into a room, whether the client is in it or not. */
  async publish(room, event, data, { key = `${this.#keys}.${++this.#lastKey}` } = {}) {
    const { id } = await this.#runtime.submit({ type: "publish", room, event, data, key });
    return id ?? null;
  }

  /** Calls a method of the server's application. Resolves to what it answers. */
  async call(method, data) {
    const answer = await this.#runtime.submit({ type: "call", method, data });
    return answer.data;
  }

  /** Goes on over other transports, from where every room stands; by itself, if the connection was shared. */
  use(names) {
    this.#alone(transports(names, this.#context));
  }

  /** Ends everything. What waits is rejected. */
  close() {
    this.#end();
  }

  /** For a room: it is left. */
  leave({ name }) {
    this.#rooms.delete(name);
    this.#runtime.leave(name);
  }

  #alone(real) {
    this.#tab?.close();
    this.#tab = null;
    this.#runtime.use(real);
  }

  #end(error) {
    this.#runtime.close(error);
    this.#tab?.close();
  }

  /** What the leading tab says of the connection. */
  #hear({ error, ...upstream }) {
    if (upstream.state === "closed") return this.#end(errorOf(error));
    this.#tell(upstream);
  }

  #change(change) {
    // Of the link to the leader, that it is there says nothing.
    if (!this.#tab || change.state !== "live") this.#tell(this.#tab ? { ...change, transport: this.transport } : change);
  }

  #tell({ type: _, ...change }) {
    this.#state = change;
    this.#listeners.tell("state", change);
  }
}
