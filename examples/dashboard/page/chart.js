// A chart of what a value has been lately, drawn on a canvas.

/** Milliseconds that a chart shows. */
const SPAN = 20_000;
/** Milliseconds of a point: more of them than this would lie on one pixel. */
const STEP = SPAN / 500;
/** Milliseconds without a value after which the line breaks off. */
const BREAK = 1_600;

export class Chart {
  #canvas;
  #pen;
  #range;
  #colours = {};
  /** What was drawn: { at, value }, oldest first. */
  #points = [];

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{low: number, high?: number}} range without `high` it grows as the values do
   */
  constructor(canvas, range) {
    this.#canvas = canvas;
    this.#pen = canvas.getContext("2d");
    this.#range = range;
  }

  /** The values at the bottom and at the top. */
  get range() {
    const { low, high } = this.#range;
    return [low, high ?? ceiling(1.1 * this.#points.reduce((most, { value }) => Math.max(most, value), low))];
  }

  add(at, value) {
    // The newest value is always there, and takes the place of one that is about as new.
    if (at < this.#points.at(-2)?.at + STEP) this.#points.pop();
    this.#points.push({ at, value });
    let old = 0;
    while (this.#points[old].at < at - SPAN) old += 1;
    if (old > 0) this.#points.splice(0, old);
  }

  /** Takes the size and the colours that the page gives it now. */
  fit() {
    const { clientWidth, clientHeight } = this.#canvas;
    this.#canvas.width = clientWidth * devicePixelRatio;
    this.#canvas.height = clientHeight * devicePixelRatio;
    const style = getComputedStyle(this.#canvas);
    this.#colours = { line: style.color, grid: style.getPropertyValue("--line") };
    this.draw();
  }

  draw() {
    const pen = this.#pen;
    const { width, height } = this.#canvas;
    const scale = devicePixelRatio;
    pen.clearRect(0, 0, width, height);
    pen.lineWidth = scale;
    pen.strokeStyle = this.#colours.grid;
    pen.beginPath();
    for (const part of [0, 0.5, 1]) {
      const y = Math.round(part * (height - scale)) + scale / 2;
      pen.moveTo(0, y);
      pen.lineTo(width, y);
    }
    pen.stroke();
    if (this.#points.length === 0) return;

    const [low, high] = this.range;
    const end = this.#points.at(-1).at;
    const x = (at) => width * (1 - (end - at) / SPAN) - 3 * scale;
    const y = (value) => {
      const part = Math.min(1, Math.max(0, (value - low) / (high - low)));
      return (height - 4 * scale) * (1 - part) + 2 * scale;
    };
    pen.strokeStyle = pen.fillStyle = this.#colours.line;
    pen.lineWidth = 1.5 * scale;
    pen.lineJoin = "round";
    pen.beginPath();
    let before = -Infinity;
    for (const { at, value } of this.#points) {
      if (at - before > BREAK) pen.moveTo(x(at), y(value));
      else pen.lineTo(x(at), y(value));
      before = at;
    }
    pen.stroke();
    pen.beginPath();
    pen.arc(x(end), y(this.#points.at(-1).value), 3 * scale, 0, 2 * Math.PI);
    pen.fill();
  }
}

/** The next round number above: 1, 2 or 5 and zeros. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return power * [1, 2, 5, 10].find((step) => step * power >= value);
}
