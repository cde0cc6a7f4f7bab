// What the manual says to do with the browser's own EventSource and tickets, done word for word.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { startNetwork, startServer, until } from "../test/support/server.mjs";
import { newContext, numbers, startBrowser } from "./support.mjs";

const MANUAL = new URL("../../tidings/src/manual/security.md", import.meta.url);

let browser;
before(async () => { browser = await startBrowser(); });
after(() => browser?.close());

/** The only script of the section about tickets. */
async function recipe() {
  const [, section] = /^### Tickets$(.*?)^### /ms.exec(await readFile(MANUAL, "utf8"));
  const scripts = Array.from(section.matchAll(/^```js\n(.*?)^```$/gms), ([, script]) => script);
  assert.equal(scripts.length, 1);
  return scripts[0];
}

test("the manual's EventSource with tickets misses nothing over cuts, and shows its token in no address", async (t) => {
  const server = await startServer(["--token", "right"]);
  t.after(() => server.stop("SIGKILL"));
  const network = await startNetwork(server.url);
  t.after(() => network.stop());
  const page = await (await newContext(t, browser)).newPage();
  await page.goto(`${network.url}/`);
  await page.evaluate(() => {
    window.shown = [];
    window.token = async () => "right";
    window.show = (data) => window.shown.push(data);
    // What the script has of the browser: its streams, and how often it has put something off.
    window.sources = [];
    window.waits = 0;
    const { EventSource, setTimeout } = window;
    window.EventSource = class extends EventSource {
      constructor(url) {
        super(url);
        window.sources.push(this);
      }
    };
    window.setTimeout = (...more) => {
      window.waits += 1;
      return setTimeout(...more);
    };
  });
  await page.addScriptTag({ content: await recipe() });
  /** Without those before it had joined. */
  const shown = () => page.evaluate(() => window.shown.filter((n) => n > 0));
  const asked = (what) => network.heads.filter((head) => head.startsWith(what));
  const send = async (command) => {
    const headers = { "content-type": "application/json", authorization: "Bearer right" };
    const response = await fetch(`${server.url}/realtime/send`, { method: "POST", headers, body: JSON.stringify(command) });
    assert.equal(response.status, 200);
  };
  const publish = (data) => send({ type: "publish", ref: 1, room: "news", event: "headline", data });
  const showsAll = (count) => until(`${count} shown`, async () => (await shown()).length >= count || shown());

  await until("it listens", () => asked("GET /realtime/sse").length === 1);
  // From now on, says its address: before the stream has begun, that is later.
  await until("it has joined", async () => {
    await publish(0);
    return page.evaluate(() => window.shown.length > 0);
  });
  for (const n of numbers(1, 5)) await publish(n);
  await showsAll(5);
  // Neither the stream nor a ticket is to be had for a while.
  network.weather = () => ({ refuse: true });
  network.cut();
  for (const n of numbers(6, 10)) await publish(n);
  network.weather = () => ({});
  await showsAll(10);
  for (const n of numbers(11, 13)) {
    network.cut();
    await publish(n);
    await showsAll(n);
  }
  assert.deepEqual(await shown(), numbers(1, 13));

  const tickets = asked("GET /realtime/sse").map((head) => /[?&]ticket=([^& ]+)/.exec(head)?.[1]);
  assert.ok(new Set(tickets).size >= 5, "each time with a new one");
  assert.ok(!network.heads.some((head) => head.split("\r\n")[0].includes("right")), "the token is in no address");
  // The end of the room is the end of asking.
  const effort = () => page.evaluate(() => [window.sources.length, window.waits]);
  const before = await effort();
  await send({ type: "call", ref: 1, method: "end", data: "news" });
  await until("the stream is closed", () => page.evaluate(() => window.sources.at(-1).readyState === EventSource.CLOSED));
  assert.deepEqual(await effort(), before);
});
