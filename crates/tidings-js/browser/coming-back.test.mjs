// When real browsers come back: many at once, and whatever times they are told.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { startOddServer } from "../test/support/odd-server.mjs";
import { startServer, until } from "../test/support/server.mjs";
import { newContext, newPage, joined, numbers, startBrowser, states, told } from "./support.mjs";

let browser;

before(async () => {
  browser = await startBrowser();
});
after(() => browser?.close());

const FLEET = 100;
/**
 * Of all clients, how many may try within a tenth of a second. Full jitter over 1.2 seconds gives about 12 of 100, which the
 * tests without a browser hold to; a page of so many clients also has moments in which it does nothing.
 */
const MOST = 0.25 * FLEET;

/** A page of clients, each as if it were alone; `tries` has when each of them has tried, by when the server was lost. */
async function newFleet(t, server) {
  const page = await (await newContext(t, browser)).newPage();
  await page.goto(`${server.url}/`);
  await page.evaluate(async (count) => {
    const { Tidings } = await import("/realtime/tidings.js");
    /** Dice that fall the same in each run (mulberry32). */
    const generator = (state) => () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let mixed = Math.imul(state ^ (state >>> 15), state | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    };
    window.lost = null;
    window.tries = [];
    window.clients = Array.from({ length: count }, (_, n) => {
      class Socket extends WebSocket {
        constructor(address) {
          super(address);
          if (window.lost !== null) window.tries.push([n, performance.now() - window.lost]);
        }
      }
      const tidings = new Tidings("/realtime", { transports: ["ws"], share: false, WebSocket: Socket, random: generator(n + 1) });
      tidings.on("state", ({ state }) => {
        if (state === "waiting") window.lost ??= performance.now();
      });
      const room = tidings.join("a");
      const client = { tidings, room, list: [] };
      room.on("n", (data) => client.list.push(data));
      room.on("gap", ({ reason }) => client.list.push(reason));
      return client;
    });
  }, FLEET);
  await live(page);
  return page;
}

/** All are connected, and have been joined once: one that is cut off before that has nothing to go on from. */
const live = (page) => until("all are there", async () => {
  const count = await page.evaluate(() => window.clients.filter(({ tidings, room }) => tidings.state === "live" && room.cursor !== null).length);
  return count === FLEET || count;
});

/** Of each client, the tries in order; and how many clients tried in the same tenth of a second. */
async function returned(page) {
  const tries = await page.evaluate(() => window.tries);
  const own = numbers(0, FLEET - 1).map((n) => tries.filter(([client]) => client === n).map(([, at]) => at));
  const buckets = new Map();
  for (const each of own) {
    for (const bucket of new Set(each.map((at) => Math.floor(at / 100)))) buckets.set(bucket, (buckets.get(bucket) ?? 0) + 1);
  }
  return { own, most: Math.max(...buckets.values()) };
}

/** They are told that the server is another one, and hear what comes after. */
async function hearAgain(page, server) {
  const lists = () => page.evaluate(() => [...new Set(window.clients.map(({ list }) => list.join()))]);
  const hear = (wanted) => until(`all hear ${wanted}`, async () => {
    const heard = await lists();
    return heard.join(";") === wanted || heard;
  });
  // Who is connected may not have joined again yet.
  await hear("epoch");
  await server.publish("a", 1);
  await hear("epoch,1");
}

describe("coming back", { concurrency: true }, () => {
  test("a fleet whose server is restarted comes back spread over the time that the server has named", async (t) => {
    let server = await startServer();
    t.after(() => server.stop("SIGKILL"));
    const page = await newFleet(t, server);
    await server.stop();
    server = await startServer([], server.listen);
    await until("all have tried", async () => new Set((await page.evaluate(() => window.tries)).map(([n]) => n)).size === FLEET);
    await live(page);
    const { own, most } = await returned(page);
    const first = own.map(([at]) => at);
    const [least, last] = [Math.min(...first), Math.max(...first)];
    t.diagnostic(`${Math.round(least)} to ${Math.round(last)} ms, at most ${most} of ${FLEET} at once`);
    // They are told over two seconds, fifty a second, and each comes from half a second to five after that.
    assert.ok(least >= 450 && last <= 8_000 && last - least > 3_500, `${first}`);
    assert.ok(most <= MOST, `${most} at once`);
    await hearAgain(page, server);
  });

  test("a fleet whose server is gone without a word comes back spread over a time that grows", async (t) => {
    let server = await startServer();
    t.after(() => server.stop("SIGKILL"));
    const page = await newFleet(t, server);
    await server.stop("SIGKILL");
    await pause(2_000);
    server = await startServer([], server.listen);
    await live(page);
    const { own, most } = await returned(page);
    const first = own.map(([at]) => at);
    const second = own.filter((each) => each.length > 1).map(([one, two]) => two - one);
    t.diagnostic(`at most ${most} of ${FLEET} at once, ${Math.max(...own.map((each) => each.length))} tries at the most`);
    assert.ok(most <= MOST, `${most} at once`);
    assert.ok(Math.min(...first) < 200 && Math.max(...first) > 1_000, "the first delay is random too");
    assert.ok(Math.max(...second) > 1_500, "and the second is drawn from a longer time");
    await hearAgain(page, server);
  });

  test("times without sense, or months away, make no client ask again and again, or wait for ever", async (t) => {
    const real = await startServer();
    t.after(() => real.stop("SIGKILL"));
    const json = (object) => `data: ${JSON.stringify(object)}\n\n`;
    const stream = (response, text) => response.writeHead(200, { "content-type": "text/event-stream" }).write(text);
    const joinedText = json({ type: "joined", room: "a", cursor: "p1.1.0", recovered: true });
    const answers = {};
    // Longer than a timer of the browser can wait, which would end at once.
    for (const time of ["2592000", "9007199254740993", "99999999999999999999999"]) {
      answers[`after-${time}`] = (_, response) => response.writeHead(503, { "retry-after": time }).end();
    }
    for (const time of ["2592000000", "99999999999999999999999"]) {
      answers[`retry-${time}`] = (_, response) => response.writeHead(200, { "content-type": "text/event-stream" })
        .end(`retry: ${time}\n\n${json({ type: "hello", version: 1 })}${joinedText}`);
    }
    for (const retry of ["[2592000000,2592000000]", "[1e308,1e400]"]) {
      answers[`close-${retry}`] = (_, response) =>
        stream(response, `${json({ type: "hello", version: 1 })}${joinedText}data: {"type":"close","code":"drain","retry":${retry}}\n\n`);
    }
    const once = Object.keys(answers);
    // Few enough streams for the connections that a browser has for one origin.
    const alive = ["0", "-1", "1e400", '"soon"'].map((heartbeat) => `heartbeat-${heartbeat}`);
    const short = "heartbeat-0.001";
    for (const name of [...alive, short]) {
      answers[name] = (_, response) =>
        stream(response, `data: {"type":"hello","version":1,"heartbeat":${name.slice("heartbeat-".length)}}\n\n${joinedText}`);
    }
    const nameOf = (url) => decodeURIComponent(url.split("/")[1]);
    const odd = await startOddServer((request, response) => answers[nameOf(request.url)](request, response), real.url);
    t.after(() => odd.stop());
    const page = await (await newContext(t, browser)).newPage();
    await page.goto(`${odd.url}/`);
    await page.evaluate(async (names) => {
      const { Tidings } = await import("/realtime/tidings.js");
      for (const name of names) new Tidings(`/${encodeURIComponent(name)}/realtime`, { transports: ["sse"], share: false }).join("a");
    }, Object.keys(answers));
    const counts = () => Object.fromEntries(Object.keys(answers).map((name) => [name, odd.requests.filter(({ url }) => nameOf(url) === name).length]));
    await until("each has asked", () => Object.values(counts()).every((count) => count > 0) || counts());
    await pause(10_000);
    const { [short]: often, ...rest } = counts();
    assert.deepEqual(rest, Object.fromEntries([...once, ...alive].map((name) => [name, 1])));
    // It is told to give up after less than a millisecond of silence, and does so after seconds.
    assert.ok(often >= 2 && often <= 8, `${often}`);
  });

  test("a token that is good for a month, or whatever it says of itself, is asked for once", async (t) => {
    const seconds = Math.floor(Date.now() / 1_000);
    const context = await newContext(t, browser);
    const pages = await Promise.all([seconds + 30 * 86_400, 0, 2 ** 53, "1e308", '"soon"'].map(async (exp, n) => {
      const payload = Buffer.from(`{"sub":"tester","exp":${exp}}`).toString("base64url");
      const token = `eyJhbGciOiJIUzI1NiJ9.${payload}.c2lnbmF0dXJl`;
      const guarded = await startServer(["--token", token]);
      t.after(() => guarded.stop("SIGKILL"));
      const page = await context.newPage();
      await page.goto(`${guarded.url}/`);
      await page.evaluate(async ([token, transports]) => {
        const { Tidings } = await import("/realtime/tidings.js");
        window.asked = 0;
        window.states = [];
        window.client = new Tidings("/realtime", { transports, tokenIn: "query", token: async () => (window.asked++, token) });
        window.client.on("state", ({ state }) => window.states.push(state));
        window.client.join("a");
      }, [token, [["ws"], ["sse"], ["poll"]][n % 3]]);
      await until("live", async () => (await states(page)).at(-1) === "live");
      return page;
    }));
    await pause(10_000);
    for (const page of pages) assert.deepEqual(await page.evaluate(() => [window.asked, window.states]), [1, ["connecting", "live"]]);
  });

  test("a server that is told to show life all the time, or never, serves every transport", async (t) => {
    const context = await newContext(t, browser);
    for (const heartbeat of ["0", "18446744073709551615"]) {
      const server = await startServer(["--heartbeat", heartbeat]);
      t.after(() => server.stop("SIGKILL"));
      await Promise.all(["ws", "sse", "poll"].map(async (name) => {
        const page = await newPage(context, server.url, { options: { transports: [name], share: false }, rooms: [name], from: "start" });
        await joined(page);
        for (const n of [1, 2, 3]) await server.publish(name, n);
        await told(page, [1, 2, 3], name);
        assert.deepEqual(await states(page), [`connecting ${name} opening`, `live ${name} opened`]);
      }));
    }
  });
});
