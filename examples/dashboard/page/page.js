// A dashboard: of each room the newest value counts. Values come as they come; what is newest when the browser is
// about to show a frame is drawn, and nothing else.

import { Tidings } from "./realtime/tidings.js";
import { Chart } from "./chart.js";

const LABELS = new Map([["sse", "Server-Sent Events"], ["ws", "WebSocket"], ["poll", "Long polling"]]);
const MIB = 1 << 20;

/** What is shown: where, and what of a room's values. */
const FIGURES = [
  { title: "CPU of this process", unit: "%", room: "server", digits: 1, low: 0, of: (data) => data.process_cpu },
  { title: "CPU of the machine", unit: "%", room: "server", digits: 1, low: 0, high: 100, of: (data) => data.machine_cpu },
  { title: "Memory", unit: "MiB", room: "server", digits: 1, low: 0, of: (data) => data.memory && data.memory / MIB },
  { title: "Published", unit: "/s", room: "server", digits: 0, low: 0, of: (data) => data.published },
  { title: "Temperature", unit: "°C", room: "simulated/temperature", digits: 1, low: 55, high: 90 },
  { title: "Pressure", unit: "bar", room: "simulated/pressure", digits: 2, low: 2, high: 6.5 },
  { title: "Flow", unit: "l/s", room: "simulated/flow", digits: 1, low: 10, high: 55 },
  { title: "Vibration", unit: "mm/s", room: "simulated/vibration", digits: 2, low: 0, high: 5 },
];

const ui = Object.fromEntries(
  ["state", "transports", "pause", "received", "frames", "skipped", "sessions", "real", "simulated", "card"]
    .map((id) => [id, document.getElementById(id)]),
);

const asked = new URLSearchParams(location.search).get("transport");
if (LABELS.has(asked)) ui.transports.querySelector(`[value=${asked}]`).checked = true;
const transport = () => ui.transports.querySelector("input:checked").value;

// Each tab by itself: it is to show what one transport brings.
const tidings = new Tidings("./realtime", { transports: [transport()], share: false });

// ---- Showing -------------------------------------------------------------------------------------------------

/** What has come since the last frame, by room: the newest alone. */
const newest = new Map();
const counts = { received: 0, frames: 0, skipped: 0 };
const reduced = matchMedia("(prefers-reduced-motion: reduce)");
let paused = false;
let scheduled = false;

function card({ title, unit, room, digits, low, high, of = (data) => data.value }) {
  const real = room === "server";
  const element = ui.card.content.firstElementChild.cloneNode(true);
  const part = (name) => element.querySelector(`.${name}`);
  part("name").textContent = title;
  part("unit").textContent = unit;
  const canvas = part("chart");
  canvas.ariaLabel = `${title}${real ? "" : ", simulated"}: the last 20 seconds`;
  (real ? ui.real : ui.simulated).append(element);
  const chart = new Chart(canvas, { low, high });
  new ResizeObserver(() => chart.fit()).observe(canvas);
  const write = (name, text) => { if (part(name).textContent !== text) part(name).textContent = text; };
  return {
    room,
    chart,
    show(data) {
      const value = of(data);
      if (typeof value !== "number") return write("value", "not known here");
      chart.add(data.at, value);
      chart.draw();
      const [bottom, top] = chart.range;
      write("value", value.toFixed(digits));
      write("high", String(top));
      write("low", String(bottom));
      if (data.n) write("number", `#${data.n}`);
    },
  };
}

const cards = FIGURES.map(card);

/** Shows the newest values in the next frame; where less motion is wanted, once in a second. */
function schedule() {
  if (scheduled || paused) return;
  scheduled = true;
  if (reduced.matches) setTimeout(draw, 1_000);
  else requestAnimationFrame(draw);
}

function draw() {
  scheduled = false;
  if (paused) return;
  counts.frames += 1;
  for (const { room, show } of cards) if (newest.has(room)) show(newest.get(room));
  const figures = newest.get("server");
  if (figures) ui.sessions.textContent = sessions(figures.sessions);
  newest.clear();
}

function sessions(counts) {
  return Object.entries(counts).map(([name, count]) => `${count} ${name}`).join(", ") || "none";
}

// ---- Reading -------------------------------------------------------------------------------------------------

/** The rooms, by name. */
export const rooms = new Map();

function read(name) {
  const room = tidings.join(name);
  let last = null;
  rooms.set(name, room);
  room.on("value", (data) => {
    counts.received += 1;
    // The instruments count their updates: what lies between two was too fast for this page or its network.
    if (data.n > last) counts.skipped += last === null ? 0 : data.n - last - 1;
    last = data.n ?? null;
    newest.set(name, data);
    schedule();
  });
  room.on("gap", () => { last = null; }); // another server, which counts anew
  room.on("error", (error) => follow({ state: "closed", error }));
}

for (const name of new Set(FIGURES.map(({ room }) => room))) read(name);

let connected = false;

function follow({ state, error, reason = "" }) {
  const label = LABELS.get(tidings.transport);
  if (state === "live") connected = true;
  const [kind, text] = state === "closed" ? ["ended", `Ended: ${error.message}`]
    : state === "live" ? ["live", `Live over ${label}`]
    : connected ? ["waiting", `Reconnecting over ${label} …`]
    : ["waiting", `Connecting over ${label} …`];
  ui.state.dataset.state = kind;
  ui.state.title = reason;
  // Only a change is said aloud, and never a value.
  if (ui.state.textContent !== text) ui.state.textContent = text;
  // What is shown is old, and looks so.
  document.body.classList.toggle("stale", connected && state !== "live");
}

tidings.on("state", follow);
follow({ state: "connecting" });

// ---- The page ------------------------------------------------------------------------------------------------

let since = performance.now();
setInterval(() => {
  const now = performance.now();
  const rate = (count) => Math.round(count / ((now - since) / 1_000));
  ui.received.textContent = `${rate(counts.received)}/s`;
  ui.frames.textContent = `${rate(counts.frames)}/s`;
  ui.skipped.textContent = String(counts.skipped);
  counts.received = counts.frames = 0;
  since = now;
}, 1_000);

ui.transports.addEventListener("change", () => tidings.use([transport()]));
ui.pause.addEventListener("click", () => {
  paused = !paused;
  ui.pause.ariaPressed = String(paused);
  if (!paused) schedule();
});
for (const query of ["(prefers-color-scheme: dark)", `(resolution: ${devicePixelRatio}dppx)`]) {
  matchMedia(query).addEventListener("change", () => cards.forEach(({ chart }) => chart.fit()));
}
