// An answer that is read from a room: the address names the room, the page remembers where it stands in it.

import { TRANSPORTS, call } from "./transports.js";

const ROOM = /^answer:[0-9a-f]{32}$/;
/** Milliseconds after which a room in which nothing ever was is told of. */
const SILENCE = 3_000;
const MISSING = new Map([
  ["trimmed", "the server no longer keeps it"],
  ["epoch", "the server was restarted, and the answer broke off with it"],
  ["slow", "this page was too slow"],
]);

const ui = Object.fromEntries(
  ["ask", "question", "transports", "send", "stop", "error", "answer", "asked", "state", "text", "counts"]
    .map((id) => [id, document.getElementById(id)]),
);

/** The answer on the page: { room, cursor, reason, over, counts, part, end, suspected }. */
let answer = null;

/** Storage may be forbidden, and then its mere mention throws. */
function stored(key) {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}

function store(key, value) {
  try {
    sessionStorage.setItem(key, value);
  } catch {
    // Then a reload begins with the first transport.
  }
}

function transport() {
  return ui.transports.querySelector("input:checked").value;
}

// ---- Reading -------------------------------------------------------------------------------------------------

/** Shows the answer that the address names, from its start. */
function open() {
  answer?.end.abort();
  const room = location.hash.slice(1).replace(/%3a/i, ":"); // some mailers write the colon so
  answer = null;
  complain("");
  ui.text.replaceChildren();
  ui.asked.textContent = "";
  ui.counts.replaceChildren();
  ui.answer.hidden = !ROOM.test(room);
  ui.stop.disabled = ui.answer.hidden;
  document.title = "Tidings token stream";
  if (ui.answer.hidden) return;
  answer = {
    room, cursor: "start", reason: null, over: false, counts: new Map(), part: null, end: null, suspected: null,
  };
  read("connecting");
}

/** Reads on over the chosen transport, from where the page stands. */
function read(state) {
  const here = answer;
  const via = transport();
  here.end?.abort();
  here.end = new AbortController();
  here.part = null;
  show(state, via);
  const over = (state, why) => {
    here.over = true;
    here.end.abort();
    ui.stop.disabled = true;
    show(state, via, why);
  };
  const on = {
    cursor: () => here.cursor,
    at: (cursor) => { here.cursor = cursor; },
    live: () => {
      show("live", via);
      if (here.cursor !== "start" && !ui.asked.textContent) suspect(here);
    },
    down: (why) => show("continuing", via, why),
    refused: (why) => over("refused", why),
    event: (id, name, data) => {
      here.cursor = id;
      if (name === "token") type(String(data.text), via);
      else if (name === "question") ask(String(data.text));
      else if (name === "done") here.reason = data.reason;
    },
    gap: (id, reason) => {
      here.cursor = id;
      note(`Part of the answer is missing: ${MISSING.get(reason) ?? reason}.`);
    },
    whole: () => here.reason !== null,
    end: () => over(here.reason === "cancelled" ? "stopped" : "finished"),
  };
  TRANSPORTS.get(via).open(here.room, on, here.end.signal);
}

/** A room in which nothing comes may be one that the server has forgotten: nobody can tell from silence. */
function suspect(here) {
  here.suspected ??= setTimeout(() => {
    if (answer === here && !ui.asked.textContent && !ui.text.childNodes.length) {
      note("There is nothing in this room. The server may have forgotten the answer: ask again.");
    }
  }, SILENCE);
}

// ---- Showing -------------------------------------------------------------------------------------------------

function show(state, via, why = "") {
  const { label } = TRANSPORTS.get(via);
  const text = {
    connecting: `Connecting over ${label} …`,
    live: `Live over ${label}`,
    continuing: `Continuing over ${label} …`,
    finished: "Finished",
    stopped: "Stopped",
    refused: `Refused: ${why}`,
  }[state];
  ui.state.dataset.state = state;
  ui.state.title = why;
  // Only a change is said aloud, and the answer only when it is there.
  if (ui.state.textContent !== text) ui.state.textContent = text;
  ui.text.setAttribute("aria-busy", String(!answer.over));
}

function make(tag, className, text) {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function ask(question) {
  ui.asked.textContent = question;
  document.title = `${question} · Tidings`;
}

/** Adds a token to the part of the answer that this connection has brought, and counts it. */
function type(text, via) {
  if (!answer.part) {
    answer.part = make("span", `part ${via}`, "");
    ui.text.append(answer.part);
  }
  answer.part.append(text);
  let count = answer.counts.get(via);
  if (!count) {
    count = { tokens: 0, badge: make("span", `badge ${via}`, "") };
    answer.counts.set(via, count);
    ui.counts.append(count.badge);
  }
  count.tokens += 1;
  const tokens = count.tokens === 1 ? "token" : "tokens";
  count.badge.textContent = `${count.tokens} ${tokens} over ${TRANSPORTS.get(via).label}`;
}

function note(text) {
  ui.text.append(make("p", "note", text));
  answer.part = null;
}

function complain(text) {
  ui.error.textContent = text;
  ui.error.hidden = !text;
}

// ---- Asking --------------------------------------------------------------------------------------------------

ui.ask.addEventListener("submit", async (event) => {
  event.preventDefault();
  const question = ui.question.value.trim();
  if (!question || ui.send.disabled) return;
  ui.send.disabled = true;
  complain("");
  try {
    const { room } = await call("ask", { question });
    location.hash = room; // what opens it
  } catch (error) {
    complain(`Not asked: ${error.message}.`);
  } finally {
    ui.send.disabled = false;
  }
});

ui.stop.addEventListener("click", async () => {
  const here = answer;
  complain("");
  try {
    await call("cancel", { room: here.room }); // that it has stopped, the room says
  } catch (error) {
    if (answer === here && !here.over) complain(`Not stopped: ${error.message}.`);
  }
});

ui.question.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  ui.ask.requestSubmit();
});

ui.transports.addEventListener("change", () => {
  store("tidings-token-transport", transport());
  if (answer && !answer.over) read("continuing");
});

// ---- Beginning -----------------------------------------------------------------------------------------------

const wanted = new URLSearchParams(location.search).get("transport") ?? stored("tidings-token-transport");
if (TRANSPORTS.has(wanted)) ui.transports.querySelector(`[value=${wanted}]`).checked = true;
addEventListener("hashchange", open);
open();
