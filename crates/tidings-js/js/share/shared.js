// A room that several tabs read over one connection: a ring of what came last, and where each tab stands.

import { isFinal } from "../errors.js";
import { isPosition } from "../reader.js";

/**
 * What the leader knows of a room. A tab that comes with a cursor goes on from the ring; one whose place is not there
 * reads from the server until it stands in the ring, or at a place that the ring is about to reach.
 */
export class SharedRoom {
  #name;
  #hub;
  /** The place before the oldest item, once the connection is in the room. */
  #base = null;
  /** What came last: { id, text }. */
  #items = [];
  #size = 0;
  /** Tabs by their link: { link, ref, at, live, told, timer }. */
  #tabs = new Map();

  /** @param {{send: Function, peek: Function, empty: () => void}} hub */
  constructor(name, hub) {
    this.#name = name;
    this.#hub = hub;
  }

  add(link, ref, from) {
    const tab = { link, ref, at: from, live: false, told: false, first: this.#tabs.size === 0 };
    this.#tabs.set(link, tab);
    if (this.#base !== null) this.#attach(tab);
  }

  delete(link) {
    const tab = this.#tabs.get(link);
    if (!tab) return;
    clearTimeout(tab.timer);
    this.#tabs.delete(link);
    if (this.#tabs.size === 0) this.#hub.empty();
  }

  /** What the connection has brought. */
  take(message) {
    const { type, id, cursor } = message;
    if (type === "joined") return this.#base === null && this.#begin(message, cursor);
    const text = JSON.stringify(message);
    const all = [...this.#tabs.values()];
    this.#hub.send(all.filter(({ live }) => live || type === "end").map(({ link }) => link), text);
    if (id === undefined || type === "end") return;
    this.#items.push({ id, text });
    this.#size += text.length;
    while (this.#items.length > RING || this.#size > RING_SIZE) {
      const { id: gone, text: old } = this.#items.shift();
      this.#base = gone;
      this.#size -= old.length;
    }
    for (const tab of all) if (!tab.live && tab.at === id) this.#goLive(tab);
  }

  refuse(error) {
    for (const { link } of this.#tabs.values()) this.#hub.send([link], { type: "error", room: this.#name, ...error });
    this.close();
  }

  close() {
    for (const { timer } of this.#tabs.values()) clearTimeout(timer);
    this.#tabs.clear();
  }

  /** The connection is in the room, from where the first tab wanted to begin. */
  #begin(joined, cursor) {
    this.#base = cursor;
    for (const tab of this.#tabs.values()) {
      if (!tab.first) this.#attach(tab);
      else this.#tellJoined(tab, joined), (tab.live = true);
    }
  }

  #tellJoined(tab, { cursor, recovered }) {
    if (tab.told) return;
    tab.told = true;
    this.#hub.send([tab.link], { type: "joined", ref: tab.ref, room: this.#name, cursor, recovered });
  }

  #attach(tab) {
    if (!isPosition(tab.at)) return void this.#read(tab);
    if (!this.#goLive(tab)) this.#wait(tab, RING_TIME);
  }

  /** Goes on from the ring, if the tab's place is there. */
  #goLive(tab) {
    const at = this.#items.findLastIndex(({ id }) => id === tab.at);
    if (at < 0 && tab.at !== this.#base) return false;
    clearTimeout(tab.timer);
    this.#tellJoined(tab, { cursor: tab.at, recovered: true });
    for (const { text } of this.#items.slice(at + 1)) this.#hub.send([tab.link], text);
    tab.live = true;
    return true;
  }

  /** The ring may come to the tab's place; if it does not, the tab is behind it. */
  #wait(tab, time) {
    clearTimeout(tab.timer);
    tab.timer = setTimeout(() => this.#read(tab), time);
  }

  async #read(tab) {
    let messages;
    try {
      messages = await this.#hub.peek(tab.at);
    } catch (outcome) {
      if (!this.#has(tab)) return;
      // What the connection itself is refused, it will be told itself.
      return this.#wait(tab, isFinal(outcome) ? READ_TIME * 4 : READ_TIME * (0.5 + Math.random()));
    }
    if (!this.#has(tab)) return;
    let moved = false;
    for (const message of messages) {
      const { type, id, cursor, recovered } = message;
      if (type === "hello") continue;
      if (type === "joined") {
        this.#tellJoined(tab, message);
        if (recovered) tab.at = cursor;
        continue;
      }
      this.#hub.send([tab.link], message);
      if (type === "error" || type === "end") return this.delete(tab.link);
      if (id === undefined) continue;
      moved = true;
      tab.at = id;
    }
    if (this.#goLive(tab)) return;
    if (moved) return this.#read(tab);
    this.#wait(tab, READ_TIME);
  }

  #has(tab) {
    return this.#tabs.get(tab.link) === tab;
  }
}

/** Messages that are kept for tabs that come, and their characters together. */
const RING = 256;
const RING_SIZE = 1 << 20;
/** Milliseconds for the ring to reach the place of a tab that may be ahead of it. */
const RING_TIME = 500;
/** Milliseconds until the server is asked again. */
const READ_TIME = 2_000;
