// Who else is here, and where: in a room that keeps nothing.

import {
  createAbsolutePositionFromRelativePosition, createRelativePositionFromJSON, createRelativePositionFromTypeIndex,
} from "./yjs.js";

/** Milliseconds between two words of ours, from a word to the next where nothing happens, and after which one is gone. */
const PACE = 100;
const BEAT = 5_000;
const LIFE = 3 * BEAT;
/** A place goes along with what is before it, as the caret of a text field does. */
const LEFT = -1;
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
  /** Who went last: their last words may come after that they went. */
  #gone = new Set();
  #timer = null;
  #sending = false;
  #unsaid = false;
  #asking = true;

  /** @param {() => void} changed hears that others have come, moved or gone */
  constructor(tidings, document, shared, name, changed) {
    this.#tidings = tidings;
    this.#shared = shared;
    this.#me = { id: randomId(), name };
    this.#changed = changed;
    this.#room = tidings.join(`members:${document}`);
    this.#room.on("here", (data) => this.#hear(Object(data)));
    this.#room.on("gone", (data) => this.#part(Object(data).id));
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
      const gone = { type: "publish", room: this.#room.name, event: "gone", data: { id: this.#me.id } };
      navigator.sendBeacon("./realtime/send", new Blob([JSON.stringify(gone)], { type: "application/json" }));
    });
    addEventListener("pageshow", ({ persisted }) => {
      if (!persisted) return;
      this.#me.id = randomId(); // who has gone does not come back
      this.#asking = true;
      this.#say();
    });
  }

  /** The others, each with a number that no other has and with where its selection is now. */
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
    const ends = selection?.map((index) => createRelativePositionFromTypeIndex(text, index, LEFT)) ?? null;
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
    if (typeof id !== "string" || id === this.#me.id || this.#gone.has(id)) return;
    const isNew = !this.#others.has(id);
    if (isNew && this.#others.size >= MOST) return;
    const number = this.#others.get(id)?.number ?? this.#free();
    this.#others.set(id, { id, number, name: clean(name), selection: parse(selection), seen: Date.now() });
    if (isNew || ask === true) this.#say();
    this.#changed();
  }

  #part(id) {
    this.#gone.add(id);
    if (this.#gone.size > MOST) this.#gone.delete(this.#gone.values().next().value);
    if (this.#others.delete(id)) this.#changed();
  }

  /** The first number from one on that no other has. */
  #free() {
    const taken = new Set(Array.from(this.#others.values(), ({ number }) => number));
    let number = 1;
    while (taken.has(number)) number++;
    return number;
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

/** Not randomUUID, which a page over plain HTTP does not have. */
export function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function clean(name) {
  return (typeof name === "string" && name.trim().slice(0, 40)) || "somebody";
}

function parse(selection) {
  const fits = Array.isArray(selection) && selection.length === 2 && selection.every(isPlace);
  return fits ? selection.map(createRelativePositionFromJSON) : null;
}

/** Whether this can be a place in the text, known here or not yet. At others, looking them up ends with an exception. */
function isPlace(end) {
  const { type, tname, item } = Object(end);
  if ((type ?? null) !== null || tname !== "text") return false;
  return (item ?? null) === null || [item.client, item.clock].every((number) => Number.isSafeInteger(number) && number >= 0);
}
