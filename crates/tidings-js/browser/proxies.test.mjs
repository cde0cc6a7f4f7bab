// The client in a real browser, and the server, with the proxies between them that people have, as these are by default.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { startServer, until } from "../test/support/server.mjs";
import { startHaproxy, startNginx } from "./proxy.mjs";
import { heard, joined, newContext, newPage, numbers, startBrowser, states, told, transport } from "./support.mjs";

let browser;
let server;

before(async () => {
  server = await startServer(["--heartbeat", "1000"]);
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop("SIGKILL");
});

/** What nginx's manual says about WebSocket. */
const UPGRADES = {
  http: "map $http_upgrade $connection_upgrade { default upgrade; '' close; }",
  location: "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;",
};
const HOST = "proxy_set_header Host $http_host;";
const WAYS = ["ws", "sse", "poll"];

/** What a page ends up with there, and what a client may be told to use. */
const PROXIES = {
  nginx: { start: startNginx, best: "sse", ways: ["sse", "poll"] },
  "nginx that passes upgrades on, but not the host": { start: (url) => startNginx(url, UPGRADES), best: "sse", ways: [] },
  "nginx that passes upgrades and the host on": {
    start: (url) => startNginx(url, { ...UPGRADES, location: UPGRADES.location + HOST }), best: "ws", ways: WAYS,
  },
  haproxy: { start: startHaproxy, best: "ws", ways: WAYS },
};

async function newProxy(t, start, url = server.url) {
  const proxy = await start(url);
  t.after(() => proxy.stop());
  return proxy;
}

let lastRoom = 0;
/** A room that no other test knows. */
const newRoom = () => `proxied ${++lastRoom}`;

const alone = (...transports) => ({ transports, share: false });
/** It is connected, and has been joined to its rooms. */
async function live(page) {
  await until("it is live", async () => (await states(page)).at(-1)?.startsWith("live") || states(page));
  await joined(page);
}

/** Events come when they are published, not when a buffer is full; one of them may meet a machine that is busy. */
function assertSoon(delays) {
  const sorted = delays.toSorted((a, b) => a - b);
  assert.ok(sorted[Math.floor(sorted.length / 2)] <= 200 && sorted.at(-1) <= 1_000, `${delays}`);
}

/** Milliseconds from each publish until `told` has heard of it; not from the first, with which the watching begins. */
async function delays(room, told) {
  const list = [];
  for (const n of numbers(1, 9)) {
    const begun = performance.now();
    await server.publish(room, n);
    await told(n);
    list.push(performance.now() - begun);
  }
  return list.slice(1);
}

// Most of these wait most of the time, and do so beside each other.

describe("a page finds a way through", { concurrency: true }, () => {
  for (const [name, { start, best }] of Object.entries(PROXIES)) {
    test(`${name}: a page finds ${best} by itself, hears at once what is published, and publishes`, async (t) => {
      const proxy = await newProxy(t, start);
      const room = newRoom();
      const page = await newPage(await newContext(t, browser), proxy.url, { options: alone("ws", "sse", "poll"), rooms: [room] });
      const begun = performance.now();
      await live(page);
      assert.equal(await transport(page), best);
      // Three tries at the most, and the waits after them: of 1.2, 2.4 and 4.8 seconds at the most.
      assert.ok(performance.now() - begun < (best === "ws" ? 5_000 : 10_000), `${performance.now() - begun}`);
      const took = await delays(room, (n) => page.waitForFunction(([room, n]) => window.heard[room].at(-1) === n, [room, n]));
      t.diagnostic(`live after ${Math.round(performance.now() - begun)} ms, events after ${took.map(Math.round)} ms`);
      assertSoon(took);
      const ids = await page.evaluate((room) => Promise.all([10, 11, 12].map((n) => window.rooms[room].publish("n", n))), room);
      assert.equal(new Set(ids).size, 3);
      await told(page, numbers(1, 12), room);
      assert.deepEqual((await states(page)).filter((state) => state.startsWith("live")), [`live ${best} opened`]);
    });
  }
});

describe("a proxy that is restarted", { concurrency: true }, () => {
  for (const [name, { start, ways }] of Object.entries(PROXIES)) {
    if (ways.length > 0) test(`${name}: restarted under load, nothing is lost or repeated, up or down, over ${ways}`, async (t) => {
      const proxy = await newProxy(t, start);
      const context = await newContext(t, browser);
      const pages = await Promise.all(ways.map(async (way) => {
        const room = newRoom();
        const page = await newPage(context, proxy.url, { options: alone(way), rooms: [room] });
        await joined(page);
        return { page, room };
      }));
      const publishing = pages.map(({ page, room }) => page.evaluate(async (room) => {
        const results = [];
        for (let n = 1; n <= 40; n++) {
          results.push(window.rooms[room].publish("n", n));
          await new Promise((done) => setTimeout(done, 50));
        }
        return Promise.all(results);
      }, room));
      for (const some of [5, 20]) {
        await Promise.all(pages.map(({ page, room }) => until("some", async () => (await heard(page, room)).length >= some)));
        await proxy.end();
        await proxy.start();
      }
      for (const ids of await Promise.all(publishing)) assert.equal(new Set(ids).size, 40);
      for (const { page, room } of pages) await told(page, numbers(1, 40), room);
    });
  }
});

for (const [what, http] of [["", ""], [", also one that would compress it", "gzip_types *; gzip_proxied any; gzip_min_length 0;"]]) {
  test(`nginx does not hold an event stream back${what}: plain EventSource, and what reads HTTP`, async (t) => {
    const proxy = await newProxy(t, (url) => startNginx(url, { http }));
    const room = newRoom();
    const address = `${proxy.url}/realtime/sse?${new URLSearchParams({ room })}`;
    const page = await (await newContext(t, browser)).newPage();
    await page.goto(`${proxy.url}/`);
    await page.evaluate((address) => {
      window.list = [];
      const source = new EventSource(address);
      source.addEventListener("n", ({ data }) => window.list.push(Number(data)));
      return new Promise((done) => source.addEventListener("tidings.joined", done, { once: true }));
    }, address);
    const ender = new AbortController();
    t.after(() => ender.abort());
    const begun = performance.now();
    const response = await fetch(address, { headers: { "accept-encoding": "gzip" }, signal: ender.signal });
    const { headers } = response;
    assert.deepEqual(
      ["content-type", "cache-control", "content-length", "content-encoding"].map((name) => headers.get(name)),
      ["text/event-stream", "no-store, no-transform", null, http ? "gzip" : null],
    );
    let text = "";
    const reading = (async () => {
      for await (const piece of response.body.pipeThrough(new TextDecoderStream())) text += piece;
    })();
    reading.catch(() => {}); // it is aborted at the end
    await until("its first words", () => text.includes("event: tidings.joined"));
    assert.ok(performance.now() - begun < 1_000, `${performance.now() - begun}`);
    const raw = [];
    const took = await delays(room, async (n) => {
      const begun = performance.now();
      await Promise.all([
        page.waitForFunction((n) => window.list.at(-1) === n, n),
        until("the event", () => text.includes(`data: ${n}\n\n`)).then(() => raw.push(performance.now() - begun)),
      ]);
    });
    t.diagnostic(`EventSource ${took.map(Math.round)} ms, HTTP ${raw.map(Math.round)} ms`);
    assertSoon(took);
    assertSoon(raw);
    assert.deepEqual(await page.evaluate(() => window.list), numbers(1, 9));
  });
}

test("nothing that changes is answered from the cache of an nginx, or of the browser", async (t) => {
  const cache = "proxy_cache all; proxy_cache_methods GET HEAD POST; proxy_cache_valid any 10m; add_header x-cache $upstream_cache_status always;";
  const proxy = await newProxy(t, (url) => startNginx(url, {
    http: "proxy_cache_path FOLDER/cache keys_zone=all:1m;",
    // At one address it does not hear of what must not be kept, which shows that it would keep things.
    location: `${cache} location = /realtime/tidings.js { proxy_pass ${url}; proxy_ignore_headers Cache-Control; }`,
  }));
  const room = newRoom();
  const first = await server.publish(room, 1);
  const page = await (await newContext(t, browser)).newPage();
  await page.goto(`${proxy.url}/`);
  const ask = (path, init) => page.evaluate(async ([path, init]) => {
    const response = await fetch(path, init);
    const { status, headers } = response;
    return { status, cache: headers.get("x-cache"), control: headers.get("cache-control"), text: await response.text() };
  }, [path, init]);

  const poll = `/realtime/poll?${new URLSearchParams({ room, cursor: first, wait: 0 })}`;
  assert.deepEqual(JSON.parse((await ask(poll)).text).events, []);
  await server.publish(room, 2);
  assert.deepEqual(JSON.parse((await ask(poll)).text).events.map(({ data }) => data), [2]);

  const publish = (text) => ({ method: "POST", headers: { "content-type": "application/json" }, body: text });
  const good = JSON.stringify({ type: "publish", ref: 1, room, event: "n", data: 3 });
  const script = () => ask("/realtime/tidings.js", { cache: "reload" });
  assert.deepEqual([(await script()).cache, (await script()).cache], ["MISS", "HIT"]);
  for (const [status, path, init] of [
    [200, poll], [200, "/realtime/send", publish(good)], [400, "/realtime/send", publish("{")], [400, "/realtime/poll"],
    [400, "/realtime/ws"], [404, "/realtime/nothing"], [405, "/realtime/send"], [400, `/realtime/sse?room=${room}&from=x`],
  ]) {
    for (const _ of [1, 2]) {
      const answer = await ask(path, init);
      assert.deepEqual([answer.status, answer.cache, answer.control], [status, "MISS", "no-store"], path);
    }
  }
});

describe("what takes its time", { concurrency: true }, () => {
  test("a quiet room outlives the patience of proxies, over every transport that gets through", async (t) => {
    // As with a heartbeat of 20 seconds their own 60 and 50.
    const read = "proxy_read_timeout 3s; proxy_send_timeout 3s; send_timeout 3s;";
    const patience = {
      nginx: (url) => startNginx(url, { ...UPGRADES, location: UPGRADES.location + HOST + read }),
      haproxy: (url) => startHaproxy(url, "timeout client 2500\ntimeout server 2500"),
    };
    const context = await newContext(t, browser);
    const pages = await Promise.all(Object.values(patience).map(async (start) => {
      const proxy = await newProxy(t, start);
      return Promise.all(WAYS.map(async (way) => {
        const room = newRoom();
        const page = await newPage(context, proxy.url, { options: alone(way), rooms: [room] });
        await live(page);
        return { page, room };
      }));
    }));
    // Longer than either would wait for somebody who says nothing.
    await pause(4_500);
    await Promise.all(pages.flat().map(async ({ page, room }) => {
      await server.publish(room, 1);
      await told(page, [1], room);
      assert.equal((await states(page)).length, 2, `${await states(page)}`);
    }));
  });

  test("an nginx that is told to hold event streams back after all is found out, and long-polling is used", async (t) => {
    const proxy = await newProxy(t, (url) => startNginx(url, { location: "proxy_ignore_headers X-Accel-Buffering;" }));
    const room = newRoom();
    const options = { options: alone("sse", "poll"), rooms: [room], from: "start" };
    const page = await newPage(await newContext(t, browser), proxy.url, options);
    const begun = performance.now();
    await server.publish(room, 1);
    await told(page, [1], room);
    t.diagnostic(`heard after ${Math.round(performance.now() - begun)} ms`);
    assert.equal(await transport(page), "poll");
    await page.evaluate((room) => window.rooms[room].publish("n", 2), room);
    await told(page, [1, 2], room);
  });

  test("a server that is away behind a proxy is waited for, whatever the proxy says meanwhile", async (t) => {
    let own = await startServer();
    t.after(() => own.stop("SIGKILL"));
    const context = await newContext(t, browser);
    const ways = [[startNginx, "sse"], [startNginx, "poll"], [startHaproxy, "ws"], [startHaproxy, "poll"]];
  const pages = await Promise.all(ways.map(async ([start, way]) => {
      const proxy = await newProxy(t, start, own.url);
      const room = newRoom();
      const page = await newPage(context, proxy.url, { options: alone(way), rooms: [room] });
      await joined(page);
      await own.publish(room, 1);
      await told(page, [1], room);
      return { page, room };
    }));
    await own.stop("SIGKILL");
    const waiting = pages.map(({ page, room }) => page.evaluate((room) => window.rooms[room].publish("n", 2), room));
    for (const { page } of pages) {
      await until("it tries", async () => (await states(page)).filter((state) => state.startsWith("waiting")).length >= 2);
    }
    own = await startServer([], own.listen);
    await Promise.all(waiting);
    for (const { page, room } of pages) await told(page, [1, "gap epoch", 2], room);
  });
});
