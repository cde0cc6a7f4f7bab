// Text that comes to a real browser in pieces, wherever they are cut.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startNetwork, startServer } from "../test/support/server.mjs";
import { joined, newContext, newPage, startBrowser, told } from "./support.mjs";

let browser;
let server;

before(async () => {
  server = await startServer();
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop("SIGKILL");
});

/** Characters of two, three and four bytes, and the mark that counts as one of order only at the beginning of a stream. */
const TEXTS = ["é", "€uro", "😀😀", "\ufeff kept \ufeff", "a\u2028b\u0085c", "line\r\nends\rin\ntext", "é€😀".repeat(40)];

for (const [name, options] of [["ws", {}], ["sse", {}], ["EventSource", { transports: ["sse"], eventSource: true }], ["poll", {}]]) {
  test(`${name}: what comes byte by byte, and goes so, is what was meant`, async (t) => {
    const network = await startNetwork(server.url);
    t.after(() => network.stop());
    network.weather = (head) => ({ crumbs: !head.includes("/tidings.js ") });
    const room = `pièces € 😀 ${name}`;
    const context = await newContext(t, browser);
    const page = await newPage(context, network.url, { options: { transports: [name], share: false, ...options }, rooms: [room] });
    await joined(page);
    for (const text of TEXTS) await server.publish(room, text);
    await page.evaluate(([room, texts]) => Promise.all(texts.map((text) => window.rooms[room].publish("n", text))), [room, TEXTS]);
    await told(page, [...TEXTS, ...TEXTS], room);
  });
}

test("an event stream is read the same wherever it was cut, with each kind of line end, and a mark of order before it", async (t) => {
  const room = "cut everywhere é";
  for (const text of TEXTS.slice(0, -1)) await server.publish(room, text);
  const page = await (await newContext(t, browser)).newPage();
  await page.goto(`${server.url}/`);
  const wrong = await page.evaluate(async ([room, texts]) => {
    const { Tidings } = await import("/realtime/tidings.js");

    // What the server really sends.
    const query = new URLSearchParams({ room, from: "start", format: "json", hello: 1 });
    const ender = new AbortController();
    const response = await fetch(`/realtime/sse?${query}`, { signal: ender.signal });
    let sent = "";
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    while (sent.split('"type":"event"').length <= texts.length || !sent.endsWith("\n\n")) sent += (await reader.read()).value;
    ender.abort();
    const ends = ["\n", "\r\n", "\r"];
    let line = 0;
    const bytes = new TextEncoder().encode(`\ufeff${sent.replaceAll("\n", () => ends[line++ % 3])}`);

    /** What a client hears that is sent these pieces. */
    const hear = (pieces) => new Promise((done) => {
      const body = new ReadableStream({
        start(stream) {
          for (const piece of pieces) stream.enqueue(piece);
        },
      });
      const answer = new Response(body, { headers: { "content-type": "text/event-stream" } });
      const tidings = new Tidings("/realtime", { transports: ["sse"], share: false, fetch: async () => answer });
      const list = [];
      tidings.join(room, { from: "start" }).on("event", (data) => {
        list.push(data);
        if (list.length < texts.length) return;
        tidings.close();
        done(list);
      });
      // A parser that fails ends the connection.
      tidings.on("state", ({ state, reason }) => state === "waiting" && done([...list, reason]));
    });
    const empty = new Uint8Array();
    const cuts = [[bytes], [...bytes].flatMap((byte) => [empty, Uint8Array.of(byte), empty])];
    for (let at = 0; at <= bytes.length; at++) cuts.push([empty, bytes.subarray(0, at), empty, bytes.subarray(at)]);
    const heard = await Promise.all(cuts.map(hear));
    const want = JSON.stringify(texts);
    return { count: cuts.length, wrong: heard.map((list) => JSON.stringify(list)).filter((list) => list !== want) };
  }, [room, TEXTS.slice(0, -1)]);
  assert.deepEqual(wrong.wrong, []);
  assert.ok(wrong.count > 500, `${wrong.count} ways`);
});
