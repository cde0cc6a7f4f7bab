// A text field and a shared text that always say the same.

import { UndoManager } from "./yjs.js";

export class Binding {
  #area;
  #shared;
  #undo;

  /**
   * @param {HTMLTextAreaElement} area
   * @param {import("./document.js").SharedDocument} shared
   */
  constructor(area, shared) {
    this.#area = area;
    this.#shared = shared;
    this.#undo = new UndoManager(shared.text, { trackedOrigins: new Set([this]) });
    area.value = shared.text.toString();
    shared.text.observe(({ delta, transaction }) => {
      if (transaction.origin !== this) this.#show(delta);
    });
    area.addEventListener("input", (event) => {
      if (!event.isComposing) this.#take();
    });
    // A character that takes several keys: until it is there, nothing else happens to the field.
    area.addEventListener("compositionstart", () => shared.hold());
    area.addEventListener("compositionend", () => {
      this.#take();
      shared.release();
    });
    // The browser's own undo knows nothing of what others have written in between.
    area.addEventListener("beforeinput", (event) => {
      if (event.inputType === "historyUndo") this.#undoOrRedo(event, false);
      if (event.inputType === "historyRedo") this.#undoOrRedo(event, true);
    });
    area.addEventListener("keydown", (event) => {
      if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
      const key = event.key.toLowerCase();
      if (key === "z") this.#undoOrRedo(event, event.shiftKey);
      if (key === "y" && event.ctrlKey) this.#undoOrRedo(event, true);
    });
  }

  #undoOrRedo(event, redo) {
    event.preventDefault();
    if (redo) this.#undo.redo();
    else this.#undo.undo();
  }

  /** What was written into the field becomes an edit of the text. */
  #take() {
    const { text, doc } = this.#shared;
    const edit = difference(text.toString(), this.#area.value, this.#area.selectionEnd);
    if (!edit) return;
    doc.transact(() => {
      text.delete(edit.at, edit.removed);
      text.insert(edit.at, edit.inserted);
    }, this);
    // Half a character was made whole.
    if (this.#area.value !== text.toString()) this.#write();
  }

  /** What happened to the text happens to the field, and the selection stays where it is. */
  #show(delta) {
    const area = this.#area;
    let { selectionStart: start, selectionEnd: end, selectionDirection: direction } = area;
    let at = 0;
    for (const { retain = 0, insert, delete: removed = 0 } of delta) {
      at += retain;
      if (typeof insert === "string") {
        area.setRangeText(insert, at, at, "preserve");
        // At its edges, what others write is outside of the selection.
        if (at < start || (at === start && start < end)) start += insert.length;
        if (at < end) end += insert.length;
        at += insert.length;
      } else if (removed) {
        area.setRangeText("", at, at + removed, "preserve");
        start -= Math.min(Math.max(start - at, 0), removed);
        end -= Math.min(Math.max(end - at, 0), removed);
      }
    }
    this.#select(start, end, direction);
    // Not while those who watch the text are told.
    if (area.value !== this.#shared.text.toString()) queueMicrotask(() => this.#repair());
  }

  /**
   * What a text field cannot hold is edited away: pictures, and what other systems add to line ends. It is deleted and
   * nothing more, for every page that sees it does the same.
   */
  #repair() {
    const { text, doc } = this.#shared;
    doc.transact(() => {
      let at = 0;
      for (const { insert } of text.toDelta()) {
        for (const unit of typeof insert === "string" ? insert.split("") : [null]) {
          if (unit === null || unit === "\r") text.delete(at, 1);
          else at += 1;
        }
      }
    }, this);
    this.#write();
  }

  /** Makes the field say what the text says. */
  #write() {
    const { selectionStart, selectionEnd, selectionDirection } = this.#area;
    this.#area.value = this.#shared.text.toString();
    this.#select(selectionStart, selectionEnd, selectionDirection);
  }

  #select(start, end, direction) {
    // Some browsers give the focus to a field whose selection is set.
    if (document.activeElement === this.#area) this.#area.setSelectionRange(start, end, direction);
  }
}

/**
 * The smallest edit that makes one text of another: where, how much is removed, and what is inserted. Of several, the one
 * that ends where the caret is. Halves of characters are neither cut off nor inserted.
 */
export function difference(before, after, caret) {
  if (before === after) return null;
  const most = Math.min(before.length, after.length);
  let tail = 0;
  const grow = (limit) => {
    while (tail < limit && before[before.length - 1 - tail] === after[after.length - 1 - tail]) tail++;
  };
  grow(Math.min(most, after.length - caret));
  let head = 0;
  while (head < most - tail && before[head] === after[head]) head++;
  grow(most - head);
  if (head > 0 && isHigh(before[head - 1])) head--;
  if (tail > 0 && isLow(before[before.length - tail])) tail--;
  return { at: head, removed: before.length - tail - head, inserted: after.slice(head, after.length - tail).toWellFormed() };
}

function isHigh(unit) {
  return unit >= "\ud800" && unit <= "\udbff";
}

function isLow(unit) {
  return unit >= "\udc00" && unit <= "\udfff";
}
