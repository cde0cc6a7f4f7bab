// One connection for all tabs of a browser: this tab's half. One tab leads and has the connection; every tab, the
// leader's too, has a link to it.

import { Hub } from "./hub.js";

/**
 * A tab among others of the same name. Whoever holds the lock of the name leads; when its tab goes, however it goes, the
 * browser gives the lock to another, which says so, and everybody comes to it with its cursors.
 */
export class Tab {
  #name;
  #lead;
  #failed;
  #id = randomId();
  #channel;
  /** Links of this tab, by number. */
  #links = new Map();
  #lastLink = 0;
  #hub = null;
  #release = null;
  #ended = new AbortController();
  #present = null;
  #ready;

  /**
   * @param {string} name what tabs must agree on to share a connection
   * @param {(heed: object) => object} lead makes the connection, for a hub
   * @param {() => void} failed called where the browser has no locks for this page
   */
  constructor(name, lead, failed) {
    this.#name = `tidings ${name}`;
    this.#lead = lead;
    this.#failed = failed;
    const { signal } = this.#ended;
    // A page that is put away can hold no lock, and one that is taken out again begins anew.
    globalThis.addEventListener?.("pagehide", () => this.#end(), { signal });
    globalThis.addEventListener?.("pageshow", ({ persisted }) => persisted && this.#begin(), { signal });
    this.#begin();
  }

  /** Opens a link to the leader: the driver of the transport `tab`. */
  open = (_context, _request, on) => {
    const link = ++this.#lastLink;
    const patience = setTimeout(() => this.#steal(), LEADER_TIME * (1 + Math.random()));
    const forget = () => {
      clearTimeout(patience);
      this.#links.delete(link);
    };
    const ended = (outcome) => {
      forget();
      on.ended(outcome);
    };
    this.#links.set(link, { on, ended, patience, hub: undefined });
    this.#post(link, { open: true });
    return {
      send: (texts) => this.#post(link, { texts }),
      close: () => {
        this.#post(link, { close: true });
        forget();
      },
    };
  };

  /** Goes on alone. */
  close() {
    this.#ended.abort();
    this.#end();
  }

  #begin() {
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = ({ data }) => this.#take(data);
    const present = new AbortController();
    this.#present = present;
    // What the leader waits for to know that this tab is gone; so nothing is said before it is held.
    this.#ready = new Promise((ready) => {
      this.#hold(`${this.#name} ${this.#id}`, { signal: present.signal }, () => {
        ready();
        return until(present.signal);
      });
    });
    this.#apply({ ifAvailable: true });
    // Some browsers say that a page is seen before they say that it is taken out: a link that was opened between the two has
    // reached nobody.
    this.#take({ leader: true });
  }

  #end() {
    this.#present?.abort();
    this.#release?.();
    this.#hub?.close();
    this.#hub = null;
    this.#channel?.close();
    this.#channel = null;
  }

  /** Asks for the lead: now if it is free, and else when it is. */
  #apply(options) {
    const { signal } = this.#present;
    this.#hold(this.#name, options.ifAvailable || options.steal ? options : { signal }, (lock) => {
      if (signal.aborted) return;
      if (!lock) return void this.#apply({});
      return this.#rule(signal);
    }).then((stolen) => {
      // It was thought dead, and is not.
      if (!stolen || signal.aborted) return;
      this.#hub?.close();
      this.#hub = null;
      this.#apply({});
    });
  }

  #rule(signal) {
    this.#hub?.close();
    this.#hub = new Hub(this.#name, randomId(), this.#lead);
    return Promise.race([until(signal), new Promise((release) => { this.#release = release; })]);
  }

  #steal() {
    if (!this.#hub && this.#channel) this.#apply({ steal: true });
  }

  #take({ leader, hub, to, text }) {
    if (leader) {
      for (const [link, { hub, ended }] of this.#links) {
        if (hub) ended({ reason: "moved", retry: HAND_OVER });
        else this.#post(link, { open: true });
      }
      return;
    }
    for (const [tab, link] of to ?? []) {
      const mine = tab === this.#id && this.#links.get(link);
      if (!mine || (mine.hub ?? hub) !== hub) continue;
      clearTimeout(mine.patience);
      if (!mine.hub) {
        mine.hub = hub;
        mine.on.opened();
      }
      mine.on.alive();
      mine.on.text(text);
    }
  }

  /** Holds a lock while what `then` returns is pending. Resolves to whether it was taken away. */
  #hold(name, options, then) {
    return navigator.locks.request(name, options, then).then(() => false, (error) => {
      // Either it was asked for no longer, or another one has stolen it.
      if (error.name === "AbortError") return !options.signal?.aborted;
      if (!this.#ended.signal.aborted) this.#failed();
      return false;
    });
  }

  #post(link, what) {
    const channel = this.#channel;
    const hub = this.#links.get(link)?.hub;
    this.#ready.then(() => channel === this.#channel && channel?.postMessage({ tab: this.#id, link, hub, ...what }));
  }
}

function until(signal) {
  return new Promise((done) => {
    if (signal.aborted) done();
    signal.addEventListener("abort", done, { once: true });
  });
}

/** Not randomUUID, which a page over plain HTTP does not have. */
export function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Milliseconds for a leader to answer; one that does not is frozen, and is deposed. */
const LEADER_TIME = 3_000;
/** Milliseconds within which the tabs come to a new leader. */
const HAND_OVER = [0, 50];
