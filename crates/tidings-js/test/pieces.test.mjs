// The small parts: reading event streams, falling behind, many rooms in one address, the bundle.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { bundle } from "../bundle.mjs";
import { Backlog } from "../js/backlog.js";
import { spread } from "../js/drivers/spread.js";
import { EventParser } from "../js/parser.js";
import { Room } from "../js/room.js";

/** What a parser reads from bytes in these pieces. */
function read(pieces) {
  const decoder = new TextDecoder();
  const parser = new EventParser();
  const data = pieces.flatMap((piece) => [...parser.feed(decoder.decode(piece, { stream: true }))]);
  return { data, retry: parser.retry };
}

test("an event stream is read the same wherever it was cut", () => {
  const text = "\ufeffdata: é€😀\r\ndata: b\r\n\r\n: a comment\nevent: x\rdata:one\rdata: two\r\rdata\n\nretry: 1500\nid: 7\r\ndata:  \ufeffkept\n\ndata: cut off";
  const bytes = new TextEncoder().encode(text);
  const whole = { data: ["é€😀\nb", "one\ntwo", "", " \ufeffkept"], retry: 1500 };
  assert.deepEqual(read([bytes]), whole);
  const empty = new Uint8Array();
  assert.deepEqual(read([...bytes].flatMap((byte) => [empty, Uint8Array.of(byte), empty])), whole);
  for (let at = 0; at <= bytes.length; at++) {
    assert.deepEqual(read([bytes.subarray(0, at), empty, bytes.subarray(at)]), whole, `cut at ${at}`);
  }
});

test("an event that never ends is not kept for ever", () => {
  const parser = new EventParser();
  const piece = `data: ${"x".repeat(1 << 20)}\n`;
  assert.throws(() => {
    for (let n = 0; n < 40; n++) [...parser.feed(piece)];
  }, /without an end/);
});

test("a loop that falls behind finds a gap in place of what it missed", async () => {
  const room = new Room("a", {});
  const loop = room[Symbol.asyncIterator]();
  for (let n = 1; n <= 1_500; n++) room.take({ type: "event", room: "a", id: `p1.${n.toString(36)}.0`, event: "n", data: n });
  const first = await loop.next();
  assert.deepEqual(first.value, { type: "gap", room: "a", id: `p1.${(1_001).toString(36)}.0`, reason: "slow" });
  for (let n = 1_002; n <= 1_500; n++) assert.equal((await loop.next()).value.data, n);
  room.take({ type: "end", room: "a", id: "p1.15o.0" });
  assert.deepEqual(await loop.next(), { value: undefined, done: true });
});

test("a loop waits, ends when it is left, and throws what the room is refused with", async () => {
  const room = new Room("a", { leave() {} });
  const taken = [];
  const done = (async () => {
    for await (const { data } of room) {
      taken.push(data);
      if (taken.length === 2) break;
    }
  })();
  for (const data of [1, 2, 3]) room.take({ type: "event", room: "a", event: "n", data });
  await done;
  assert.deepEqual(taken, [1, 2]);

  const refused = room[Symbol.asyncIterator]();
  const waiting = refused.next();
  const error = Object.assign(new Error("no"), { code: "forbidden" });
  room.refuse(error);
  await assert.rejects(waiting, error);
  assert.deepEqual(await refused.next(), { value: undefined, done: true });
  assert.deepEqual(await room[Symbol.asyncIterator]().next(), { value: undefined, done: true });
});

test("calls of next that are ahead are answered in their order", async () => {
  const backlog = new Backlog("a", () => {});
  const ahead = [backlog.next(), backlog.next(), backlog.next()];
  backlog.add({ data: 1 });
  backlog.add({ data: 2 });
  backlog.finish();
  assert.deepEqual((await Promise.all(ahead)).map(({ value }) => value?.data), [1, 2, undefined]);
});

test("many rooms are asked for in as many requests as their addresses need, and no more than a few", () => {
  const opened = [];
  const open = spread((_, { rooms }, on) => {
    opened.push({ rooms, on, closed: false });
    return { close: () => { opened.find((one) => one.on === on).closed = true; } };
  });
  const rooms = Array.from({ length: 700 }, (_, n) => ({ room: `room-${n}`.padEnd(20, "x"), from: "p1k9x.3f2.a7" }));
  const heard = [];
  const on = {
    opened() {}, alive: () => heard.push("alive"), message: ({ type, room, code }) => heard.push([type, room, code].join(" ")),
    ended: ({ reason }) => heard.push(reason),
  };
  open({}, { rooms, limits: {} }, on);
  assert.equal(opened.length, 3);
  assert.ok(opened.every(({ rooms }) => rooms.length <= 256));
  const asked = opened.flatMap(({ rooms }) => rooms);
  assert.deepEqual(asked, rooms.slice(0, asked.length));

  opened[0].on.opened();
  const rest = rooms.slice(asked.length);
  assert.deepEqual(heard.splice(0), rest.map(({ room }) => `error ${room} too_many_rooms`));
  for (const at of [0, 0, 1, 0]) opened[at].on.alive();
  assert.deepEqual(heard, [], "one that is silent makes the link silent");
  opened[2].on.alive();
  assert.deepEqual(heard.splice(0), ["alive"]);
  opened[1].on.ended({ reason: "lost" });
  assert.deepEqual(heard, ["lost"]);
  assert.ok(opened.every(({ closed }) => closed));
});

test("a listener that throws does not keep the others from hearing, and is not passed over in silence", async (t) => {
  const room = new Room("a", {});
  const heard = [];
  room.on("n", () => { throw new Error("of the application"); });
  const off = room.on("n", (data, { id }) => heard.push([data, id]));
  const reported = [];
  globalThis.reportError = (error) => reported.push(error.message);
  t.after(() => { delete globalThis.reportError; });
  room.take({ type: "event", room: "a", id: "p1.1.0", event: "n", data: 1 });
  off();
  room.take({ type: "event", room: "a", id: "p1.2.0", event: "n", data: 2 });
  assert.deepEqual(heard, [[1, "p1.1.0"]]);
  assert.equal(reported.length, 2);
  assert.equal(room.cursor, "p1.2.0");
});

test("the bundle is current, and under 12 KiB", async () => {
  const committed = await readFile(new URL("../tidings.js", import.meta.url), "utf8");
  // Not compared by assert, which would show both.
  assert.ok(committed === await bundle(), "it is not current; run: npm run bundle");
  const { length } = gzipSync(committed, { level: 9 });
  assert.ok(length < 12 << 10, `${length} bytes`);
});
