// What a real browser asks for again, and what it takes for final: our client, and the browser's own EventSource.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startOddServer } from "../test/support/odd-server.mjs";
import { startNetwork, startServer, until } from "../test/support/server.mjs";
import { newContext, startBrowser } from "./support.mjs";

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

const write = (status, headers = {}, body = "") => (_, response) => response.writeHead(status, headers).end(body);
const json = (status, code) => write(status, { "content-type": "application/json" }, JSON.stringify({ type: "error", code, message: "no" }));

/** Answers, what the room is told of them, and how many requests that takes. */
const FINAL = {
  204: { answer: write(204), told: ["end"], requests: 1 },
  401: { answer: json(401, "unauthorized"), told: ["unauthorized"], requests: 1 },
  "401-renewed": { answer: json(401, "unauthorized"), told: ["unauthorized"], requests: 2, renewable: true },
  403: { answer: json(403, "forbidden"), told: ["forbidden"], requests: 1 },
  404: { answer: write(404, { "content-type": "text/html" }, "<h1>Not here</h1>"), told: ["refused"], requests: 1 },
  410: { answer: write(410), told: ["refused"], requests: 1 },
  "wrong-type": { answer: write(200, { "content-type": "text/html" }, "<h1>Sign in</h1>"), told: ["wrong_type"], requests: 1 },
};

/** Answers after which the client comes back, and how long it has to wait before. */
const PASSING = {
  429: { answer: write(429, { "retry-after": "1" }), least: 1_000 },
  503: { answer: write(503, { "retry-after": "2" }), least: 2_000 },
  "503-date": {
    answer: (_, response) => response.writeHead(503, { "retry-after": new Date(Date.now() + 2_000).toUTCString() }).end(),
    least: 900,
  },
  500: { answer: write(500), least: 0 },
  502: { answer: write(502, { "content-type": "text/html" }, "<h1>Bad gateway</h1>"), least: 0 },
  reset: { answer: (request) => request.socket.resetAndDestroy(), least: 0 },
};

// They wait most of the time.
describe("refusals", { concurrency: true }, () => {
  test("a final answer is asked for once and told once, after any other the client comes back when it may", async (t) => {
    const cases = { ...FINAL, ...PASSING };
    const odd = await startOddServer((request, response) => cases[request.url.split("/")[2]].answer(request, response), server.url);
    t.after(() => odd.stop());
    const page = await (await newContext(t, browser)).newPage();
    await page.goto(`${odd.url}/`);
    const each = (cases) => ["sse", "poll"].flatMap((name) => Object.entries(cases).map(([what, more]) => [`/${name}/${what}`, more]));
    await page.evaluate(async (cases) => {
      const { Tidings } = await import("/realtime/tidings.js");
      window.told = {};
      window.tokens = {};
      for (const [path, renewable] of cases) {
        const list = window.told[path] = [];
        window.tokens[path] = 0;
        const token = renewable ? () => `token ${++window.tokens[path]}` : undefined;
        const transports = [path.split("/")[1]];
        const room = new Tidings(`${path}/realtime`, { transports, share: false, token }).join("a");
        room.on("end", () => list.push("end"));
        room.on("error", ({ code }) => list.push(code));
      }
    }, each(cases).map(([path, { renewable }]) => [path, renewable]));
    const requests = (path) => odd.requests.filter(({ url }) => url.startsWith(`${path}/`));
    // As long as that takes, the others have time to ask again.
    for (const [path, { least }] of each(PASSING)) {
      await until(`${path} again`, () => requests(path).length >= (least > 0 ? 2 : 3) || requests(path).length);
    }
    const [told, tokens] = await page.evaluate(() => [window.told, window.tokens]);
    for (const [path, { told: wanted, requests: count, renewable }] of each(FINAL)) {
      assert.deepEqual([path, told[path], requests(path).length, tokens[path]], [path, wanted, count, renewable ? 2 : 0]);
    }
    for (const [path, { least }] of each(PASSING)) {
      const [first, second] = requests(path);
      assert.deepEqual([path, told[path]], [path, []]);
      assert.ok(second.at - first.at >= least, `${path}: ${second.at - first.at}`);
    }
  });

  test("an event stream that ends well is resumed after its last event", async (t) => {
    const odd = await startOddServer(async (request, response) => {
      const rest = odd.requests.length > 1;
      const objects = [
        { type: "hello", version: 1 },
        { type: "joined", room: "a", cursor: rest ? "p1.6.0" : "p1.5.0", recovered: true },
        ...(rest ? [] : [{ type: "event", room: "a", id: "p1.6.0", event: "n", data: 1 }]),
      ];
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.end(`retry: 300\n\n${objects.map((object) => `data: ${JSON.stringify(object)}\n\n`).join("")}`);
    }, server.url);
    t.after(() => odd.stop());
    const page = await (await newContext(t, browser)).newPage();
    await page.goto(`${odd.url}/`);
    await page.evaluate(async () => {
      const { Tidings } = await import("/realtime/tidings.js");
      window.list = [];
      new Tidings("/realtime", { transports: ["sse"], share: false }).join("a").on("n", (data) => window.list.push(data));
    });
    await until("it is back twice", () => odd.requests.length >= 3);
    const froms = odd.requests.map(({ url }) => new URL(url, odd.url).searchParams.get("from"));
    assert.deepEqual(froms.slice(0, 3), ["now", "p1.6.0", "p1.6.0"]);
    assert.ok(odd.requests[1].at - odd.requests[0].at >= 300, `${odd.requests[1].at - odd.requests[0].at}`);
    assert.deepEqual(await page.evaluate(() => window.list), [1]);
  });

  test("the browser's own EventSource resumes over cuts, and stops for good where the server says so", async (t) => {
    const guarded = await startServer(["--token", "right"]);
    t.after(() => guarded.stop("SIGKILL"));
    const network = await startNetwork(guarded.url);
    t.after(() => network.stop());
    const page = await (await newContext(t, browser)).newPage();
    await page.goto(`${network.url}/`);
    const listen = (room, token) => page.evaluate(async ([room, token]) => {
      const source = new EventSource(`/realtime/sse?${new URLSearchParams({ room, token })}`);
      const all = window.sources ??= {};
      const mine = all[room] = { source, list: [], joined: 0 };
      source.addEventListener("n", ({ data, lastEventId }) => mine.list.push([JSON.parse(data), lastEventId]));
      source.addEventListener("tidings.joined", () => { mine.joined += 1; });
      for (const word of ["tidings.gap", "tidings.end"]) source.addEventListener(word, () => mine.list.push([word]));
    }, [room, token]);
    const state = (room) => page.evaluate((room) => {
      const { source, list, joined } = window.sources[room];
      return { state: source.readyState, list: list.map(([data]) => data), last: list.at(-1)?.[1], joined };
    }, room);
    const heads = (room) => network.heads.filter((head) => head.includes(`room=${room}&`));
    const send = async (command) => {
      const headers = { "content-type": "application/json", authorization: "Bearer right" };
      const response = await fetch(`${guarded.url}/realtime/send`, { method: "POST", headers, body: JSON.stringify(command) });
      assert.equal(response.status, 200);
      return response.json();
    };
    const publish = async (data) => (await send({ type: "publish", ref: 1, room: "a", event: "n", data })).id;
    const CLOSED = 2;

    await listen("a", "right");
    await listen("forbidden", "right");
    await listen("wrong", "wrong");
    await until("joined", async () => (await state("a")).joined === 1);
    // A refusal that is cut off on its way would be asked for again.
    for (const room of ["forbidden", "wrong"]) await until(`${room} is refused`, async () => (await state(room)).state === CLOSED);
    for (const n of [1, 2, 3, 4, 5]) await publish(n);
    await until("five", async () => (await state("a")).list.length === 5);
    network.weather = () => ({ refuse: true });
    network.cut();
    let last;
    for (const n of [6, 7, 8, 9, 10]) last = await publish(n);
    network.weather = () => ({});
    await until("ten", async () => (await state("a")).list.length >= 10 || state("a"));
    // Without anything new in between.
    network.cut();
    const before = (await state("a")).joined;
    await until("it is back", async () => (await state("a")).joined > before || state("a"));
    assert.equal(/^last-event-id: (\S+)$/im.exec(heads("a").at(-1).replaceAll("\r", ""))?.[1], last);
    assert.deepEqual([(await state("a")).list, (await state("a")).last], [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], last]);

    // The end of the room: the stream ends, the browser comes back by its rules, and is told that there is no more.
    const ended = heads("a").length;
    await send({ type: "call", ref: 1, method: "end", data: "a" });
    await until("it has stopped", async () => (await state("a")).state === CLOSED || state("a"));
    assert.deepEqual((await state("a")).list.slice(10), ["last", "tidings.end"]);
    assert.equal(heads("a").length, ended + 1);

    // Meanwhile, the refused ones never asked again.
    for (const room of ["forbidden", "wrong"]) {
      assert.deepEqual([(await state(room)).state, heads(room).length], [CLOSED, 1], room);
    }
  });
});
