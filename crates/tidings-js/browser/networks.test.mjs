// The client in a real browser over networks that cut, freeze, forbid and hold back.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startNetwork, startServer, until } from "../test/support/server.mjs";
import { begin, heard, joined, newContext, newPage, numbers, startBrowser, states, told, transport } from "./support.mjs";

let browser;
let server;

before(async () => {
  server = await startServer(["--history", "2000", "--heartbeat", "1000"]);
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop("SIGKILL");
});

let lastRoom = 0;
/** A room that no other test knows. */
const newRoom = () => `room ${++lastRoom}`;

async function newNetwork(t) {
  const network = await startNetwork(server.url);
  t.after(() => network.stop());
  return network;
}

const alone = (...transports) => ({ transports, share: false });
const isSocket = (head) => head.startsWith("GET /realtime/ws");
const sockets = (network) => network.heads.filter(isSocket).length;

for (const [what, weather, tries] of [
  ["opens and dies soon", { cutAfter: 200 }, 3],
  ["opens and delivers nothing", { hold: true }, 2],
  ["is forbidden", { refuse: true }, 3],
]) {
  test(`a WebSocket that ${what} is left for an event stream, and a page that is loaded anew tries it again`, async (t) => {
    const network = await newNetwork(t);
    network.weather = (head) => (isSocket(head) ? weather : {});
    const room = newRoom();
    const begun = performance.now();
    const page = await newPage(await newContext(t, browser), network.url, { options: alone("ws", "sse", "poll"), rooms: [room], from: "start" });
    const published = (async () => {
      for (let n = 1; n <= 30; n++) await server.publish(room, n);
    })();
    await until("an event stream", async () => (await states(page)).includes("live sse opened") || states(page));
    assert.ok(sockets(network) <= tries, `${sockets(network)} tries`);
    assert.ok(performance.now() - begun < 14_000, `${performance.now() - begun}`);
    await published;
    await told(page, numbers(1, 30), room);

    network.weather = () => ({});
    await page.reload();
    await begin(page, { options: alone("ws", "sse", "poll"), rooms: [room] });
    await joined(page);
    assert.equal(await transport(page), "ws");
  });
}

test("an event stream that a proxy holds back is left for long-polling", async (t) => {
  const network = await newNetwork(t);
  network.weather = (head) => (head.startsWith("GET /realtime/sse") ? { hold: true } : {});
  const room = newRoom();
  const page = await newPage(await newContext(t, browser), network.url, { options: alone("sse", "poll"), rooms: [room], from: "start" });
  await server.publish(room, 1);
  await until("long-polling", async () => (await transport(page)) === "poll" || states(page));
  await server.publish(room, 2);
  await told(page, [1, 2], room);
});

test("a server that is restarted does not push the client off its transport", async (t) => {
  let own = await startServer(["--heartbeat", "1000"]);
  t.after(() => own.stop("SIGKILL"));
  const page = await newPage(await newContext(t, browser), own.url, { options: alone("ws", "sse", "poll") });
  await joined(page);
  await own.publish("a", 1);
  await told(page, [1]);
  await own.stop("SIGKILL");
  const waiting = page.evaluate(() => window.rooms.a.publish("n", 2));
  await until("it tries", async () => (await states(page)).filter((state) => state.startsWith("connecting")).length >= 3);
  own = await startServer(["--heartbeat", "1000"], own.listen);
  await waiting;
  await told(page, [1, "gap epoch", 2]);
  await until("a WebSocket again", async () => (await transport(page)) === "ws" || states(page));
});

for (const name of ["ws", "sse", "poll"]) {
  test(`${name}: a second cut without an event between them goes on after the same event, and brings nothing twice`, async (t) => {
    const network = await newNetwork(t);
    const room = newRoom();
    const page = await newPage(await newContext(t, browser), network.url, { options: alone(name), rooms: [room] });
    const asked = [];
    page.on("websocket", (socket) => socket.on("framesent", ({ payload }) => asked.push(JSON.parse(payload).from)));
    page.on("request", (request) => asked.push(new URL(request.url()).searchParams.get("from")));
    await joined(page);
    for (const n of numbers(1, 5)) await server.publish(room, n);
    await told(page, numbers(1, 5), room);
    network.weather = () => ({ refuse: true });
    network.cut();
    let last;
    for (const n of numbers(6, 10)) last = await server.publish(room, n);
    network.weather = () => ({});
    await told(page, numbers(1, 10), room);
    asked.length = 0;
    network.cut();
    await until("it is back", () => asked.some((from) => from) || asked);
    assert.equal(asked.find((from) => from), last);
    await server.publish(room, 11);
    await told(page, numbers(1, 11), room);
  });

  test(`${name}: a network that falls silent is left for another, and its late words are not heard`, async (t) => {
    const network = await newNetwork(t);
    const room = newRoom();
    const page = await newPage(await newContext(t, browser), network.url, { options: alone(name), rooms: [room] });
    await joined(page);
    network.freeze();
    const frozen = performance.now();
    await server.publish(room, 1);
    await until("it is called dead", async () => (await states(page)).at(-1) !== `live ${name} opened`);
    const dead = performance.now() - frozen;
    assert.equal((await states(page))[2], `waiting ${name} silent`);
    // A heartbeat and three quarters, on a machine that is busy.
    assert.ok(dead < 1_750 + 1_000, `${dead}`);
    await told(page, [1], room);
    // The silence that is allowed, the first back-off, two seconds; and for polls, an idle connection that froze too.
    const most = 1_750 + 3_000 + 2_000 + (name === "poll" ? 10_000 : 0);
    assert.ok(performance.now() - frozen < most, `${performance.now() - frozen}`);
    network.thaw();
    await server.publish(room, 2);
    await told(page, [1, 2], room);
  });

  test(`${name}: timers that come late, as in a hidden page, are no reason to call a link dead`, async (t) => {
    const network = await newNetwork(t);
    const room = newRoom();
    // Three heartbeats late, as a minute is for heartbeats of twenty seconds.
    const clamp = () => {
      const { setTimeout } = window;
      window.setTimeout = (then, time, ...more) => setTimeout(then, Math.max(time, window.clamped ? 3_000 : 0), ...more);
    };
    const page = await newPage(await newContext(t, browser), network.url, { options: alone(name), rooms: [room], before: clamp });
    await joined(page);
    await page.evaluate(() => { window.clamped = true; });
    const before = (await states(page)).length;
    // Five late timers.
    await page.evaluate(() => new Promise((done) => {
      let count = 0;
      const again = () => (++count === 5 ? done() : window.setTimeout(again, 0));
      again();
    }));
    assert.equal((await states(page)).length, before, `${await states(page)}`);
    await page.evaluate(() => {
      window.clamped = false;
      document.dispatchEvent(new Event("visibilitychange"));
    });
    await server.publish(room, 1);
    await told(page, [1], room);
    assert.equal((await states(page)).length, before, "nor when it is seen again");
  });

  test(`${name}: a page that was frozen has everything, and what it publishes is stored once`, async (t) => {
    const network = await newNetwork(t);
    const room = newRoom();
    const page = await newPage(await newContext(t, browser), network.url, { options: alone(name), rooms: [room] });
    await joined(page);
    const devtools = await page.context().newCDPSession(page);
    await devtools.send("Page.setWebLifecycleState", { state: "frozen" });
    network.freeze();
    for (const n of numbers(1, 20)) await server.publish(room, n);
    network.cut();
    await devtools.send("Page.setWebLifecycleState", { state: "active" });
    await told(page, numbers(1, 20), room);
    await page.evaluate((room) => Promise.all([21, 22, 23].map((n) => window.rooms[room].publish("n", n))), room);
    await told(page, numbers(1, 23), room);
  });
}

test("cut at random on every transport, nothing is lost, repeated or out of order, up or down", async (t) => {
  const network = await newNetwork(t);
  const context = await newContext(t, browser);
  const rooms = { ws: newRoom(), sse: newRoom(), poll: newRoom() };
  const pages = {};
  for (const [name, room] of Object.entries(rooms)) {
    pages[name] = await newPage(context, network.url, { options: alone(name), rooms: [room] });
    await joined(pages[name]);
  }
  await Promise.all(Object.entries(rooms).map(async ([name, room]) => {
    const published = pages[name].evaluate(async (room) => {
      const results = [];
      for (let n = 1; n <= 60; n++) {
        results.push(window.rooms[room].publish("n", n));
        await new Promise((done) => setTimeout(done, 100));
      }
      return Promise.all(results);
    }, room);
    const cutting = setInterval(() => network.cut(), 700);
    const ids = await published.finally(() => clearInterval(cutting));
    assert.equal(new Set(ids).size, 60);
    await told(pages[name], numbers(1, 60), room);
  }));
});

test("the browser's own EventSource resumes as well, and is watched", async (t) => {
  const network = await newNetwork(t);
  const room = newRoom();
  const options = { ...alone("sse"), eventSource: true };
  const page = await newPage(await newContext(t, browser), network.url, { options, rooms: [room] });
  await joined(page);
  for (const n of [1, 2]) await server.publish(room, n);
  await told(page, [1, 2], room);
  network.cut();
  await server.publish(room, 3);
  await told(page, [1, 2, 3], room);
  network.freeze();
  await server.publish(room, 4);
  await told(page, [1, 2, 3, 4], room);
});

test("a poll is not answered from a cache", async (t) => {
  const context = await newContext(t, browser);
  const page = await context.newPage();
  await page.goto(`${server.url}/`);
  const room = newRoom();
  const first = await server.publish(room, 1);
  const poll = () => page.evaluate(async (query) => {
    const response = await fetch(`/realtime/poll?${query}`);
    return { cached: response.headers.get("cache-control"), answer: await response.json() };
  }, `${new URLSearchParams({ room, cursor: first, wait: 0 })}`);
  assert.equal((await poll()).answer.events.length, 0);
  await server.publish(room, 2);
  const again = await poll();
  assert.deepEqual([again.answer.events.map(({ data }) => data), again.cached], [[2], "no-store"]);
});

test("tokens: as a header or a subprotocol, or in the address where that was chosen; renewed once", async (t) => {
  const guarded = await startServer(["--token", "second"]);
  t.after(() => guarded.stop("SIGKILL"));
  const network = await startNetwork(guarded.url);
  t.after(() => network.stop());
  const context = await newContext(t, browser);
  for (const [transports, tokenIn, used] of [
    [["ws", "sse"], "header", "ws"], [["ws", "sse"], "query", "ws"], [["sse"], "header", "sse"], [["poll"], "header", "poll"],
  ]) {
    network.heads.length = 0;
    const page = await context.newPage();
    await page.goto(`${network.url}/`);
    const result = await page.evaluate(async ({ transports, tokenIn, tokens }) => {
      const { Tidings } = await import("/realtime/tidings.js");
      let asked = 0;
      const tidings = new Tidings("/realtime", { transports, tokenIn, token: async () => tokens[asked++] });
      const room = tidings.join("a");
      await new Promise((done, fail) => { room.on("joined", done); room.on("error", fail); });
      await room.publish("n", 1);
      return { asked, transport: tidings.transport };
    }, { transports, tokenIn, tokens: used === "ws" ? ["second"] : ["first", "second", "third"] });
    assert.deepEqual(result, { asked: used === "ws" ? 1 : 2, transport: used });
    const secrets = network.heads.filter((head) => /(GET|POST) \S*second/.test(head));
    assert.ok(secrets.every((head) => tokenIn === "query" && isSocket(head)), "in no other address");
  }
});

test("publishes that wait while the browser is offline go up when it is back", async (t) => {
  const context = await newContext(t, browser);
  const room = newRoom();
  const page = await newPage(context, server.url, { options: alone("ws"), rooms: [room] });
  await joined(page);
  await context.setOffline(true);
  await until("it is noticed", async () => (await states(page)).some((state) => state.startsWith("offline")) || states(page));
  const ids = page.evaluate((room) => Promise.all([1, 2, 3].map((n) => window.rooms[room].publish("n", n))), room);
  const back = performance.now();
  await context.setOffline(false);
  assert.equal(new Set(await ids).size, 3);
  assert.ok(performance.now() - back < 2_000, `${performance.now() - back}`);
  await told(page, [1, 2, 3], room);
  assert.deepEqual(await heard(page, room), [1, 2, 3]);
});
