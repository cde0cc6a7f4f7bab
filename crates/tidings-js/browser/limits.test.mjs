// The server's limits, and the client in a real browser: what is too large, and many rooms.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startNetwork, startServer, until } from "../test/support/server.mjs";
import { joined, newContext, newPage, numbers, startBrowser, told } from "./support.mjs";

const MESSAGE = 100_000;

let browser;
let server;

before(async () => {
  server = await startServer(["--message", `${MESSAGE}`]);
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop("SIGKILL");
});

const alone = (...transports) => ({ transports, share: false });

test("what is too large is refused at once, and exactly as much as the server takes is not", async (t) => {
  const context = await newContext(t, browser);
  for (const name of ["ws", "poll"]) {
    const room = `limited ${name}`;
    const page = await newPage(context, server.url, { options: alone(name), rooms: [room] });
    await joined(page);
    const codes = await page.evaluate(async ([room, most]) => {
      const key = "k".repeat(32);
      // The reference has one digit for some, two for others: as many as the join before it has.
      const around = JSON.stringify({ type: "publish", room, event: "n", data: "", key, ref: 1 }).length;
      const of = (length) => window.rooms[room].publish("n", "x".repeat(length - around), { key }).then(() => "stored", ({ code }) => code);
      return Promise.all([of(most + 100), of(most - 10), window.rooms[room].publish("n", "small").then(() => "stored")]);
    }, [room, MESSAGE]);
    assert.deepEqual(codes, ["too_large", "stored", "stored"], name);
  }
});

test("the server's limit is exact, and what it refuses that the client could not know is not sent again", async (t) => {
  const network = await startNetwork(server.url);
  t.after(() => network.stop());
  const page = await (await newContext(t, browser)).newPage();
  await page.goto(`${network.url}/`);
  const exact = await page.evaluate(async (most) => {
    const command = (bytes) => {
      const around = JSON.stringify({ type: "publish", ref: 1, room: "exact", event: "n", data: "" }).length;
      return JSON.stringify({ type: "publish", ref: 1, room: "exact", event: "n", data: "x".repeat(bytes - around) });
    };
    const overSocket = (bytes) => new Promise((done) => {
      const socket = new WebSocket("/realtime/ws");
      socket.onopen = () => socket.send(command(bytes));
      socket.onmessage = ({ data }) => done(JSON.parse(data).type);
      socket.onclose = ({ code }) => done(code);
    });
    const posted = async (bytes) => {
      const headers = { "content-type": "application/json" };
      return (await fetch("/realtime/send", { method: "POST", headers, body: command(bytes) })).status;
    };
    return [await overSocket(most), await overSocket(most + 1), await posted(most), await posted(most + 1)];
  }, MESSAGE);
  assert.deepEqual(exact, ["reply", 1009, 200, 413]);

  for (const name of ["ws", "poll"]) {
    const room = `refused ${name}`;
    const sent = [];
    page.on("websocket", (socket) => socket.on("framesent", ({ payload }) => sent.push(payload.length)));
    page.on("request", (request) => request.method() === "POST" && sent.push(request.postData().length));
    // Before the client has heard of any limit.
    const codes = await page.evaluate(async ([room, name, most]) => {
      const { Tidings } = await import("/realtime/tidings.js");
      const tidings = new Tidings("/realtime", { transports: [name], share: false });
      const codes = ["small", "x".repeat(most + 1), "also small"].map((data) =>
        tidings.publish(room, "n", data).then(() => "stored", ({ code }) => code));
      return Promise.all(codes);
    }, [room, name, MESSAGE]);
    assert.deepEqual(codes, ["stored", "too_large", "stored"], name);
    const large = sent.filter((length) => length > MESSAGE);
    // With others, and then to see whether it was this one.
    assert.ok(large.length >= 1 && large.length <= 2, `${name}: ${sent}`);
    page.removeAllListeners("websocket");
    page.removeAllListeners("request");
    const other = await newPage(page.context(), network.url, { options: alone("poll"), rooms: [room], from: "start" });
    await told(other, ["small", "also small"], room);
  }
});

test("five thousand rooms come back at the first try", async (t) => {
  const large = await startServer(["--rooms", "5000"]);
  t.after(() => large.stop("SIGKILL"));
  const network = await startNetwork(large.url);
  t.after(() => network.stop());
  const rooms = numbers(1, 5_000).map((n) => `${n}`.padEnd(64, "x"));
  const page = await newPage(await newContext(t, browser), network.url, { options: alone("ws"), rooms });
  await joined(page);
  await page.evaluate(() => {
    window.back = 0;
    for (const room of Object.values(window.rooms)) room.on("joined", ({ recovered }) => { window.back += recovered; });
  });
  const sockets = () => network.heads.filter((head) => head.startsWith("GET /realtime/ws")).length;
  const before = sockets();
  network.cut();
  const cut = performance.now();
  await until("all are back", async () => {
    const back = await page.evaluate(() => window.back);
    return back === 5_000 || back;
  });
  const took = performance.now() - cut;
  assert.ok(took < 5_000 + 1_200, `${took}`);
  assert.equal(sockets(), before + 1);
  await large.publish(rooms[4_999], 1);
  await told(page, [1], rooms[4_999]);
});
