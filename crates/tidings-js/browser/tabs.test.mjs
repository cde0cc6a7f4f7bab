// One connection for all tabs of a browser.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startNetwork, startServer, until } from "../test/support/server.mjs";
import { heard, joined, newContext, newPage, numbers, startBrowser, states, told, transport } from "./support.mjs";

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

/** Tabs of one browser, each with a client that shares. */
async function newTabs(t, count, { options = {}, rooms = () => ["a"], from = "now" } = {}) {
  const network = await startNetwork(server.url);
  t.after(() => network.stop());
  const context = await newContext(t, browser);
  const tabs = [];
  for (let n = 0; n < count; n++) {
    tabs.push(await newPage(context, network.url, { options, rooms: rooms(n), from }));
    await joined(tabs[n]);
  }
  return { network, context, tabs };
}

const links = (network, path) => network.heads.filter((head) => head.startsWith(`GET /realtime/${path}?`));

for (const name of ["ws", "sse", "poll"]) {
  test(`eight tabs over ${name} leave ordinary requests free`, async (t) => {
    const room = `eight ${name}`;
    const { network, tabs } = await newTabs(t, 8, { options: { transports: [name] }, rooms: () => [room] });
    assert.ok(network.connections <= 4, `${network.connections} connections`);
    if (name !== "poll") assert.equal(links(network, name).length, 1);
    for (const tab of tabs) {
      const took = await tab.evaluate(async () => {
        const begun = performance.now();
        await (await fetch("/", { cache: "no-store" })).text();
        return performance.now() - begun;
      });
      assert.ok(took < 2_000, `${took}`);
    }
    const ids = await Promise.all(tabs.map((tab, n) => tab.evaluate(([room, n]) => window.rooms[room].publish("n", n), [room, n])));
    assert.equal(new Set(ids).size, 8);
    for (const tab of tabs) {
      await until("all", async () => (await heard(tab, room)).length >= 8 || heard(tab, room));
      assert.deepEqual(await heard(tab, room), await heard(tabs[0], room), "in one order");
      assert.equal(await transport(tab), name);
    }
  });
}

test("when the leading tab is closed another one leads, and nobody misses anything", async (t) => {
  const room = "led";
  const { network, tabs } = await newTabs(t, 4, { rooms: () => [room] });
  let number = 0;
  const publishing = (async () => {
    while (number < 200) await server.publish(room, ++number);
  })();
  // Each time the one that leads: the first of those that are left.
  while (tabs.length > 1) {
    await until("some more", async () => (await heard(tabs[0], room)).length > 20 * (4 - tabs.length));
    await tabs.shift().close();
    await tabs[0].evaluate((room) => window.rooms[room].publish("n", 0), room);
  }
  await publishing;
  const [last] = tabs;
  await until("all", async () => (await heard(last, room)).length >= 203 || (await heard(last, room)).length);
  const list = await heard(last, room);
  assert.deepEqual(list.filter((n) => n !== 0), numbers(1, 200));
  assert.equal(list.length, 203);
  assert.equal(links(network, "ws").length, 4, "one connection for each leader");
});

test("a tab that comes later begins where it wants to, whatever the others have read", async (t) => {
  const room = "later";
  for (const n of numbers(1, 500)) await server.publish(room, n);
  const { network, context, tabs: [first] } = await newTabs(t, 1, { rooms: () => [room] });
  await server.publish(room, 501);
  await told(first, [501], room);
  const whole = await newPage(context, network.url, { rooms: [room], from: "start" });
  await told(whole, numbers(1, 501), room);
  const cursor = await first.evaluate((room) => window.rooms[room].cursor, room);
  for (const n of numbers(502, 510)) await server.publish(room, n);
  const resumed = await newPage(context, network.url, { rooms: [room], from: cursor });
  const now = await newPage(context, network.url, { rooms: [room] });
  await joined(now);
  await server.publish(room, 511);
  await told(resumed, numbers(502, 511), room);
  await told(now, [511], room);
  await told(whole, numbers(1, 511), room);
  assert.equal(links(network, "ws").length, 1);
});

test("the current value of a room reaches a tab that comes later", async (t) => {
  const room = "latest:price";
  await server.publish(room, 7);
  const { network, context, tabs: [first] } = await newTabs(t, 1, { rooms: () => [room] });
  await told(first, [7], room);
  const second = await newPage(context, network.url, { rooms: [room] });
  await told(second, [7], room);
});

test("tabs have rooms of their own, and leave them", async (t) => {
  const { network, tabs } = await newTabs(t, 3, { rooms: (n) => ["shared", `own ${n}`] });
  for (const n of [0, 1, 2]) await server.publish(`own ${n}`, n);
  await server.publish("shared", 1);
  for (const [n, tab] of tabs.entries()) {
    await told(tab, [n], `own ${n}`);
    await told(tab, [1], "shared");
  }
  await tabs[1].evaluate(() => window.rooms.shared.leave());
  await tabs[2].evaluate(() => window.tidings.close());
  await server.publish("shared", 2);
  await told(tabs[0], [1, 2], "shared");
  assert.deepEqual([await heard(tabs[1], "shared"), (await heard(tabs[2], "shared")).at(-1)], [[1], "error closed"]);
  assert.equal(links(network, "ws").length, 1);
  assert.equal(await tabs[1].evaluate(() => window.tidings.call("echo", "hello")), "hello");
});

test("a cut of the one connection is resumed for all, and every tab hears of it", async (t) => {
  const room = "cut";
  const { network, tabs } = await newTabs(t, 3, { rooms: () => [room] });
  network.weather = () => ({ refuse: true });
  network.cut();
  for (const tab of tabs) await until("it is told", async () => (await states(tab)).at(-1).startsWith("waiting") || states(tab));
  for (const n of numbers(1, 10)) await server.publish(room, n);
  network.weather = () => ({});
  for (const tab of tabs) {
    await told(tab, numbers(1, 10), room);
    await until("live", async () => (await states(tab)).at(-1).startsWith("live"));
  }
});

test("a tab that leads and hangs is deposed, and comes back as one of the others", async (t) => {
  const room = "hangs";
  const { network, tabs: [first, second, third] } = await newTabs(t, 3, { rooms: () => [room] });
  const hanging = first.evaluate(() => {
    for (const end = performance.now() + 25_000; performance.now() < end;);
  });
  await server.publish(room, 1);
  await second.evaluate((room) => window.rooms[room].publish("n", 2), room);
  for (const tab of [second, third]) await told(tab, [1, 2], room);
  assert.equal(links(network, "ws").length, 2, "another one leads");
  await hanging;
  await first.evaluate((room) => window.rooms[room].publish("n", 3), room);
  for (const tab of [first, second, third]) await told(tab, [1, 2, 3], room);
  await until("one connection is left", () => network.connections <= 2 || network.connections);
});

test("a tab that was put away and is taken out again comes back at once, and takes the lead from nobody", async (t) => {
  const browser = await startBrowser({ ignoreDefaultArgs: ["--disable-back-forward-cache"] });
  t.after(() => browser.close());
  const network = await startNetwork(server.url);
  t.after(() => network.stop());
  const context = await newContext(t, browser);
  const room = "put away";
  const options = { options: { transports: ["sse"] }, rooms: [room] };
  const [leading, tab] = [await newPage(context, network.url, options), await newPage(context, network.url, options)];
  for (const page of [leading, tab]) await joined(page);
  for (const n of numbers(1, 3)) {
    await tab.goto(`${network.url}/?elsewhere`);
    await server.publish(room, n);
    await tab.evaluate(() => { history.back(); }).catch(() => {}); // what is evaluated may go with its page
    await until("it is the same page", () => tab.evaluate(() => window.heard !== undefined).catch(String));
    await told(tab, numbers(1, n), room);
  }
  assert.deepEqual((await states(leading)).filter((state) => /moved|lost|silent/.test(state)), []);
  assert.equal(links(network, "sse").length, 1);
});

test("tabs that were told not to, or that have a token, do not share", async (t) => {
  for (const options of [{ share: false }, { token: "one", transports: ["sse"] }]) {
    const { network } = await newTabs(t, 2, { options });
    assert.equal(links(network, options.token ? "sse" : "ws").length, 2);
  }
  const { network } = await newTabs(t, 2, { options: { token: "one", transports: ["sse"], share: "user 7" } });
  assert.equal(links(network, "sse").length, 1);
});

test("a tab that may hold no locks goes on alone, and one that is told to change its transport too", async (t) => {
  const room = "alone";
  const { network, context, tabs: [first, second] } = await newTabs(t, 2, { rooms: () => [room] });
  const before = () => { navigator.locks.request = () => Promise.reject(new DOMException("sandboxed", "SecurityError")); };
  const third = await newPage(context, network.url, { rooms: [room], before });
  await joined(third);
  await second.evaluate(() => window.tidings.use(["sse"]));
  await server.publish(room, 1);
  for (const tab of [first, second, third]) await told(tab, [1], room);
  assert.deepEqual([await transport(first), await transport(second), await transport(third)], ["ws", "sse", "ws"]);
  assert.equal(links(network, "ws").length, 2);

  // Each with the token that it was given.
  const guarded = await startServer(["--token", "right"]);
  t.after(() => guarded.stop("SIGKILL"));
  const options = { transports: ["sse"], token: "right", share: "user" };
  const shared = await newPage(context, guarded.url, { options });
  await joined(shared);
  await shared.evaluate(() => window.tidings.use(["poll"]));
  await until("it is on its own", async () => (await states(shared)).at(-1) === "live poll opened" || states(shared));
});

test("what the server refuses for good is told in every tab, and a new one may try again", async (t) => {
  const guarded = await startServer(["--token", "right"]);
  t.after(() => guarded.stop("SIGKILL"));
  const context = await newContext(t, browser);
  const options = { transports: ["sse"], token: "wrong", share: "user" };
  const tabs = [];
  for (let n = 0; n < 2; n++) tabs.push(await newPage(context, guarded.url, { options }));
  for (const tab of tabs) await told(tab, ["error unauthorized"]);
  for (const tab of tabs) assert.equal(await tab.evaluate(() => window.tidings.state), "closed");
  const right = await newPage(context, guarded.url, { options: { ...options, token: "right" } });
  await joined(right);
});
