// A user's notifications: what the inbox's room has, from its start, and whatever comes.

import { Tidings } from "./realtime/tidings.js";

const LABELS = new Map([["sse", "Server-Sent Events"], ["ws", "WebSocket"], ["poll", "Long polling"]]);
/** Notifications on the page: as many as the server keeps. */
const KEPT = 200;
/** Toasts at once, and the milliseconds that each stays. */
const TOASTS = 3;
const TOAST_TIME = 7_000;
const MISSING = new Map([
  ["trimmed", "you were away for too long, and the server no longer keeps them"],
  ["epoch", "the server has begun a new history"],
  ["slow", "this page was too slow"],
]);

const ui = Object.fromEntries(
  ["entry", "sign-in", "name", "entry-error", "page", "badge", "unread", "state", "who", "sign-out", "read-all",
    "error", "missing", "empty", "list", "send", "to", "text", "submit", "sent", "transports", "toasts"]
    .map((id) => [id, document.getElementById(id)]),
);
const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** The notifications by their positions, oldest first: { element, read, toast }. */
const items = new Map();
let tidings;
let inbox;
let connected = false;

// ---- The inbox -----------------------------------------------------------------------------------------------

/** @param {{user: string, now: number}} me */
function open({ user, now }) {
  ui.page.hidden = false;
  ui.who.textContent = user;
  ui.to.value = user;
  const asked = new URLSearchParams(location.search).get("transport");
  for (const link of ui.transports.children) {
    if (link.getAttribute("href") === (LABELS.has(asked) ? `?transport=${asked}` : "./")) link.ariaCurrent = "page";
  }
  tidings = new Tidings("./realtime", {
    // An event stream does for what comes down; the others are for networks through which none comes.
    transports: LABELS.has(asked) ? [asked] : ["sse", "ws", "poll"],
    // The tabs of one user share a connection.
    share: user,
  });
  tidings.on("state", follow);
  inbox = tidings.join(`user/${user}`, { from: "start" });
  inbox.on("joined", () => { connected = true; });
  // What was sent before the page was opened is no news.
  inbox.on("notification", (data, { id }) => add(id, data, data.at > now));
  inbox.on("read", ({ ids }) => setRead(ids, true));
  inbox.on("gap", ({ reason }) => {
    tell(ui.missing, `Notifications are missing: ${MISSING.get(reason) ?? reason}.`);
  });
  inbox.on("error", (error) => follow({ state: "closed", error }));
  follow({ state: "connecting" });
}

function follow({ state, error, reason = "" }) {
  if (ui.page.hidden) return; // signed out
  if (error?.code === "unauthorized") return enter("You are signed out.");
  const label = LABELS.get(tidings.transport);
  const [kind, text] = state === "closed" ? ["ended", `Ended: ${error.message}`]
    : state === "live" ? ["live", `Live over ${label}`]
    : state === "offline" ? ["waiting", "Offline"]
    : [connected ? "waiting" : "connecting", `${connected ? "Reconnecting" : "Connecting"} …`];
  ui.state.dataset.state = kind;
  ui.state.title = reason;
  // Only a change is said aloud.
  if (ui.state.textContent !== text) ui.state.textContent = text;
  if (state === "waiting" && tidings.transport === "ws") check();
}

/** Browsers do not tell a page why its WebSocket was refused. */
async function check() {
  const me = await fetch("./me").then((answer) => answer.json(), () => null); // no network: there will be a next time
  if (me && me.user !== ui.who.textContent) enter("You are signed out.");
}

/** Says what was read: to every tab and device, this one included, in the inbox itself. */
async function markRead(ids) {
  setRead(ids, true);
  tell(ui.error, "");
  try {
    await inbox.publish("read", { ids });
  } catch (error) {
    setRead(ids, false);
    tell(ui.error, `Not marked as read: ${error.message}.`);
  }
}

// ---- Showing it ----------------------------------------------------------------------------------------------

function make(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function tell(element, text) {
  element.textContent = text;
  element.hidden = !text;
}

function add(id, { from, text, at }, isNew) {
  const element = make("li", "item");
  const initial = make("span", "initial", from[0].toUpperCase());
  initial.style.setProperty("--hue", String(hue(from)));
  initial.ariaHidden = "true";
  const date = new Date(at);
  const when = make("time", "quiet", clock.format(date));
  when.dateTime = date.toISOString();
  const meta = make("p", "meta");
  meta.append(make("b", "from", from), when);
  const words = make("div", "words");
  words.append(meta, make("p", "text", text));
  const done = make("button", "done", "Mark as read");
  done.type = "button";
  done.addEventListener("click", () => {
    // The button goes: the focus stays in the list.
    element.focus();
    markRead([id]);
  });
  element.tabIndex = -1;
  element.append(initial, words, done);
  ui.list.prepend(element);
  items.set(id, { element, read: false, toast: isNew && !document.hidden ? toast(from, text) : null });
  for (const [oldest] of items) {
    if (items.size <= KEPT) break;
    items.get(oldest).element.remove();
    items.delete(oldest);
  }
  count();
}

function setRead(ids, read) {
  for (const id of ids) {
    const item = items.get(id); // none, if it is older than what is kept
    if (!item) continue;
    item.read = read;
    item.element.classList.toggle("read", read);
    item.toast?.remove();
  }
  count();
}

const unread = () => [...items].filter(([, { read }]) => !read).map(([id]) => id);

/** Once for all that comes at once. */
let counting = false;
function count() {
  if (counting) return;
  counting = true;
  queueMicrotask(() => {
    counting = false;
    const { length } = unread();
    tell(ui.badge, length > 99 ? "99+" : length ? String(length) : "");
    ui.unread.textContent = `${length} unread`;
    ui["read-all"].disabled = length === 0;
    ui.empty.hidden = items.size > 0;
    document.title = `${length ? `(${length}) ` : ""}Notifications · Tidings`;
  });
}

function hue(name) {
  let hash = 0;
  for (const char of name) hash = (hash * 31 + char.codePointAt(0)) % 65_536;
  return Math.round(hash * 137.5) % 360; // the golden angle sets neighbours apart
}

function toast(from, text) {
  const element = make("div", "toast");
  const close = make("button", "close", "×");
  close.type = "button";
  close.ariaLabel = "Dismiss";
  close.addEventListener("click", () => element.remove());
  const words = make("p", "text");
  words.append(make("b", "from", from), ` ${text}`);
  element.append(words, close);
  ui.toasts.append(element);
  while (ui.toasts.childElementCount > TOASTS) ui.toasts.firstElementChild.remove();
  // Not while somebody reads it.
  const leave = () => (element.matches(":hover, :focus-within") ? setTimeout(leave, 1_000) : element.remove());
  setTimeout(leave, TOAST_TIME);
  return element;
}

// ---- Sending -------------------------------------------------------------------------------------------------

/** Names what is being written: sent again after an answer was lost, it is there once. */
let key = randomKey();

function randomKey() {
  // Not randomUUID, which a page over plain HTTP does not have.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function send() {
  if (ui.submit.disabled) return;
  ui.submit.disabled = true;
  ui.sent.textContent = "";
  try {
    await tidings.call("notify", { to: ui.to.value, text: ui.text.value, key });
    key = randomKey();
    ui.text.value = "";
    ui.sent.textContent = "Sent.";
  } catch ({ code, message }) {
    const lost = "No answer came. Send it again: it arrives once.";
    ui.sent.textContent = code === "unknown_outcome" ? lost : `Not sent: ${message}.`;
  } finally {
    ui.submit.disabled = false;
  }
}

// ---- Signing in and out --------------------------------------------------------------------------------------

/** The other tabs of this browser, whose user is another now. */
const tabs = new BroadcastChannel("notifications");
tabs.addEventListener("message", () => location.reload());

async function sign(way, data) {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(`./sign-${way}`, { method: "POST", headers, body: JSON.stringify(data) });
  if (!answer.ok) throw new Error(await answer.text());
  tabs.postMessage("signed");
  location.reload();
}

function enter(why = "") {
  tidings?.close();
  ui.page.hidden = true;
  ui.entry.hidden = false;
  ui.toasts.replaceChildren();
  document.title = "Tidings notifications";
  tell(ui["entry-error"], why);
  ui.name.focus();
}

ui["sign-in"].addEventListener("submit", (event) => {
  event.preventDefault();
  sign("in", { name: ui.name.value }).catch(({ message }) => tell(ui["entry-error"], `Not signed in: ${message}.`));
});
ui["sign-out"].addEventListener("click", () => {
  sign("out").catch(({ message }) => tell(ui.error, `Not signed out: ${message}.`));
});
ui["read-all"].addEventListener("click", () => markRead(unread()));
ui.send.addEventListener("submit", (event) => { event.preventDefault(); send(); });
ui.send.addEventListener("input", () => { key = randomKey(); }); // another text is another notification
ui.text.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  ui.send.requestSubmit();
});

try {
  const me = await (await fetch("./me")).json();
  if (me.user) open(me);
  else enter();
} catch ({ message }) {
  enter(`The server cannot be reached: ${message}. Reload the page to try again.`);
}
