// A chat: a room, and a client that brings it over whichever transport is chosen.

import { Tidings } from "./realtime/tidings.js";

const EVENT = "chat";
/** Messages that stay on the page. */
const KEPT_MESSAGES = 500;
const LABELS = new Map([["ws", "WebSocket"], ["sse", "Server-Sent Events"], ["poll", "Long polling"]]);
const MISSING = new Map([
  ["trimmed", "the room no longer keeps them"],
  ["epoch", "the room has begun a new history"],
  ["slow", "this page was too slow"],
]);
const ENDED = new Map([
  ["expired", "your right to be here has ended"],
  ["revoked", "you were shown out"],
  ["gone", "the room is closed"],
]);

// ---- The page ------------------------------------------------------------------------------------------------

const ui = Object.fromEntries(
  ["entry", "join", "name", "room", "transports", "entry-slot", "chat", "chat-slot", "heading", "who", "state",
    "leave", "scroll", "empty", "messages", "newest", "error", "compose", "text", "send"]
    .map((id) => [id, document.getElementById(id)]),
);
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });

/** The room that the page is in: { tidings, room, name, joined }. */
let chat = null;

/** Storage may be forbidden, and then its mere mention throws. */
function stored(storage, key) {
  try {
    return window[storage].getItem(key);
  } catch {
    return null;
  }
}

function store(storage, key, value) {
  try {
    window[storage].setItem(key, value);
  } catch {
    // Then the page forgets it.
  }
}

function randomId() {
  // Not randomUUID, which a page over plain HTTP does not have.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Whether the list is at its end and stays there; not while somebody reads further up. */
let following = true;

/** This tab, so that its own messages are told from those of a namesake. */
const me = stored("sessionStorage", "tidings-chat-tab") ?? randomId();
store("sessionStorage", "tidings-chat-tab", me);

/** The transports that are chosen: one, or all, of which the client takes the first that works. */
function transports() {
  const { value } = ui.transports.querySelector("input:checked");
  return value === "auto" ? [...LABELS.keys()] : [value];
}

function enter() {
  const name = ui.name.value.trim();
  const roomName = ui.room.value.trim();
  if (!name) return refuse(ui.name, "A name has a letter or more.");
  const here = connect(roomName, name);
  if (!here) return refuse(ui.room, "No room can have this name.");
  chat = here;
  store("localStorage", "tidings-chat-name", name);
  ui.heading.textContent = `#${roomName}`;
  ui.who.textContent = name;
  document.title = `#${roomName} · Tidings chat`;
  ui.messages.replaceChildren();
  following = true;
  ui.empty.hidden = false;
  ui.newest.hidden = true;
  ui.text.value = "";
  complain("");
  ui["chat-slot"].append(ui.transports);
  ui.entry.hidden = true;
  ui.chat.hidden = false;
  show({ state: "connecting", transport: here.tidings.transport });
  ui.text.focus();
}

/** Says beside a field what is wrong with it, until it is changed. */
function refuse(field, text) {
  field.setCustomValidity(text);
  field.reportValidity();
}

function leave() {
  const { tidings } = chat;
  chat = null;
  tidings.close();
  document.title = "Tidings chat";
  ui["entry-slot"].append(ui.transports);
  ui.chat.hidden = true;
  ui.entry.hidden = false;
  ui.room.focus();
}

/** Enters a room; none, if there can be no such room. */
function connect(roomName, name) {
  // Each tab by itself: two of them are to show two transports in one room.
  const tidings = new Tidings("./realtime", { transports: transports(), share: false });
  let room;
  try {
    room = tidings.join(roomName, { from: "start" });
  } catch (error) {
    tidings.close();
    if (error.code === "bad_room") return null;
    throw error;
  }
  const here = { tidings, room, name, joined: false };
  tidings.on("state", (change) => { if (chat === here) show(change); });
  room.on("joined", () => { here.joined = true; });
  room.on(EVENT, (data, { id }) => add(messageItem(data, id)));
  room.on("gap", ({ reason }) => {
    const why = MISSING.get(reason);
    add(noteItem(`Some messages are missing: ${reason}${why ? ` (${why})` : ""}`));
  });
  room.on("error", (error) => { if (chat === here) show({ state: "closed", error }); });
  return here;
}

function show({ state, transport: via, error, reason = "" }) {
  const label = LABELS.get(via);
  const [kind, text] = state === "closed" ? ["ended", `Ended: ${ENDED.get(error.code) ?? error.message}`]
    : state === "live" ? ["live", `Live over ${label}`]
    : chat.joined ? ["reconnecting", `Reconnecting over ${label} …`]
    : ["connecting", `Connecting over ${label} …`];
  ui.state.dataset.state = kind;
  ui.state.title = reason;
  // Only a change is said aloud.
  if (ui.state.textContent !== text) ui.state.textContent = text;
}

async function send() {
  const text = ui.text.value.trim();
  if (!text || ui.text.readOnly) return;
  const here = chat;
  busy(true);
  complain("");
  try {
    // However many connections that takes, it is published once.
    await here.room.publish(EVENT, { name: here.name, text, via: here.tidings.transport, at: Date.now(), by: me });
    if (chat === here) ui.text.value = "";
  } catch (error) {
    if (chat === here) complain(`Not sent: ${error.message}. Your text is still here.`);
  } finally {
    busy(false);
  }
}

/** Read-only rather than disabled: so the focus stays where it is. */
function busy(is) {
  ui.text.readOnly = is;
  ui.send.disabled = is;
  ui.compose.setAttribute("aria-busy", String(is));
}

function complain(text) {
  ui.error.textContent = text;
  ui.error.hidden = !text;
}

// ---- The list ------------------------------------------------------------------------------------------------

function make(tag, className, text) {
  const element = document.createElement(tag);
  element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function noteItem(text) {
  return make("li", "note", text);
}

/** Anybody may publish anything, so nothing about the data is taken for granted. */
function messageItem(data, position) {
  const { name, text, via, at, by } = Object(data);
  const item = make("li", by === me ? "message own" : "message");
  item.dataset.position = position;
  const who = typeof name === "string" && name ? name.slice(0, 40) : "somebody";
  const meta = make("p", "meta");
  const author = make("span", "who", who);
  author.style.setProperty("--hue", String(hue(who)));
  meta.append(author);
  const date = new Date(typeof at === "number" ? at : NaN);
  if (!Number.isNaN(date.getTime())) {
    const time = make("time", "when", clock.format(date));
    time.dateTime = date.toISOString();
    time.title = date.toLocaleString();
    meta.append(time);
  }
  if (LABELS.has(via)) meta.append(make("span", `badge ${via}`, LABELS.get(via)));
  item.append(meta, make("p", "text", typeof text === "string" ? text.slice(0, 2_000) : ""));
  return item;
}

function hue(name) {
  let hash = 0;
  for (const char of name) hash = (hash * 31 + char.codePointAt(0)) % 65_536;
  return Math.round(hash * 137.5) % 360; // the golden angle sets neighbours apart
}

function add(item) {
  ui.empty.hidden = true;
  ui.messages.append(item);
  while (ui.messages.childElementCount > KEPT_MESSAGES) ui.messages.firstElementChild.remove();
  if (following) toEnd();
  else ui.newest.hidden = false;
}

function atEnd() {
  return ui.scroll.scrollHeight - ui.scroll.scrollTop - ui.scroll.clientHeight < 40;
}

function toEnd() {
  following = true;
  ui.scroll.scrollTop = ui.scroll.scrollHeight;
  ui.newest.hidden = true;
}

// ---- Beginning -----------------------------------------------------------------------------------------------

ui.join.addEventListener("submit", (event) => { event.preventDefault(); enter(); });
for (const field of [ui.name, ui.room]) field.addEventListener("input", () => field.setCustomValidity(""));
ui.leave.addEventListener("click", leave);
ui.transports.addEventListener("change", () => chat?.tidings.use(transports()));
ui.compose.addEventListener("submit", (event) => { event.preventDefault(); send(); });
ui.text.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (!ui.text.readOnly) ui.compose.requestSubmit();
});
ui.newest.addEventListener("click", () => { toEnd(); ui.text.focus(); });
ui.scroll.addEventListener("scroll", () => {
  following = atEnd();
  if (following) ui.newest.hidden = true;
}, { passive: true });
// A keyboard that comes up, or an error line, must not hide the newest message.
new ResizeObserver(() => { if (following) toEnd(); }).observe(ui.scroll);

const asked = new URLSearchParams(location.search);
ui.name.value = (asked.get("name") ?? stored("localStorage", "tidings-chat-name") ?? "").slice(0, 40);
if (asked.get("room")) ui.room.value = asked.get("room").slice(0, 60);
for (const input of ui.transports.elements) input.checked ||= input.value === asked.get("transport");
if (asked.get("join") === "1" && ui.join.reportValidity()) enter();
else (ui.name.value ? ui.room : ui.name).focus();
