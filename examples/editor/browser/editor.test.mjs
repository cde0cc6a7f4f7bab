// Several pages write one document in a real browser: in the end all have one text, and everything that was typed is in it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  TRANSPORTS, call, live, newContext, newDocument, newNetwork, open, opened, same, saved, send, startBrowser, startServer,
  status, text, type, until,
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

const line = (who) => `${who} writes this all at one go, while others write elsewhere. `;

/** Nobody's words are cut apart by those of others: each caret goes along with what is written before it. */
async function haveAll(pages, lines) {
  const one = await same(pages, (one) => one.length >= lines.join("").length);
  assert.equal(one.length, lines.join("").length);
  for (const words of lines) assert.ok(one.includes(words), `${words} in ${one}`);
}

for (const transport of TRANSPORTS) {
  test(`${transport}: two pages type at the same time`, async (t) => {
    const context = await newContext(t, browser);
    const document = newDocument();
    const pages = [];
    for (const name of ["one", "two"]) pages.push(await open(context, { at: server, document, transport, name }));
    const lines = pages.map((_, i) => line(`page ${i}`));
    await Promise.all(pages.map((page, i) => type(page, lines[i])));
    await haveAll(pages, lines);
  });
}

test("three pages, one on each transport, type at the same time, and a late one has it all", async (t) => {
  const context = await newContext(t, browser);
  const document = newDocument();
  const pages = [];
  for (const transport of TRANSPORTS) pages.push(await open(context, { at: server, document, transport }));
  const lines = TRANSPORTS.map(line);
  await Promise.all(pages.map((page, i) => type(page, lines[i])));
  await haveAll(pages, lines);

  // It takes the state, and what comes after it from the room: nothing of what is in the state comes again.
  const late = await context.newPage();
  const events = [];
  late.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => {
    const { type, room, event } = JSON.parse(payload);
    if (type === "gap" || (room === `document:${document}` && type === "event")) events.push(event ?? type);
  }));
  await late.goto(`${server.url}/?${new URLSearchParams({ document, transport: "ws" })}`);
  await opened(late);
  await haveAll([...pages, late], lines);
  assert.deepEqual(events, []);
  await type(pages[0], "!");
  await same([...pages, late], (one) => one.includes("!"));
  assert.deepEqual(events, ["update"]);
});

for (const transport of ["sse", "poll"]) {
  test(`${transport}: what is written between the answer to "open" and the joining of the room is there, once`, async (t) => {
    const context = await newContext(t, browser);
    const document = newDocument();
    const writer = await open(context, { at: server, document });
    await type(writer, "Before. ", 0);
    await saved(writer);
    const page = await context.newPage();
    await page.route("**/realtime/send", async (route) => {
      const answer = await route.fetch();
      if (route.request().postDataJSON().some(({ method }) => method === "open")) {
        await type(writer, "Between. ", 0);
        await saved(writer);
      }
      await route.fulfill({ response: answer });
    });
    await page.goto(`${server.url}/?${new URLSearchParams({ document, transport })}`);
    await opened(page);
    assert.equal(await same([writer, page], (one) => one.length > 8), "Before. Between. ");
    // What is on its way is let through before the page is closed.
    await page.unrouteAll({ behavior: "wait" });
  });
}

test("networks that are cut again and again lose nothing of what is typed", async (t) => {
  const context = await newContext(t, browser);
  const document = newDocument();
  const networks = [];
  const pages = [];
  for (const transport of TRANSPORTS) {
    networks.push(await newNetwork(t, server));
    pages.push(await open(context, { at: networks.at(-1), document, transport }));
  }
  const lines = TRANSPORTS.map((name) => line(name).repeat(2));
  const cutting = setInterval(() => networks.forEach((network) => network.cut()), 700);
  try {
    await Promise.all(pages.map((page, i) => type(page, lines[i], 40)));
  } finally {
    clearInterval(cutting);
  }
  await haveAll(pages, lines);
});

for (const transport of TRANSPORTS) {
  test(`${transport}: what is written without a network is kept and published when it is back`, async (t) => {
    const network = await newNetwork(t, server);
    const document = newDocument();
    const [here, away] = [await newContext(t, browser), await newContext(t, browser)];
    const others = await open(here, { at: server, document });
    const page = await open(away, { at: network, document, transport });
    await type(page, "Together. ");
    await same([page, others], (one) => one === "Together. ");

    network.fail();
    await away.setOffline(true);
    await type(page, "On the train. ");
    await status(page, "#state", "Offline");
    await status(page, "#saved", "Kept on this page");
    await type(others, "At the desk. ");
    await saved(others);
    assert.equal(await text(page), "Together. On the train. ");
    assert.equal(await text(others), "At the desk. Together. ");

    network.recover();
    await away.setOffline(false);
    await live(page, transport);
    assert.equal(await same([page, others], (one) => one.length > 30), "At the desk. Together. On the train. ");
  });
}

test("a page that was away for longer than the room remembers opens the document anew", async (t) => {
  const small = await startServer(["--history", "3"]);
  t.after(() => small.stop());
  for (const transport of TRANSPORTS) {
    const network = await newNetwork(t, small);
    const context = await newContext(t, browser);
    const document = newDocument();
    const others = await open(context, { at: small, document });
    const page = await open(context, { at: network, document, transport });
    const opens = [];
    page.on("websocket", (socket) => socket.on("framesent", ({ payload }) => opens.push(JSON.parse(payload).method)));
    page.on("request", (request) => opens.push(...(request.postDataJSON() ?? []).map(({ method }) => method)));
    network.fail();
    await type(page, "Away. ");
    for (const words of ["One. ", "Two. ", "Three. ", "Four. ", "Five. "]) {
      await type(others, words, 0);
      await saved(others);
    }
    network.recover();
    const one = await same([page, others], (one) => one.length >= 35);
    assert.ok(one === "Away. One. Two. Three. Four. Five. " || one === "One. Two. Three. Four. Five. Away. ", one);
    assert.equal(opens.filter((method) => method === "open").length, 1, transport);
    await context.close();
  }
});

test("after a restart of the server the pages give it back what it has forgotten", async (t) => {
  let at = await startServer();
  t.after(() => at.stop());
  const context = await newContext(t, browser);
  const document = newDocument();
  const pages = [];
  for (const transport of TRANSPORTS) pages.push(await open(context, { at, document, transport }));
  await type(pages[0], "Before. ");
  await same(pages, (one) => one === "Before. ");
  await at.stop();
  await type(pages[1], "Between. ");
  at = await startServer([], at.listen);
  const one = await same(pages, (one) => one.length === 17);
  assert.ok(one.includes("Before. ") && one.includes("Between. "), one);
  const late = await open(context, { at, document });
  assert.equal(await same([...pages, late], (text) => text.length === 17), one);
});

test("a reload keeps the text, and another document is another", async (t) => {
  const context = await newContext(t, browser);
  const document = newDocument();
  const page = await open(context, { at: server, document });
  await type(page, "Kept, with ümlauts and 👩‍👩‍👧.\nA second line.\n", 0);
  await saved(page);
  const before = await text(page);
  await page.reload();
  await opened(page);
  assert.equal(await text(page), before);
  assert.equal(await text(await open(context, { at: server, document: newDocument() })), "");
});

test("the server takes updates only, and says why it takes nothing else", async (t) => {
  const document = newDocument();
  const publish = (room, event, data) => send(server, { type: "publish", ref: 1, room, event, data });
  const room = `document:${document}`;
  const codes = async (...answer) => {
    const { status, code } = await publish(...answer);
    return [status, code];
  };
  assert.deepEqual(await codes(room, "update", "AAA="), [400, "unknown_document"]);
  assert.equal((await call(server, document)).type, "reply");
  for (const bad of ["?", "", 1, null, ["AAA="], "AQ=="]) {
    assert.deepEqual(await codes(room, "update", bad), [400, "bad_update"], JSON.stringify(bad));
  }
  assert.deepEqual(await codes(room, "update", "A".repeat(720_000)), [413, "too_large"]);
  assert.deepEqual(await codes(room, "lost", null), [403, "forbidden"]);
  assert.deepEqual(await codes("elsewhere", "update", "AAA="), [403, "forbidden"]);
  assert.deepEqual(await codes(`members:${document}`, "here", "x".repeat(2_000)), [413, "too_large"]);
  assert.equal((await call(server, "no/name")).code, "bad_document");

  // On the page: the text stays, and the next edit takes it along.
  const page = await open(await newContext(t, browser), { at: server, document, transport: "poll" });
  const refuse = { code: "document_full", message: "the document is full", type: "error" };
  let refused = 0;
  await page.route("**/realtime/send", async (route) => {
    const commands = route.request().postDataJSON();
    if (refused > 0 || !commands.some(({ event }) => event === "update")) return route.continue();
    refused += 1;
    await route.fulfill({ json: commands.map(({ ref }) => ({ ref, ...refuse })) });
  });
  await type(page, "a");
  await status(page, "#saved", "Not saved: the document is full");
  await type(page, "b");
  await saved(page);
  const other = await open(page.context(), { at: server, document });
  await until("both", async () => (await text(other)) === "ab" || text(other));
  await page.unrouteAll({ behavior: "wait" });
});
