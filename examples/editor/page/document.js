// A document as this page has it, and how it becomes the same everywhere.
//
// The server gives its state and the place in the room where that state stands; joined from there, the room brings every
// later update once and in order. Only where it cannot (`gap`) the document is opened anew: merging does no harm, whatever was
// there before.

import {
  Doc, applyUpdate, encodeStateAsUpdate, encodeStateVector, equalSnapshots, mergeUpdates, snapshot,
} from "./yjs.js";

/** The origin of what others have written. */
const SERVER = Symbol("server");
/** Bytes after which no more updates are merged into one to be sent. */
const PIECE = 64 << 10;
/** Milliseconds until what the server could not take just now is sent again. */
const LATER = 2_000;
/** Codes of refusals that do not last. */
const PASSING = ["unavailable", "busy", "queue_full"];

export class SharedDocument {
  doc = new Doc();
  text = this.doc.getText("text");
  /** Whether the server's state has come. */
  opened = false;
  /** Why the server does not take what was written here, or null. */
  refused = null;
  #tidings;
  #name;
  #heed;
  #room = null;
  #attempt = 0;
  #unsent = [];
  #sending = false;
  /** What waits until a person has composed a character. */
  #held = null;

  /**
   * @param {import("./realtime/tidings.js").Tidings} tidings
   * @param {string} name
   * @param {{change: () => void, ended: (error: Error) => void}} heed who hears that something of the above has changed
   */
  constructor(tidings, name, heed) {
    this.#tidings = tidings;
    this.#name = name;
    this.#heed = heed;
    this.doc.on("update", (update, origin) => {
      if (origin === SERVER) return;
      this.#unsent.push(update);
      // Perhaps it is taken now, with this.
      if (this.refused) this.open();
      else this.#send();
    });
  }

  /** Whether everything that was written here is at the server. */
  get saved() {
    return this.#unsent.length === 0 && !this.#sending;
  }

  /** Takes the server's state, and goes on from there. */
  async open() {
    const attempt = ++this.#attempt;
    this.#room?.leave();
    this.#room = null;
    this.refused = null;
    let answer;
    try {
      answer = await this.#tidings.call("open", { document: this.#name });
    } catch (error) {
      if (attempt !== this.#attempt || error.code === "closed") return;
      // To open it twice does no harm.
      if (error.code === "unknown_outcome") return this.open();
      if (PASSING.includes(error.code)) return setTimeout(() => attempt === this.#attempt && this.open(), LATER);
      return this.#heed.ended(error);
    }
    if (attempt !== this.#attempt) return;
    const state = fromBase64(answer.state);
    this.#merge(state);
    this.#unsent = missing(this.doc, state);
    this.#join(answer.cursor);
    this.opened = true;
    this.#send();
  }

  /** From here on what others write waits, so that a character that is being composed is not disturbed. */
  hold() {
    this.#held ??= [];
  }

  /** What has waited is shown. */
  release() {
    const held = this.#held ?? [];
    this.#held = null;
    for (const update of held) this.#merge(update);
  }

  #join(cursor) {
    const room = this.#tidings.join(`document:${this.#name}`, { from: cursor });
    this.#room = room;
    room.on("update", (update) => this.#merge(fromBase64(update)));
    room.on("gap", () => this.open());
    // The server has missed something, and asks for it.
    room.on("lost", () => this.open());
    room.on("error", (error) => this.#heed.ended(error));
  }

  #merge(update) {
    if (this.#held) this.#held.push(update);
    else applyUpdate(this.doc, update, SERVER);
  }

  /** Sends what was written, one update after the other; what is written meanwhile is one update. */
  async #send() {
    this.#heed.change();
    if (!this.#room || this.#sending || this.#unsent.length === 0) return;
    const update = this.#piece();
    this.#sending = true;
    try {
      // Waits in the client's queue while there is no connection, and is published once.
      await this.#room.publish("update", toBase64(update));
    } catch (error) {
      this.#unsent.unshift(update);
      if (error.code === "closed") return;
      if (error.code === "unknown_document") this.open(); // the server was restarted
      else if (PASSING.includes(error.code)) await new Promise((done) => setTimeout(done, LATER));
      else if (error.code !== "unknown_outcome") this.refused = error; // else once more: twice is as good as once
    } finally {
      this.#sending = false;
    }
    if (this.refused) this.#heed.change();
    else this.#send();
  }

  /** The first unsent updates, as one that is not too large. */
  #piece() {
    let count = 0;
    for (let bytes = 0; count < this.#unsent.length && bytes < PIECE; count++) bytes += this.#unsent[count].length;
    return mergeUpdates(this.#unsent.splice(0, count));
  }
}

/** What a document has and a state has not, as updates. */
function missing(doc, state) {
  const other = new Doc();
  applyUpdate(other, state);
  const same = equalSnapshots(snapshot(other), snapshot(doc));
  return same ? [] : [encodeStateAsUpdate(doc, encodeStateVector(other))];
}

function toBase64(bytes) {
  let binary = "";
  // As many arguments as any browser takes.
  for (let at = 0; at < bytes.length; at += 0x8000) binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(binary);
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}
