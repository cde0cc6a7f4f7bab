// The page in a real browser: CHROMIUM names the browser, TIDINGS_TARGET_DIR where cargo has built, and with
// TIDINGS_HEADED set the windows can be watched.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import * as support from "../../../crates/tidings-js/test/support/browser.mjs";
import { send, until } from "../../../crates/tidings-js/test/support/program.mjs";
import { startNetwork } from "../../../crates/tidings-js/test/support/server.mjs";
import { call, snapshot, startBrowser, startServer } from "./support.mjs";

const { LABELS, TRANSPORTS } = support;
const newContext = (t) => support.newContext(t, browser);

/** Tokens in a second: slow enough to do several things in mid-answer, on a machine that is busy with other things. */
const RATE = 60;
const TEXT = (await readFile(new URL("../src/answer.txt", import.meta.url), "utf8")).trimEnd();

let browser;
let server;

before(async () => {
  server = await startServer(RATE);
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

async function newPage(context, transport, { at = server.url, room = "" } = {}) {
  const page = await context.newPage();
  await page.goto(`${at}/?transport=${transport}${room && `#${room}`}`);
  return page;
}

/** Asks as a person does, and gives the room of the answer. */
async function ask(page, question) {
  await page.getByLabel("Question").fill(question);
  await page.getByRole("button", { name: "Ask" }).click();
  await until("the address names a room", async () => (await hash(page)).startsWith("answer:"));
  return hash(page);
}

const hash = (page) => page.evaluate(() => location.hash.slice(1));

/** What is on the page: its tokens are counted as they came, its text as it is seen. */
const shown = (page) => page.evaluate(() => ({
  question: document.querySelector("#asked").textContent,
  state: document.querySelector("#state").textContent,
  text: Array.from(document.querySelectorAll("#text .part"), (part) => part.textContent).join(""),
  notes: Array.from(document.querySelectorAll("#text .note"), (note) => note.textContent),
  tokens: Array.from(document.querySelectorAll("#counts .badge"), (badge) => parseInt(badge.textContent, 10))
    .reduce((sum, count) => sum + count, 0),
  busy: document.querySelector("#text").ariaBusy === "true",
}));

const state = (page, wanted) => until(`the state ${wanted}`, async () => {
  const { state } = await shown(page);
  return state === wanted || state;
});

/** Waits for that many more tokens, and that it is still in mid-answer then. */
async function some(page, more = 40) {
  const { tokens: before } = await shown(page);
  await until(`${more} more tokens`, async () => {
    const { tokens } = await shown(page);
    return tokens >= before + more || tokens;
  });
  assert.equal((await shown(page)).busy, true, "it is in mid-answer");
}

/** The whole answer is on the page, once, as another reader sees it too. */
async function isWhole(page, question, at = server.url) {
  await state(page, "Finished");
  const seen = await shown(page);
  const room = await snapshot(at, await hash(page));
  assert.equal(seen.text, TEXT);
  assert.deepEqual([seen.question, seen.notes, seen.busy], [question, [], false]);
  assert.deepEqual([room.questions, room.reason, room.ended], [[question], "complete", true]);
  assert.equal(room.tokens.join(""), TEXT);
  assert.equal(seen.tokens, room.tokens.length);
}

test("each transport brings the whole answer, token by token", async (t) => {
  const context = await newContext(t);
  await Promise.all(TRANSPORTS.map(async (transport) => {
    const page = await newPage(context, transport);
    const requests = [];
    page.on("request", (request) => requests.push(new URL(request.url()).pathname));
    page.on("websocket", (socket) => requests.push(new URL(socket.url()).pathname));
    await ask(page, `over ${transport}?`);
    await state(page, `Live over ${LABELS[transport]}`);
    await some(page);
    assert.ok(TEXT.startsWith((await shown(page)).text));
    await isWhole(page, `over ${transport}?`);
    const streams = requests.filter((path) => path !== "/realtime/send");
    assert.deepEqual([...new Set(streams)], [`/realtime/${transport}`]);
    if (transport !== "poll") assert.equal(streams.length, 1, "nothing reconnects after the end");
  }));
});

test("a page that is reloaded in mid-answer has it whole, once", async (t) => {
  const context = await newContext(t);
  await Promise.all(TRANSPORTS.map(async (transport) => {
    const page = await newPage(context, transport);
    const room = await ask(page, "reload?");
    for (let i = 0; i < 2; i++) {
      await some(page);
      await page.reload();
      assert.equal(await hash(page), room);
    }
    await some(page, 1);
    await isWhole(page, "reload?");
    await page.reload();
    await isWhole(page, "reload?");
  }));
});

test("a second tab that is opened in mid-answer shows the same", async (t) => {
  const context = await newContext(t);
  const first = await newPage(context, "sse");
  const room = await ask(first, "two tabs?");
  await some(first);
  const others = await Promise.all(TRANSPORTS.map((transport) => newPage(context, transport, { room })));
  for (const page of others) await some(page, 1);
  for (const page of [first, ...others]) await isWhole(page, "two tabs?");
});

test("a change of transport in mid-answer loses nothing and repeats nothing", async (t) => {
  const page = await newPage(await newContext(t), "sse");
  const choose = (transport) => page.getByLabel(LABELS[transport]).check();
  await ask(page, "change?");
  await some(page);
  for (const transport of ["ws", "poll"]) {
    await choose(transport);
    await state(page, `Live over ${LABELS[transport]}`);
    await some(page);
  }
  // And as fast as it goes, mostly before the last one is live.
  for (let i = 1; i <= 12; i++) await choose(TRANSPORTS[i % 3]);
  await some(page, 1);
  await isWhole(page, "change?");
  const badges = await page.locator("#counts .badge").allTextContents();
  assert.deepEqual(badges.map((badge) => badge.replace(/^\d+ tokens? over /, "")), Object.values(LABELS));
});

test("a network that fails in mid-answer loses nothing and repeats nothing", async (t) => {
  const network = await startNetwork(server.url);
  t.after(() => network.stop());
  const context = await newContext(t);
  const pages = await Promise.all(TRANSPORTS.map((transport) => newPage(context, transport, { at: network.url })));
  await Promise.all(pages.map((page) => ask(page, "cut?")));
  await Promise.all(pages.map((page) => some(page)));
  network.weather = () => ({ refuse: true });
  network.cut();
  await Promise.all(pages.map((page, i) => state(page, `Continuing over ${LABELS[TRANSPORTS[i]]} …`)));
  network.weather = () => ({});
  for (const page of pages) await isWhole(page, "cut?", network.url);
});

test("after the end a plain event source is told that this was all, and stays away", async (t) => {
  const page = await newPage(await newContext(t), "poll");
  const room = await ask(page, "over?");
  await isWhole(page, "over?");

  const answers = [];
  page.on("response", (response) => {
    const url = new URL(response.url());
    if (url.pathname === "/realtime/sse") answers.push(response.status());
  });
  let control = 0;
  await page.route("**/control", async (route) => {
    control += 1;
    // The longest pause that the server asks of a browser.
    await route.fulfill({ contentType: "text/event-stream", body: "retry: 3000\n\n" });
  });
  await page.evaluate((room) => {
    window.plain = new EventSource(`/realtime/sse?room=${room}&from=start`);
    window.told = [];
    for (const name of ["tidings.end", "done"]) window.plain.addEventListener(name, () => window.told.push(name));
    window.plain.onerror = () => window.told.push(window.plain.readyState);
  }, room);
  await until("it is closed", () => page.evaluate(() => window.plain.readyState === EventSource.CLOSED));
  // The stream ends after its last word, the browser comes back once, and is sent away.
  assert.deepEqual(await page.evaluate(() => window.told), ["done", "tidings.end", 0, 2]);
  assert.deepEqual(answers, [200, 204]);

  // An event source that is not sent away comes back, twice; the other one has not.
  await page.evaluate(() => { window.control = new EventSource("/control"); });
  await until("the other one has come back twice", () => control >= 3 || control);
  assert.equal(answers.length, 2);

  // A poll from there is told the same.
  const { cursor } = await snapshot(server.url, room);
  const query = new URLSearchParams({ room, cursor, wait: "5" });
  assert.equal((await fetch(`${server.url}/realtime/poll?${query}`)).status, 204);
});

test("an answer goes on though nobody is there", async (t) => {
  const context = await newContext(t);
  const asking = await newPage(context, "sse");
  const room = await ask(asking, "alone?");
  await some(asking);
  const { tokens: before } = await shown(asking);
  await asking.close();
  await until("it has gone on", async () => {
    const { tokens, reason } = await snapshot(server.url, room);
    return tokens.length > before + 100 || reason || tokens.length;
  });
  const page = await newPage(context, "ws", { room });
  await isWhole(page, "alone?");
});

test("Stop ends the work, and every tab sees it", async (t) => {
  const context = await newContext(t);
  const page = await newPage(context, "sse");
  const room = await ask(page, "stop?");
  const others = await Promise.all(TRANSPORTS.map((transport) => newPage(context, transport, { room })));
  for (const other of others) await some(other, 1);
  await page.getByRole("button", { name: "Stop" }).click();
  for (const tab of [page, ...others]) await state(tab, "Stopped");
  const { tokens, reason, ended } = await snapshot(server.url, room);
  assert.deepEqual([reason, ended], ["cancelled", true]);
  const text = tokens.join("");
  assert.ok(TEXT.startsWith(text) && text.length < TEXT.length);
  for (const tab of [page, ...others]) {
    assert.equal((await shown(tab)).text, text);
    assert.equal(await tab.getByRole("button", { name: "Stop" }).isDisabled(), true);
  }
  const again = await call(server.url, "cancel", { room });
  assert.deepEqual([again.type, again.code], ["error", "unknown_answer"]);
});

test("two answers at once do not mix, and the first goes on behind the second", async (t) => {
  const context = await newContext(t);
  const [one, two] = [await newPage(context, "sse"), await newPage(context, "ws")];
  const rooms = [await ask(one, "first?"), await ask(two, "second?")];
  assert.notEqual(rooms[0], rooms[1]);
  await some(one);
  // A third question in the first page: its old answer goes on, and is a step back in its history.
  await one.getByLabel("Question").fill("third?");
  await one.getByRole("button", { name: "Ask" }).click();
  await until("another room", async () => await hash(one) !== rooms[0]);
  await some(one);
  assert.ok(TEXT.startsWith((await shown(one)).text));
  await isWhole(two, "second?");
  await isWhole(one, "third?");
  await one.goBack();
  await isWhole(one, "first?");
});

test("only the server writes, and what it does not take it says", async (t) => {
  const page = await newPage(await newContext(t), "sse");
  const room = await ask(page, "<img src=x onerror=hit=1>");
  const forged = await send(server.url, { type: "publish", ref: 1, room, event: "token", data: { text: "forged" } });
  assert.deepEqual([forged.status, forged.code], [403, "forbidden"]);
  assert.equal((await fetch(`${server.url}/realtime/poll?room=elsewhere`)).status, 403);
  assert.equal((await call(server.url, "ask", { question: " " })).code, "bad_question");
  await isWhole(page, "<img src=x onerror=hit=1>");
  assert.equal(await page.locator("#answer img").count(), 0);

  await page.route("**/realtime/send", (route) => route.abort(), { times: 1 });
  await page.getByLabel("Question").fill("lost?");
  await page.getByRole("button", { name: "Ask" }).click();
  await until("the failure is told", async () => {
    const told = await page.getByRole("alert").textContent();
    return told === "Not asked: no answer came; it may have been done." || told;
  });
  assert.equal(await page.getByLabel("Question").inputValue(), "lost?");
  assert.equal(await hash(page), room);
});
