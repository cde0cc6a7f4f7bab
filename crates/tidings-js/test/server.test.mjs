// The whole client in Node, against the real server and odd ones. Node 20 has no WebSocket; browsers try that one.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { Tidings } from "../js/tidings.js";
import { startOddServer } from "./support/odd-server.mjs";
import { startNetwork, startServer, until } from "./support/server.mjs";

let server;

before(async () => {
  server = await startServer(["--history", "50", "--heartbeat", "1000", "--message", "100000"]);
});
after(() => server?.stop("SIGKILL"));

/** A client that ends with its test, and what its room was told. */
function client(t, url, options) {
  const tidings = new Tidings(`${url}/realtime`, options);
  t.after(() => tidings.close());
  return tidings;
}

/** What a room tells, as numbers and words. */
function heard(room) {
  const list = [];
  room.on("n", (data) => list.push(data));
  for (const name of ["gap", "end"]) room.on(name, ({ reason }) => list.push(reason ? `${name} ${reason}` : name));
  room.on("error", ({ code }) => list.push(`error ${code}`));
  return list;
}

const joined = (room) => until("joined", () => room.cursor !== null);

for (const transport of ["sse", "poll"]) {
  test(`${transport}: events, publishes, calls, a loop`, async (t) => {
    const tidings = client(t, server.url, { transports: [transport] });
    const room = tidings.join(`talk ${transport}`);
    const list = heard(room);
    await joined(room);
    assert.equal(tidings.state, "live");
    const ids = [];
    for (let n = 1; n <= 5; n++) ids.push(await room.publish("n", n));
    const together = await Promise.all([6, 7, 8].map((n) => room.publish("n", n)));
    assert.equal(new Set([...ids, ...together]).size, 8);
    await until("they come", () => list.length === 8 || list);
    assert.deepEqual(list, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert.equal(room.cursor, together.at(-1));

    assert.equal(await tidings.call("echo", "hello"), "hello");
    await assert.rejects(tidings.call("nothing", 1), { code: "unknown_method" });
    await assert.rejects(room.publish("bad\nname", 1), { code: "bad_event" });
    await assert.rejects(room.publish("n", "x".repeat(100_000)), { code: "too_large" });

    const taken = [];
    const reading = (async () => {
      for await (const { data } of tidings.join(`talk ${transport}`)) {
        taken.push(data);
        if (data === 11) break;
      }
    })();
    for (const n of [9, 10, 11]) await server.publish(`talk ${transport}`, n);
    await reading;
    assert.deepEqual(taken, [9, 10, 11]);
  });

  test(`${transport}: cut again and again, it has everything once and in order`, async (t) => {
    const network = await startNetwork(server.url);
    t.after(() => network.stop());
    // Back-off is not what is tried here.
    const tidings = client(t, network.url, { transports: [transport], random: () => 0.01 });
    const name = `cut ${transport}`;
    const room = tidings.join(name, { from: "start" });
    const list = heard(room);
    await joined(room);
    for (let n = 1; n <= 50; n++) {
      await server.publish(name, n);
      if (n % 3) network.cut();
      if (n % 10 === 0) await until("it is back", () => list.at(-1) === n || list);
    }
    await until("everything", () => list.length >= 50 || list.length);
    assert.deepEqual(list, Array.from({ length: 50 }, (_, n) => n + 1));
  });

  test(`${transport}: away for longer than the history, it is told so`, async (t) => {
    const network = await startNetwork(server.url);
    t.after(() => network.stop());
    const tidings = client(t, network.url, { transports: [transport] });
    const name = `trimmed ${transport}`;
    const room = tidings.join(name);
    const list = heard(room);
    await joined(room);
    await server.publish(name, 0);
    await until("the first", () => list.length === 1);
    network.weather = () => ({ refuse: true });
    network.cut();
    for (let n = 1; n <= 60; n++) await server.publish(name, n);
    network.weather = () => ({});
    await until("the last", () => list.at(-1) === 60 || list);
    assert.deepEqual(list, [0, "gap trimmed", ...Array.from({ length: 50 }, (_, n) => n + 11)]);
  });

  test(`${transport}: a network that falls silent is left within two heartbeats, and its late words are not heard`, async (t) => {
    const network = await startNetwork(server.url);
    t.after(() => network.stop());
    const tidings = client(t, network.url, { transports: [transport] });
    const name = `frozen ${transport}`;
    const room = tidings.join(name);
    const list = heard(room);
    await joined(room);
    const reasons = [];
    tidings.on("state", ({ reason }) => reasons.push(reason));
    network.freeze();
    const frozen = performance.now();
    await server.publish(name, 1);
    await until("it comes another way", () => list.length === 1 || reasons);
    // Another connection that Node keeps for polls may be frozen too, which takes the time to open to be found out.
    const most = 1_750 + 1_200 + 2_000 + (transport === "poll" ? 10_000 : 0);
    assert.ok(performance.now() - frozen < most, `${performance.now() - frozen}`);
    assert.equal(reasons[0], "silent");
    network.thaw();
    await server.publish(name, 2);
    await until("the next", () => list.length >= 2);
    await pause(100);
    assert.deepEqual(list, [1, 2]);
  });
}

test("several rooms on one stream, joined one after the other, and left", async (t) => {
  for (const transport of ["sse", "poll"]) {
    const network = await startNetwork(server.url);
    t.after(() => network.stop());
    const tidings = client(t, network.url, { transports: [transport] });
    const rooms = ["x", "y", "z"].map((name) => tidings.join(`${name} ${transport}`));
    const lists = rooms.map(heard);
    for (const room of rooms) await joined(room);
    assert.equal(network.heads.filter((head) => head.includes("room=y")).length, transport === "sse" ? 1 : network.heads.length);
    const more = tidings.join(`more ${transport}`);
    const moreList = heard(more);
    // While the stream is opened anew.
    for (let n = 1; n <= 20; n++) for (const { name } of rooms) await server.publish(name, n);
    await joined(more);
    await server.publish(more.name, 1);
    await until("x has all", () => lists[0].length === 20 || lists[0]);
    rooms[0].leave();
    for (const { name } of rooms) await server.publish(name, 21);
    await until("all", () => lists[2].length >= 21 && moreList.length === 1);
    assert.deepEqual(lists.slice(1), lists.slice(1).map(() => Array.from({ length: 21 }, (_, n) => n + 1)));
    assert.deepEqual(lists[0], Array.from({ length: 20 }, (_, n) => n + 1));
  }
});

test("from one transport to another and back, nothing is lost", async (t) => {
  const tidings = client(t, server.url, { transports: ["sse"] });
  const room = tidings.join("to and fro");
  const list = heard(room);
  await joined(room);
  for (let n = 1; n <= 40; n++) {
    await room.publish("n", n);
    if (n % 4 === 0) tidings.use([n % 8 ? "poll" : "sse"]);
  }
  await until("all", () => list.length >= 40 || list);
  assert.deepEqual(list, Array.from({ length: 40 }, (_, n) => n + 1));
});

test("a server that is replaced: the client comes back, and is told that the history is another", async (t) => {
  let replaced = await startServer();
  t.after(() => replaced.stop("SIGKILL"));
  const tidings = client(t, replaced.url, { transports: ["sse"] });
  const room = tidings.join("a");
  const list = heard(room);
  await joined(room);
  await replaced.publish("a", 1);
  await until("one", () => list.length === 1);
  const codes = [];
  tidings.on("state", ({ code }) => code && codes.push(code));
  await replaced.stop();
  const waiting = room.publish("n", 2);
  replaced = await startServer([], replaced.listen);
  await waiting;
  await until("two", () => list.at(-1) === 2 || list);
  assert.deepEqual(list, [1, "gap epoch", 2]);
  assert.deepEqual(codes, ["drain"]);
});

test("tokens: shown in the header, renewed once when refused, and rooms refused by themselves", async (t) => {
  const guarded = await startServer(["--token", "second"]);
  t.after(() => guarded.stop("SIGKILL"));
  for (const transport of ["sse", "poll"]) {
    const tokens = ["first", "second", "third"];
    let asked = 0;
    const tidings = client(t, guarded.url, { transports: [transport], token: async () => tokens[asked++] });
    const open = tidings.join("open");
    const closed = heard(tidings.join("forbidden"));
    await joined(open);
    await until("refused", () => closed.length === 1);
    assert.deepEqual(closed, ["error forbidden"]);
    assert.equal(asked, 2);
    assert.match(await open.publish("n", 1), /^p/);

    const wrong = client(t, guarded.url, { transports: [transport], token: "wrong" });
    const refused = heard(wrong.join("open"));
    await until("refused", () => refused.length === 1);
    assert.deepEqual([refused[0], wrong.state], ["error unauthorized", "closed"]);
    await assert.rejects(wrong.publish("open", "n", 1), { code: "unauthorized", status: 401 });
  }
});

test("many rooms are followed over several requests at once", async (t) => {
  const tidings = client(t, server.url, { transports: ["sse"] });
  const rooms = Array.from({ length: 300 }, (_, n) => tidings.join(`many-${n}`.padEnd(30, ".")));
  const refused = [];
  for (const room of rooms) room.on("error", ({ code }) => refused.push(code));
  await until("each is in or refused", () => rooms.filter(({ cursor }) => cursor).length + refused.length === 300);
  assert.ok(rooms.filter(({ cursor }) => cursor).length >= 256, `${refused.length} were refused`);
  assert.ok(refused.every((code) => code === "too_many_rooms"));
});

/** What an answer is like for which the client asks once, or again. */
const write = (status, headers = {}, body = "") => (_, response) => response.writeHead(status, headers).end(body);
const json = { "content-type": "application/json" };

for (const transport of ["sse", "poll"]) {
  for (const [what, answer, code] of [
    ["401", write(401, json, '{"type":"error","code":"unauthorized","message":"no"}'), "error unauthorized"],
    ["403", write(403, json, '{"type":"error","code":"forbidden","message":"no"}'), "error forbidden"],
    ["404 of a proxy", write(404, { "content-type": "text/html" }, "<h1>not here</h1>"), "error refused"],
    ["410", write(410), "error refused"],
    ["another type", write(200, { "content-type": "text/html" }, "<h1>Sign in</h1>"), "error wrong_type"],
    ["204", write(204), "end"],
  ]) {
    test(`${transport}: ${what} is final`, async (t) => {
      const odd = await startOddServer(answer);
      t.after(() => odd.stop());
      const list = heard(client(t, odd.url, { transports: [transport], random: () => 0 }).join("a"));
      await until("told", () => list.length > 0);
      // Without any back-off it would be back by now.
      await pause(200);
      assert.deepEqual(list, [code]);
      assert.equal(odd.requests.length, 1);
    });
  }

  for (const [what, answer, least] of [
    ["429 with Retry-After", write(429, { "retry-after": "1" }), 1_000],
    ["503 with a date", (_, response) => response.writeHead(503, { "retry-after": new Date(Date.now() + 2_000).toUTCString() }).end(), 900],
    ["500", write(500), 0],
    ["a reset", (request) => request.socket.resetAndDestroy(), 0],
  ]) {
    test(`${transport}: after ${what} it comes back, not before it is asked to`, async (t) => {
      const odd = await startOddServer(answer);
      t.after(() => odd.stop());
      const room = client(t, odd.url, { transports: [transport], random: () => 0.1 }).join("a");
      const list = heard(room);
      await until("it is back", () => odd.requests.length >= 2);
      assert.ok(odd.requests[1].at - odd.requests[0].at >= least, `${odd.requests[1].at - odd.requests[0].at}`);
      assert.deepEqual(list, []);
    });
  }
}

test("a stream that ends well is resumed after its last event, when its retry says", async (t) => {
  const lines = (...objects) => objects.map((object) => `data: ${JSON.stringify(object)}\n\n`).join("");
  const event = { type: "event", room: "a", id: "p1.6.0", event: "n", data: 1 };
  const odd = await startOddServer((_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    const again = odd.requests.length > 1;
    const cursor = again ? "p1.6.0" : "p1.5.0";
    const joined = { type: "joined", room: "a", cursor, recovered: true };
    response.end(`retry: 300\n\n${lines({ type: "hello", version: 1 }, joined, ...(again ? [] : [event]))}`);
  });
  t.after(() => odd.stop());
  const list = heard(client(t, odd.url, { transports: ["sse"], random: () => 0 }).join("a"));
  await until("it is back", () => odd.requests.length >= 3);
  const froms = odd.requests.map(({ url }) => new URL(url, odd.url).searchParams.get("from"));
  assert.deepEqual(froms.slice(0, 3), ["now", "p1.6.0", "p1.6.0"]);
  assert.ok(odd.requests[1].at - odd.requests[0].at >= 300);
  assert.deepEqual(list, [1]);
});

test("a token never stands in an address", async (t) => {
  const odd = await startOddServer(write(503));
  t.after(() => odd.stop());
  const tidings = client(t, odd.url, { transports: ["sse", "poll"], token: "secret", random: () => 0 });
  tidings.join("a");
  await until("both were tried", () => odd.requests.some(({ url }) => url.includes("/poll")));
  for (const { url, headers } of odd.requests) {
    assert.ok(!url.includes("secret"), url);
    assert.equal(headers.authorization, "Bearer secret");
  }
});
