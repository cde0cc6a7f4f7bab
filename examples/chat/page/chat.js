// A chat over three transports, with nothing but what a browser brings along.

const BASE = "/realtime";
const EVENT = "chat";
/** Messages that stay on the page. */
const KEPT_MESSAGES = 500;
/** Ids that are remembered to drop repeats: more than a room keeps. */
const KEPT_IDS = 2_000;
/** Milliseconds until an answer is given up. */
const REPLY_TIME = 10_000;
/** Seconds that a poll waits for news. */
const POLL_WAIT = 25;
/** Back-off, in milliseconds: the first bound, which doubles with each failure, and the last. */
const BACKOFF = [500, 15_000];
const TRANSPORTS = new Map([
  ["ws", { label: "WebSocket", open: openWebSocket }],
  ["sse", { label: "Server-Sent Events", open: openEventSource }],
  ["poll", { label: "Long polling", open: openLongPoll }],
]);
const MISSING = new Map([
  ["trimmed", "the room no longer keeps them"],
  ["epoch", "the room has begun a new history"],
  ["slow", "this page was too slow"],
]);
const ENDED = new Map([
  ["expired", "your right to be here has ended"],
  ["gone", "the room is closed"],
]);

// ---- Transports ----------------------------------------------------------------------------------------------
//
// Each is opened with a room, what to tell (`on`), and a signal that ends it, and answers with a function that
// publishes. `on` has: cursor() where to go on from, at(cursor), live(), down(why), ended(why),
// event(id, name, data) and gap(id, reason).

/** A refusal that another attempt would only meet again. */
class Refused extends Error {}

function address(endpoint, query) {
  return `${BASE}/${endpoint}?${new URLSearchParams(query)}`;
}

function pause(milliseconds, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
  });
}

/**
 * Attempts again and again until the signal ends it. An attempt resolves to the server's own retry window where it
 * named one; else the pause is random below a bound that doubles (full jitter), so that many pages that lost a
 * server at once do not return at once.
 */
async function keepTrying(attempt, on, signal) {
  let failures = 0;
  const live = () => {
    failures = 0;
    if (!signal.aborted) on.live();
  };
  while (!signal.aborted) {
    let window;
    let why = "";
    try {
      window = await attempt(live);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused) return on.ended(error.message);
      why = error.message;
    }
    if (signal.aborted) return;
    on.down(why);
    const [least, most] = window ?? [0, Math.min(BACKOFF[1], BACKOFF[0] * 2 ** failures++)];
    await pause(least + Math.random() * (most - least), signal);
  }
}

/** What a close notice means: when to come back, or that there is no coming back. */
function retryWindow({ code, retry }) {
  if (Array.isArray(retry)) return retry;
  throw new Refused(ENDED.get(code) ?? code);
}

function openWebSocket(room, on, signal) {
  const waiting = new Map();
  let socket = null;
  let lastRef = 0;

  const take = (frame, live) => {
    switch (frame.type) {
      case "joined":
        if (frame.recovered) on.at(frame.cursor); // else a gap comes next, and sets it
        return live();
      case "event": return on.event(frame.id, frame.event, frame.data);
      case "gap": return on.gap(frame.id, frame.reason);
      case "reply":
      case "error":
        waiting.get(frame.ref)?.(frame);
        return waiting.delete(frame.ref);
    }
  };
  const attempt = (live) => new Promise((done, fail) => {
    const url = new URL(address("ws", { room, from: on.cursor() }), location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:"; // older browsers take no other here
    socket = new WebSocket(url);
    const stop = () => socket.close();
    let closing = null;
    signal.addEventListener("abort", stop, { once: true });
    socket.onmessage = ({ data }) => {
      if (signal.aborted) return;
      const frame = JSON.parse(data);
      if (frame.type === "close") closing = frame;
      else take(frame, live);
    };
    socket.onclose = () => {
      signal.removeEventListener("abort", stop);
      for (const answer of waiting.values()) answer(null);
      waiting.clear();
      try {
        done(closing ? retryWindow(closing) : undefined);
      } catch (error) {
        fail(error);
      }
    };
  });
  keepTrying(attempt, on, signal);

  return (command) => new Promise((done, fail) => {
    if (socket?.readyState !== WebSocket.OPEN) return fail(new Error("there is no connection right now"));
    const ref = ++lastRef;
    const timer = setTimeout(() => waiting.get(ref)?.(null), REPLY_TIME);
    waiting.set(ref, (frame) => {
      clearTimeout(timer);
      waiting.delete(ref);
      if (frame?.type === "reply") done();
      else fail(new Error(frame?.message ?? "the connection gave no answer"));
    });
    socket.send(JSON.stringify({ ...command, ref }));
  });
}

function openEventSource(room, on, signal) {
  const attempt = (live) => new Promise((done, fail) => {
    // From here the browser reconnects by itself, with the id of the last event it saw; only an answer that is no
    // stream makes it give up.
    const source = new EventSource(address("sse", { room, from: on.cursor() }));
    const listen = (name, take) => source.addEventListener(name, (event) => {
      if (!signal.aborted) take(JSON.parse(event.data), event.lastEventId);
    });
    signal.addEventListener("abort", () => { source.close(); done(); }, { once: true });
    listen("tidings.joined", ({ cursor, recovered }) => {
      if (recovered) on.at(cursor);
      live();
    });
    listen("tidings.gap", ({ id, reason }) => on.gap(id, reason));
    listen("tidings.close", (notice) => {
      try {
        retryWindow(notice); // the stream names the time itself, and the browser keeps to it
      } catch (error) {
        source.close();
        fail(error);
      }
    });
    listen(EVENT, (data, id) => on.event(id, EVENT, data));
    source.onerror = () => {
      if (signal.aborted) return;
      if (source.readyState === EventSource.CLOSED) done();
      else on.down("");
    };
  });
  keepTrying(attempt, on, signal);
  return post;
}

function openLongPoll(room, on, signal) {
  const attempt = async (live) => {
    // The first poll answers at once, so that the page knows where it stands.
    for (let wait = 0; ; wait = POLL_WAIT) {
      const from = on.cursor();
      const where = from === "start" ? { from } : { cursor: from };
      const answer = await request(address("poll", { room, ...where, wait }), {
        signal: AbortSignal.any([signal, AbortSignal.timeout(wait * 1_000 + REPLY_TIME)]),
      });
      if (signal.aborted) return;
      let closing = null;
      for (const item of answer.events) {
        if (item.type === "event") on.event(item.id, item.event, item.data);
        else if (item.type === "gap") on.gap(item.id, item.reason);
        else if (item.type === "close") closing = item;
      }
      on.at(answer.cursor);
      if (closing) return retryWindow(closing);
      live();
    }
  };
  keepTrying(attempt, on, signal);
  return post;
}

/** Publishes for the transports that only come down. */
async function post(command) {
  await request(`${BASE}/send`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(command),
    signal: AbortSignal.timeout(REPLY_TIME),
  });
}

async function request(url, options) {
  let response;
  let answer;
  try {
    response = await fetch(url, { cache: "no-store", ...options });
    answer = await response.json();
  } catch (error) {
    if (error.name === "TimeoutError") throw new Error("the server gave no answer");
    throw new Error(response ? `the server answered ${response.status}` : "the server cannot be reached");
  }
  if (response.ok) return answer;
  const message = answer?.message ?? `the server answered ${response.status}`;
  const final = response.status >= 400 && response.status < 500 && ![408, 429].includes(response.status);
  throw final ? new Refused(message) : new Error(message);
}

// ---- The page ------------------------------------------------------------------------------------------------

const ui = Object.fromEntries(
  ["entry", "join", "name", "room", "transports", "entry-slot", "chat", "chat-slot", "heading", "who", "state",
    "leave", "scroll", "empty", "messages", "newest", "error", "compose", "text", "send"]
    .map((id) => [id, document.getElementById(id)]),
);
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });

/** The room that the page is in: { room, name, cursor, seen, draft, link }. */
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

function transport() {
  return ui.transports.querySelector("input:checked").value;
}

function enter() {
  const name = ui.name.value.trim();
  const room = ui.room.value.trim();
  if (!name || !room) return;
  store("localStorage", "tidings-chat-name", name);
  chat = { room, name, cursor: "start", seen: new Set(), draft: null, link: null };
  ui.heading.textContent = `#${room}`;
  ui.who.textContent = name;
  document.title = `#${room} · Tidings chat`;
  ui.messages.replaceChildren();
  following = true;
  ui.empty.hidden = false;
  ui.newest.hidden = true;
  ui.text.value = "";
  complain("");
  ui["chat-slot"].append(ui.transports);
  ui.entry.hidden = true;
  ui.chat.hidden = false;
  connect();
  ui.text.focus();
}

function leave() {
  chat.link.end.abort();
  chat = null;
  document.title = "Tidings chat";
  ui["entry-slot"].append(ui.transports);
  ui.chat.hidden = true;
  ui.entry.hidden = false;
  ui.room.focus();
}

/** Opens the chosen transport in place of the one that was open; the list and the cursor stay. */
function connect() {
  chat.link?.end.abort();
  const here = chat;
  const via = transport();
  const end = new AbortController();
  show("connecting", via);
  const on = {
    cursor: () => here.cursor,
    at: (cursor) => { here.cursor = cursor; },
    live: () => show("live", via),
    down: (why) => show("reconnecting", via, why),
    ended: (why) => show("ended", via, why),
    event: (id, name, data) => {
      here.cursor = id;
      if (here.seen.has(id)) return;
      here.seen.add(id);
      if (here.seen.size > KEPT_IDS) here.seen.delete(here.seen.values().next().value);
      if (name === EVENT) add(messageItem(data));
    },
    gap: (id, reason) => {
      here.cursor = id;
      const why = MISSING.get(reason);
      add(noteItem(`Some messages are missing: ${reason}${why ? ` (${why})` : ""}`));
    },
  };
  chat.link = { via, end, publish: TRANSPORTS.get(via).open(chat.room, on, end.signal) };
}

function show(state, via, why = "") {
  const { label } = TRANSPORTS.get(via);
  const text = {
    connecting: `Connecting over ${label} …`,
    live: `Live over ${label}`,
    reconnecting: `Reconnecting over ${label} …`,
    ended: `Ended: ${why}`,
  }[state];
  ui.state.dataset.state = state;
  ui.state.title = why;
  // Only a change is said aloud.
  if (ui.state.textContent !== text) ui.state.textContent = text;
}

async function send() {
  const text = ui.text.value.trim();
  if (!text || ui.text.readOnly) return;
  const here = chat;
  const { via, publish } = here.link;
  // The same text after a failure is the same message: with its old key it is published once, even if the first
  // attempt arrived and only its answer did not.
  if (here.draft?.text !== text) here.draft = { text, key: randomId() };
  const data = { name: here.name, text, via, at: Date.now(), by: me };
  busy(true);
  complain("");
  try {
    await publish({ type: "publish", room: here.room, event: EVENT, data, key: here.draft.key });
    here.draft = null;
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
function messageItem(data) {
  const { name, text, via, at, by } = Object(data);
  const item = make("li", by === me ? "message own" : "message");
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
  if (TRANSPORTS.has(via)) meta.append(make("span", `badge ${via}`, TRANSPORTS.get(via).label));
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
ui.leave.addEventListener("click", leave);
ui.transports.addEventListener("change", () => { if (chat) connect(); });
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
if (TRANSPORTS.has(asked.get("transport"))) {
  ui.transports.querySelector(`[value=${asked.get("transport")}]`).checked = true;
}
if (asked.get("join") === "1" && ui.join.reportValidity()) enter();
else (ui.name.value ? ui.room : ui.name).focus();
