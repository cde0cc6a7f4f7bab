// An answer that is read from a room: the address names the room, the client knows where the page stands in it.

import { Tidings } from "./realtime/tidings.js";

const ROOM = /^answer:[0-9a-f]{32}$/;
const LABELS = new Map([["sse", "Server-Sent Events"], ["ws", "WebSocket"], ["poll", "Long polling"]]);
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

/** The answer on the page: { room, reason, joined, over, counts, part, suspected }. */
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
  answer?.room.leave();
  const name = location.hash.slice(1).replace(/%3a/i, ":"); // some mailers write the colon so
  answer = null;
  complain("");
  ui.text.replaceChildren();
  ui.asked.textContent = "";
  ui.counts.replaceChildren();
  ui.answer.hidden = !ROOM.test(name);
  ui.stop.disabled = ui.answer.hidden;
  document.title = "Tidings token stream";
  if (ui.answer.hidden) return;
  const room = tidings.join(name, { from: "start" });
  const here = { room, reason: null, joined: false, over: false, counts: new Map(), part: null, suspected: null };
  answer = here;
  const over = (state, why) => {
    here.over = true;
    ui.stop.disabled = true;
    show(state, why);
  };
  room.on("joined", () => {
    here.joined = true;
    // What comes from here on another connection has brought.
    here.part = null;
    if (!ui.asked.textContent) suspect(here);
  });
  room.on("question", ({ text }) => ask(String(text)));
  room.on("token", ({ text }) => type(String(text), tidings.transport));
  room.on("done", ({ reason }) => { here.reason = reason; });
  room.on("gap", ({ reason }) => note(`Part of the answer is missing: ${MISSING.get(reason) ?? reason}.`));
  room.on("end", () => over(here.reason === "cancelled" ? "stopped" : "finished"));
  room.on("error", ({ message }) => over("refused", message));
  follow(tidings);
}

/** Shows how the answer comes, until it is there. */
function follow({ state, reason }) {
  if (!answer || answer.over) return;
  show(state === "live" ? "live" : answer.joined ? "continuing" : "connecting", reason);
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

function show(state, why = "") {
  const label = LABELS.get(tidings.transport);
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
  count.badge.textContent = `${count.tokens} ${tokens} over ${LABELS.get(via)}`;
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
    const { room } = await tidings.call("ask", { question });
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
    await tidings.call("cancel", { room: here.room.name }); // that it has stopped, the room says
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
  tidings.use([transport()]);
});

// ---- Beginning -----------------------------------------------------------------------------------------------

const wanted = new URLSearchParams(location.search).get("transport") ?? stored("tidings-token-transport");
if (LABELS.has(wanted)) ui.transports.querySelector(`[value=${wanted}]`).checked = true;
// Each tab by itself: two of them are to show two transports at one answer.
const tidings = new Tidings("./realtime", { transports: [transport()], share: false });
tidings.on("state", follow);
addEventListener("hashchange", open);
open();
