// An editor: a shared document, the field that shows it, and those who write in it.

import { Binding } from "./binding.js";
import { SharedDocument } from "./document.js";
import { Members, randomId } from "./members.js";
import { Tidings } from "./realtime/tidings.js";

const LABELS = new Map([["ws", "WebSocket"], ["sse", "Server-Sent Events"], ["poll", "Long polling"]]);

const ui = Object.fromEntries(
  ["heading", "state", "name", "transports", "members", "marks", "text", "saved", "count", "copy", "new"]
    .map((id) => [id, document.getElementById(id)]),
);

/** Storage may be forbidden, and then its mere mention throws. */
function stored(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function store(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Then the page forgets it.
  }
}

const asked = new URLSearchParams(location.search);
const name = (asked.get("document") ?? "").replace(/[^\w.-]+/g, "-").slice(0, 60) || "welcome";
ui.heading.textContent = name;
document.title = `${name} · Tidings editor`;
ui.new.href = `./?${new URLSearchParams({ document: randomId() })}`;
ui.name.value = asked.get("name")?.slice(0, 40) ?? stored("tidings-editor-name") ?? `Guest ${100 + Math.floor(Math.random() * 900)}`;
for (const input of ui.transports.elements) input.checked ||= input.value === asked.get("transport");

/** The transports that are chosen: one, or all, of which the client takes the first that works. */
function transports() {
  const { value } = ui.transports.querySelector("input:checked");
  return value === "auto" ? [...LABELS.keys()] : [value];
}

// ---- The document --------------------------------------------------------------------------------------------

// Each tab by itself: two of them are to show two transports in one document.
const tidings = new Tidings("./realtime", { transports: transports(), share: false });
let ended = null;
/** Whether something is to be shown with the next frame. */
let drawing = false;
const shared = new SharedDocument(tidings, name, {
  change: showSaved,
  ended(error) {
    ended = error;
    ui.text.readOnly = true;
    showState();
    showSaved();
  },
});
new Binding(ui.text, shared);
const members = new Members(tidings, name, shared, ui.name.value, draw);
tidings.on("state", () => {
  showState();
  showSaved();
});
shared.text.observe(draw);

// ---- How it stands -------------------------------------------------------------------------------------------

/** Only a change is said aloud. */
function show(element, kind, text) {
  element.dataset.state = kind;
  if (element.textContent !== text) element.textContent = text;
}

function showState() {
  const label = LABELS.get(tidings.transport);
  if (ended) show(ui.state, "ended", `Ended: ${ended.message}`);
  else if (tidings.state === "live") show(ui.state, "live", `Live over ${label}`);
  else if (tidings.state === "offline") show(ui.state, "waiting", "Offline");
  else show(ui.state, "waiting", `${shared.opened ? "Reconnecting" : "Connecting"} over ${label} …`);
}

function showSaved() {
  if (shared.opened && ui.text.readOnly && !ended) {
    ui.text.readOnly = false;
    ui.text.placeholder = "Write something. Whoever has the link writes with you.";
    if (document.activeElement === document.body) ui.text.focus();
  }
  if (shared.refused) show(ui.saved, "ended", `Not saved: ${shared.refused.message}`);
  else if (!shared.opened) show(ui.saved, "waiting", "Opening …");
  else if (shared.saved) show(ui.saved, "live", "Saved");
  else if (tidings.state === "live") show(ui.saved, "waiting", "Saving\u00a0…");
  else show(ui.saved, "waiting", "Kept on this page");
}

// ---- Those who write -----------------------------------------------------------------------------------------

/** Shows members, marks and counts, once for all that happens before the next frame. */
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    const others = members.list();
    showMembers(others);
    showMarks(others.filter(({ selection }) => selection !== null));
    const { length } = shared.text.toString();
    ui.count.textContent = length === 1 ? "1 character" : `${length.toLocaleString("en")} characters`;
  });
}

function make(tag, className, text) {
  const element = document.createElement(tag);
  element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** An element in a member's colour: of neighbouring numbers, the golden angle sets the colours apart. */
function coloured(number, element) {
  element.style.setProperty("--hue", String(Math.round(number * 137.5 + 265) % 360));
  return element;
}

function showMembers(others) {
  const me = coloured(0, make("li", "member me", `${ui.name.value.trim() || "somebody"} (you)`));
  ui.members.replaceChildren(me, ...others.map(({ number, name }) => coloured(number, make("li", "member", name))));
}

/** A copy of the text behind the field, with the others' selections and carets in it. It also makes the field as high. */
function showMarks(others) {
  const text = ui.text.value;
  const within = (index) => Math.min(Math.max(index, 0), text.length);
  const marks = others.map(({ number, name, selection }) => {
    const [anchor, head] = selection.map(within);
    return { number, name, head, from: Math.min(anchor, head), to: Math.max(anchor, head) };
  });
  const cuts = new Set([0, text.length, ...marks.flatMap(({ from, to }) => [from, to])]);
  const places = [...cuts].sort((a, b) => a - b);
  const parts = places.flatMap((at, index) => {
    const carets = marks.filter(({ head }) => head === at).map(({ number, name }) => {
      const caret = coloured(number, make("span", "caret"));
      caret.dataset.name = name;
      return caret;
    });
    const end = places[index + 1] ?? at;
    if (end === at) return carets;
    const part = text.slice(at, end);
    const mark = marks.find(({ from, to }) => from <= at && end <= to);
    return [...carets, mark ? coloured(mark.number, make("span", "selected", part)) : part];
  });
  // A line end at the very end makes no line without something behind it.
  ui.marks.replaceChildren(...parts, "\u200b");
  const { left, width } = ui.marks.getBoundingClientRect();
  const carets = [...ui.marks.querySelectorAll(".caret")];
  // Where they are is asked of all before one is changed, so that it is laid out once.
  const turned = carets.map((caret) => caret.getBoundingClientRect().left > left + width / 2);
  carets.forEach((caret, index) => caret.classList.toggle("turned", turned[index]));
}

function tellSelection() {
  const { selectionStart, selectionEnd, selectionDirection } = ui.text;
  const ends = [selectionStart, selectionEnd];
  if (selectionDirection === "backward") ends.reverse();
  members.select(document.activeElement === ui.text && shared.opened ? ends : null);
}

document.addEventListener("selectionchange", tellSelection);
ui.text.addEventListener("selectionchange", tellSelection);
ui.text.addEventListener("blur", tellSelection);
ui.text.addEventListener("focus", tellSelection);
// What is being composed has no place in the document yet, but needs space.
ui.text.addEventListener("input", draw);
// On another width, lines break elsewhere.
new ResizeObserver(draw).observe(ui.text);

// ---- Controls ------------------------------------------------------------------------------------------------

ui.name.addEventListener("input", () => {
  const name = ui.name.value.trim();
  store("tidings-editor-name", name);
  members.rename(name);
  draw();
});
ui.transports.addEventListener("change", () => tidings.use(transports()));
ui.copy.addEventListener("click", async () => {
  const link = new URL(`./?${new URLSearchParams({ document: name })}`, location.href).href;
  try {
    await navigator.clipboard.writeText(link);
    ui.copy.textContent = "Copied";
  } catch {
    // Not over plain HTTP, or not allowed.
    prompt("The link:", link);
  }
  setTimeout(() => { ui.copy.textContent = "Copy link"; }, 2_000);
});
addEventListener("beforeunload", (event) => {
  if (!shared.saved && !ended) event.preventDefault();
});

// ---- Beginning -----------------------------------------------------------------------------------------------

showState();
showSaved();
draw();
shared.open();
