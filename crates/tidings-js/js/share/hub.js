// One connection for all tabs of a browser: the leader's half. To each tab it is a server that speaks the protocol over a
// BroadcastChannel; to the server it is one client.

import { SharedRoom } from "./shared.js";

/** What the leading tab does for all. */
export class Hub {
  #name;
  /** Which hub it is: one that was thought dead must not answer for another. */
  #hub;
  #channel;
  #upstream;
  #state = { type: "upstream", state: "idle" };
  #rooms = new Map();
  /** Links by tab and number: { to, rooms }. */
  #links = new Map();
  #watched = new Set();
  #closed = new AbortController();

  /** @param {(heed: object) => object} lead makes the connection to the server */
  constructor(name, hub, lead) {
    this.#name = name;
    this.#hub = hub;
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }) => this.#take(data);
    this.#upstream = lead({
      tell: (room, message) => this.#rooms.get(room)?.take(message),
      refuse: (room, error) => this.#refuse(room, error),
      state: (state) => {
        this.#state = { ...state, type: "upstream", error: state.error && plain(state.error) };
        this.#send([...this.#links.values()], this.#state);
      },
      note() {},
    });
    this.#channel.postMessage({ leader: true });
  }

  close() {
    this.#closed.abort();
    this.#upstream.close();
    this.#channel.close();
    for (const shared of this.#rooms.values()) shared.close();
    this.#rooms.clear();
  }

  #take({ tab, link: number, hub, open, close, texts }) {
    if (tab === undefined || (hub ?? this.#hub) !== this.#hub) return;
    const key = `${tab} ${number}`;
    if (open) {
      if (this.#links.has(key)) return;
      const link = { to: [tab, number], rooms: new Set() };
      this.#links.set(key, link);
      this.#watch(tab);
      this.#send([link], { type: "hello", heartbeat: HEARTBEAT });
      this.#send([link], this.#state);
    } else if (close) {
      this.#drop(key);
    } else if (this.#links.has(key)) {
      for (const text of texts ?? []) this.#perform(this.#links.get(key), JSON.parse(text));
    }
  }

  #perform(link, { type, ref, room, from, ...command }) {
    switch (type) {
      case "join": return this.#join(link, ref, room, from);
      case "leave": return this.#leave(link, room);
      case "ping": return this.#send([link], { type: "pong", ref });
      default:
        this.#upstream.submit({ type, room, ...command }).then(
          (answer) => this.#send([link], { type: "reply", ref, ...answer }),
          (error) => this.#send([link], { type: "error", ref, ...plain(error) }),
        );
    }
  }

  #join(link, ref, room, from) {
    link.rooms.add(room);
    let shared = this.#rooms.get(room);
    if (!shared) {
      shared = new SharedRoom(room, {
        send: (links, message) => this.#send(links, message),
        peek: (at) => this.#upstream.peek(room, at),
        empty: () => {
          this.#rooms.delete(room);
          this.#upstream.leave(room);
        },
      });
      this.#rooms.set(room, shared);
    }
    shared.add(link, ref, from);
    try {
      // Nothing, where it is there already.
      this.#upstream.join(room, from);
    } catch (error) {
      this.#refuse(room, error);
    }
  }

  #refuse(room, error) {
    this.#rooms.get(room)?.refuse(plain(error));
    this.#rooms.delete(room);
  }

  #leave(link, room) {
    link.rooms.delete(room);
    this.#rooms.get(room)?.delete(link);
  }

  #drop(key) {
    const link = this.#links.get(key);
    this.#links.delete(key);
    for (const room of link?.rooms ?? []) this.#leave(link, room);
  }

  /** Drops what a tab has when the tab is gone: then the lock is free that it holds. */
  #watch(tab) {
    if (this.#watched.has(tab)) return;
    this.#watched.add(tab);
    const gone = () => {
      this.#watched.delete(tab);
      for (const [key, { to }] of this.#links) if (to[0] === tab) this.#drop(key);
    };
    navigator.locks.request(`${this.#name} ${tab}`, { signal: this.#closed.signal }, gone).catch((error) => {
      if (!this.#closed.signal.aborted) throw error;
    });
  }

  /** Sends a message, or one that is text already, to links. */
  #send(links, message) {
    if (this.#closed.signal.aborted || links.length === 0) return;
    const text = typeof message === "string" ? message : JSON.stringify(message);
    this.#channel.postMessage({ hub: this.#hub, to: links.map(({ to }) => to), text });
  }
}

/** An error as a message can carry it. */
function plain({ code, message, status }) {
  return { code, message, status };
}

/** Milliseconds after which a tab that hears nothing asks whether the leader is there. */
const HEARTBEAT = 5_000;
