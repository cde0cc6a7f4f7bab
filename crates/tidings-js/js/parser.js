// Reading event streams (WHATWG HTML §9.2.5), as far as a stream of JSON objects needs it: data and `retry`.

/** Reads an event stream from pieces of text, wherever they were cut. */
export class EventParser {
  /** What the server has said last about coming back, in milliseconds. */
  retry;
  #rest = "";
  #data = null;
  /** The last piece ended with a CR, to which a LF at the beginning of the next one belongs. */
  #carriage = false;

  /** Takes a piece, and gives the data of each event that it completes. */
  *feed(piece) {
    if (piece === "") return;
    let begin = this.#carriage && piece[0] === "\n" ? 1 : 0;
    this.#carriage = piece.endsWith("\r");
    LINE_END.lastIndex = begin;
    for (let end; (end = LINE_END.exec(piece)); begin = end.index + end[0].length) {
      const line = this.#rest + piece.slice(begin, end.index);
      this.#rest = "";
      const { lastIndex } = LINE_END;
      const data = this.#line(line);
      if (data !== undefined) yield data;
      // Other streams may have been read meanwhile.
      LINE_END.lastIndex = lastIndex;
    }
    this.#rest += piece.slice(begin);
    if (this.#rest.length + (this.#data?.length ?? 0) > LONGEST) throw new Error("an event without an end");
  }

  #line(line) {
    if (line === "") {
      const data = this.#data;
      this.#data = null;
      return data ?? undefined;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") this.#data = this.#data === null ? value : `${this.#data}\n${value}`;
    else if (field === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
  }
}

const LINE_END = /\r\n|\n|\r/g;
/** Characters of an event: far above what any server takes. */
const LONGEST = 32 << 20;
