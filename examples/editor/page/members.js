// Who else is here, and where: in a room that keeps nothing.

import {
  createAbsolutePositionFromRelativePosition, createRelativePositionFromJSON, createRelativePositionFromTypeIndex,
} from "./yjs.js";

/** Milliseconds between two words of ours, from a word to the next where nothing happens, and after which one is gone. */
const PACE = 100;
const BEAT = 5_000;
const LIFE = 3 * BEAT;
/** Others that are shown. */
const MOST = 50;

export class Members {
  #tidings;
  #room;
  #shared;
  #changed;
  #me;
  #selection = null;
  #others = new Map();
  #timer = null;
  #sending = false;
  #unsaid = false;
  #asking = true;

  /** @param {() => void} changed hears that others have come, moved or gone */
  constructor(tidings, document, shared, { id, name }, changed) {
    this.#tidings = tidings;
    this.#shared = shared;
    this.#me = { id, name };
    this.#changed = changed;
    this.#room = tidings.join(`members:${document}`);
    this.#room.on("here", (data) => this.#hear(Object(data)));
    this.#room.on("gone", (data) => {
      if (this.#others.delete(Object(data).id)) changed();
    });
    this.#room.on("joined", () => {
      this.#asking = true;
      this.#say();
    });
    setInterval(() => {
      this.#forget();
      this.#say();
    }, BEAT);
    // The client's connection ends with the page: a request of its own outlives it.
    addEventListener("pagehide", () => {
      const gone = { type: "publish", room: this.#room.name, event: "gone", data: { id } };
      navigator.sendBeacon("./realtime/send", new Blob([JSON.stringify(gone)], { type: "application/json" }));
    });
    addEventListener("pageshow", () => this.#say());
  }

  /** The others, each with where its selection is now. */
  list() {
    return Array.from(this.#others.values(), (other) => ({ ...other, selection: this.#places(other.selection) }));
  }

  rename(name) {
    this.#me.name = name;
    this.#say();
  }

  /** Where our own selection is; null where the text has no focus. */
  select(selection) {
    const { text } = this.#shared;
    const ends = selection?.map((index) => createRelativePositionFromTypeIndex(text, index)) ?? null;
    if (JSON.stringify(ends) === JSON.stringify(this.#selection)) return;
    this.#selection = ends;
    this.#say();
  }

  /** Tells the others of us, soon. */
  #say() {
    this.#unsaid = true;
    if (this.#timer !== null || this.#sending) return;
    this.#timer = setTimeout(async () => {
      this.#timer = null;
      // Nothing is to wait for a connection: where we were then is of no use.
      if (this.#tidings.state !== "live") return;
      this.#unsaid = false;
      this.#sending = true;
      const ask = this.#asking;
      this.#asking = false;
      try {
        await this.#room.publish("here", { ...this.#me, selection: this.#selection, ask });
      } catch {
        // The next one comes within seconds.
      } finally {
        this.#sending = false;
      }
      if (this.#unsaid) this.#say();
    }, PACE);
  }

  /** Anybody may publish anything, so nothing about the data is taken for granted. */
  #hear({ id, name, selection, ask }) {
    if (typeof id !== "string" || id === this.#me.id) return;
    const isNew = !this.#others.has(id);
    if (isNew && this.#others.size >= MOST) return;
    this.#others.set(id, { id, name: clean(name), selection: parse(selection), seen: Date.now() });
    if (isNew || ask === true) this.#say();
    this.#changed();
  }

  #forget() {
    const before = this.#others.size;
    for (const { id, seen } of this.#others.values()) {
      if (Date.now() - seen > LIFE) this.#others.delete(id);
    }
    if (this.#others.size !== before) this.#changed();
  }

  /** Both ends as numbers, or null where one is not known (yet). */
  #places(selection) {
    const ends = selection?.map((end) => createAbsolutePositionFromRelativePosition(end, this.#shared.doc));
    return ends?.every((end) => end?.type === this.#shared.text) ? ends.map(({ index }) => index) : null;
  }
}

function clean(name) {
  return (typeof name === "string" && name.trim().slice(0, 40)) || "somebody";
}

function parse(selection) {
  if (!Array.isArray(selection) || selection.length !== 2) return null;
  try {
    return selection.map(createRelativePositionFromJSON);
  } catch {
    return null; // no place
  }
}
