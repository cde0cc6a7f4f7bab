// The chat in a real browser, as its members see it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  LABELS, TRANSPORTS, count, join as joinAt, joinAll as joinAllAt, live, messages, newContext as contextOf, notes, say,
  startBrowser, startServer, texts, until,
} from "./support.mjs";

let browser;
let server;

before(async () => {
  server = await startServer();
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const newContext = (t) => contextOf(t, browser);
const join = (context, member) => joinAt(context, { at: server, ...member });
const joinAll = (context, room, at = server) => joinAllAt(context, room, at);

test("three transports share one room, in one order", async (t) => {
  const pages = await joinAll(await newContext(t), "together");
  for (const [i, page] of pages.entries()) await say(page, `hello ${i}`);
  const hellos = TRANSPORTS.map((transport, i) => (
    { who: `on ${transport}`, badge: LABELS[transport], text: `hello ${i}`, timed: true }
  ));
  for (const page of pages) {
    await count(page, 3);
    assert.deepEqual(await messages(page), hellos);
  }

  await Promise.all(pages.map(async (page, i) => {
    for (let n = 0; n < 10; n++) await say(page, `${i}: ${n}`);
  }));
  for (const page of pages) await count(page, 33);
  const lists = await Promise.all(pages.map(messages));
  assert.deepEqual(lists[1], lists[0]);
  assert.deepEqual(lists[2], lists[0]);
  for (const i of pages.keys()) {
    const own = lists[0].map(({ text }) => text).filter((text) => text.startsWith(`${i}: `));
    assert.deepEqual(own, Array.from({ length: 10 }, (_, n) => `${i}: ${n}`), "each speaker's own order");
  }
  for (const page of pages) assert.deepEqual(await notes(page), []);
});

test("changing the transport in mid-chat loses nothing and repeats nothing", async (t) => {
  const context = await newContext(t);
  const room = "changing";
  const writer = await join(context, { name: "writer", room, transport: "ws" });
  const page = await join(context, { name: "reader", room, transport: "ws" });
  await writer.evaluate(() => {
    const box = document.querySelector("#text");
    window.written = [];
    window.writing = setInterval(() => {
      if (box.readOnly) return; // the last one is still under way
      box.value = `m${window.written.length}`;
      window.written.push(box.value);
      document.querySelector("#compose").requestSubmit();
    }, 20);
  });
  const choose = (transport) => page.getByLabel(LABELS[transport]).check();
  // From each to each, with messages between two changes,
  for (const transport of ["sse", "poll", "ws", "poll", "sse", "ws"]) {
    await choose(transport);
    await live(page, transport);
    await count(page, (await messages(page)).length + 5);
  }
  // and as fast as it goes, mostly before the last one is live.
  for (let i = 1; i <= 12; i++) await choose(TRANSPORTS[i % 3]);
  await count(page, (await messages(page)).length + 5);
  const written = await writer.evaluate(() => {
    clearInterval(window.writing);
    return window.written;
  });
  await count(page, written.length);
  assert.deepEqual(await texts(page), written);
  assert.deepEqual(await notes(page), []);
  // What was in flight at a change has had its time: another message is through.
  await say(page, "done");
  await count(page, written.length + 1);
  assert.deepEqual(await texts(page), [...written, "done"]);
});

test("every page comes back by itself when the server is replaced", async (t) => {
  let at = await startServer();
  t.after(() => at.stop());
  const pages = await joinAll(await newContext(t), "replaced", at);
  await say(pages[0], "before");
  for (const page of pages) await count(page, 1);

  const { code, took } = await at.stop();
  assert.equal(code, 0);
  assert.ok(took < 5_000, `the server ended within ${Math.round(took)} ms`);
  for (const page of pages) {
    await until("reconnecting", async () => {
      const state = await page.getByRole("status").textContent();
      return state.startsWith("Reconnecting") || state;
    });
  }

  at = await startServer([], at.listen);
  for (const [i, page] of pages.entries()) await live(page, TRANSPORTS[i]);
  for (const [i, page] of pages.entries()) await say(page, `after ${i}`);
  for (const page of pages) {
    await count(page, 4);
    assert.deepEqual(await texts(page), ["before", "after 0", "after 1", "after 2"]);
    // The new process knows nothing of the old one's messages, and says so.
    assert.deepEqual((await notes(page)).map((note) => /missing: epoch/.test(note)), [true]);
  }
});

test("markup in names, rooms and messages is shown as text", async (t) => {
  const context = await newContext(t);
  const name = "<img src=x onerror=hit=1>";
  const room = "<i>room</i> & \"more\"";
  const text = "<b>bold</b><script>hit=1</script>&amp;";
  const pages = [];
  for (const transport of TRANSPORTS) pages.push(await join(context, { name, room, transport }));
  await say(pages[0], text);
  for (const page of pages) {
    await count(page, 1);
    const [message] = await messages(page);
    assert.deepEqual([message.who, message.text], [name, text]);
    assert.equal(await page.getByRole("heading").textContent(), `#${room}`);
    assert.equal(await page.title(), `#${room} · Tidings chat`);
    assert.equal(await page.locator("img, #chat :is(i, script), #messages b").count(), 0);
    assert.equal(await page.evaluate(() => typeof window.hit), "undefined");
  }
});

test("what can be no name or room is refused beside its field, and can be mended", async (t) => {
  const page = await (await newContext(t)).newPage();
  await page.goto(server.url);
  const [name, room] = [page.getByLabel("Name"), page.getByLabel("Room")];
  const enter = () => page.getByRole("button", { name: "Join" }).click();
  const refused = async (field) => {
    await enter();
    assert.equal(await field.evaluate(({ validity }) => validity.customError), true);
    assert.equal(await page.locator("#chat").isHidden(), true);
  };
  await name.fill("  ");
  await refused(name);
  await name.fill("me");
  for (const bad of [" ~kept", "a bell \u0007", "  "]) {
    await room.fill(bad);
    await refused(room);
  }
  await room.fill(" mended ");
  await enter();
  await live(page, "auto");
  assert.equal(await page.locator("#heading").textContent(), "#mended");
});

test("an event stream has a cursor before any event, and comments are no events", async (t) => {
  const page = await (await newContext(t)).newPage();
  await page.goto(server.url);
  const { opened, id, type, cursor, others } = await page.evaluate(() => new Promise((done, fail) => {
    const source = new EventSource("/realtime/sse?room=quiet&from=start");
    let others = 0;
    let opened = false;
    source.onopen = () => { opened = true; };
    source.onmessage = () => { others += 1; };
    source.onerror = () => fail(new Error("the stream broke"));
    source.addEventListener("tidings.joined", ({ lastEventId: id, data }) => {
      source.close();
      done({ opened, id, others, ...JSON.parse(data) });
    });
  }));
  assert.deepEqual([opened, type, others], [true, "joined", 0]);
  assert.notEqual(id, "");
  assert.equal(id, cursor);

  // It is a place to go on from, on any transport.
  const speaker = await join(page.context(), { name: "someone", room: "quiet", transport: "sse" });
  await say(speaker, "at last");
  const query = new URLSearchParams({ room: "quiet", cursor: id, wait: "5" });
  const answer = await (await fetch(`${server.url}/realtime/poll?${query}`)).json();
  assert.deepEqual(answer.events.map(({ type, data }) => [type, data?.text]), [["event", "at last"]]);
});

test("an answer that is lost costs nothing: the message is published once", async (t) => {
  const page = await join(await newContext(t), { name: "unlucky", room: "losing", transport: "poll" });
  // The first answer is lost on its way back, though the message arrived.
  let lost = 0;
  await page.route("**/realtime/send", async (route) => {
    lost += 1;
    await route.fetch();
    await route.abort();
  }, { times: 1 });
  await say(page, "once");
  await say(page, "twice");
  await count(page, 2);
  assert.deepEqual(await texts(page), ["once", "twice"]);
  assert.equal(lost, 1);
  assert.equal(await page.getByRole("alert").count(), 0, "nothing is complained about");
});

test("a refusal is told and the text stays", async (t) => {
  const page = await join(await newContext(t), { name: "refused", room: "refusing", transport: "poll" });
  const box = page.getByLabel("Message", { exact: true });
  await page.route("**/realtime/send", (route) => route.fulfill({
    json: route.request().postDataJSON().map(({ ref }) => ({ type: "error", ref, code: "forbidden", message: "quiet, please" })),
  }), { times: 1 });
  await box.fill("again");
  await page.getByRole("button", { name: "Send" }).click();
  await until("the refusal is told", async () => {
    const told = await page.getByRole("alert").textContent();
    return told.startsWith("Not sent: quiet, please") || told;
  });
  assert.equal(await box.inputValue(), "again");
  await page.getByRole("button", { name: "Send" }).click();
  await count(page, 1);
  assert.deepEqual(await texts(page), ["again"]);
});

test("leaving ends the connection, and rejoining shows the history", async (t) => {
  const page = await join(await newContext(t), { name: "guest", room: "first", transport: "ws" });
  await say(page, "one");
  await page.getByRole("button", { name: "Leave" }).click();
  assert.equal(await page.title(), "Tidings chat");

  await page.getByLabel("Room").fill("second");
  await page.getByLabel(LABELS.sse).check();
  await page.getByRole("button", { name: "Join" }).click();
  await live(page, "sse");
  await say(page, "two");
  await count(page, 1);
  assert.deepEqual(await texts(page), ["two"]);

  await page.getByRole("button", { name: "Leave" }).click();
  await page.getByLabel("Room").fill("first");
  await page.keyboard.press("Enter");
  await live(page, "sse");
  await count(page, 1);
  assert.deepEqual(await texts(page), ["one"]);

  await page.goto(server.url);
  assert.equal(await page.getByLabel("Name").inputValue(), "guest", "the name is remembered");
});
