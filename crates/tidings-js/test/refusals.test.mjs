// Refusals: which are final, and what a token has to do with it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { World } from "./support/world.mjs";

const join = (machine, now) => machine.join(now, "a", "now");
const refused = (world) => world.told.filter(({ type }) => type === "refused").map(({ error }) => error.code);
/** An hour, in which whatever asks again would. */
const LONG = 3_600_000;

for (const transport of ["sse", "poll"]) {
  for (const [outcome, code] of [
    [{ status: 400, code: "bad_query" }, "bad_query"], [{ status: 401, code: "unauthorized" }, "unauthorized"],
    [{ status: 403, code: "forbidden" }, "forbidden"], [{ status: 404 }, "refused"], [{ status: 410 }, "refused"], [{ final: true, code: "wrong_type" }, "wrong_type"],
  ]) {
    test(`${transport}: ${code} (${outcome.status ?? "no status"}) is asked for once and told once`, () => {
      const world = new World({ transports: [transport], fare: () => ({ refuse: outcome }) });
      world.do(join);
      world.run(LONG);
      assert.equal(world.opens.length, 1);
      assert.deepEqual(refused(world), [code]);
      assert.equal(world.states.at(-1).state, "closed");
      assert.throws(() => world.do((machine, now) => machine.join(now, "b", "now")), { code });
    });
  }

  for (const status of [429, 500, 502, 503]) {
    test(`${transport}: ${status} is asked for again, ever less often`, () => {
      const world = new World({ transports: [transport], fare: () => ({ refuse: { status } }) });
      world.do(join);
      world.run(600_000);
      assert.ok(world.opens.length > 20 && world.opens.length < 120, `${world.opens.length}`);
      assert.deepEqual(refused(world), []);
    });
  }
}

test("with a token that can be renewed, 401 asks for another one and goes on", () => {
  let good = "token 2";
  const world = new World({
    transports: ["sse"], machine: { renewable: true },
    fare: (_, { opens }) => (opens.at(-1).token === good ? {} : { refuse: { status: 401 } }),
  });
  world.do(join);
  world.run(5_000);
  assert.deepEqual(world.opens.map(({ token }) => token), ["token 1", "token 2"]);
  assert.equal(world.states.at(-1).state, "live");
  // Much later it is refused again, and renewed again.
  world.run(60_000);
  good = "token 3";
  world.cut();
  world.run(60_000);
  assert.equal(world.tokens, 3);
  assert.equal(world.states.at(-1).state, "live");
});

test("a token that is refused although it is new is the last", () => {
  const refuse = { status: 401, code: "unauthorized" };
  const world = new World({ transports: ["sse"], machine: { renewable: true }, fare: () => ({ refuse }) });
  world.do(join);
  world.run(LONG);
  assert.equal(world.tokens, 2);
  assert.deepEqual(refused(world), ["unauthorized"]);
});

test("a token is not asked for before it is needed, nor again while it is good", () => {
  const world = new World({ machine: { renewable: true } });
  world.run(LONG);
  assert.equal(world.tokens, 0);
  world.do(join);
  world.run(LONG);
  assert.equal(world.tokens, 1);
});

test("a right that has ended is renewed, and the room goes on where it was", () => {
  const world = new World({ transports: ["ws"], machine: { renewable: true } });
  world.do(join);
  world.run(20_000);
  for (const session of world.server.sessions) session.send({ type: "close", code: "expired" });
  world.run(100);
  world.server.publish("a", 1);
  world.run(1_000);
  assert.equal(world.tokens, 2);
  assert.deepEqual(world.told.filter(({ type }) => type === "event").map(({ data }) => data), [1]);

  const fixed = new World({ transports: ["ws"], machine: { token: "fixed" } });
  fixed.do(join);
  fixed.run(20_000);
  for (const session of fixed.server.sessions) session.send({ type: "close", code: "expired" });
  fixed.run(LONG);
  assert.deepEqual(refused(fixed), ["expired"]);
  assert.equal(fixed.opens.length, 1);
});

test("a room that wants a better token has one, once", () => {
  const world = new World({ transports: ["ws"], machine: { renewable: true } });
  const { enter } = world.server;
  world.server.enter = function (session, room, from, ref) {
    if (room === "secret") return session.send({ type: "error", ref, code: "unauthorized", message: "no" });
    enter.call(this, session, room, from, ref);
  };
  world.do(join);
  for (const room of ["secret", "b"]) world.do((machine, now) => machine.join(now, room, "now"));
  world.run(LONG);
  assert.equal(world.tokens, 2);
  assert.deepEqual(refused(world), ["unauthorized"]);
  assert.equal(world.states.at(-1).state, "live");
});

test("a room that the server has no place for is asked for again", () => {
  for (const transport of ["ws", "sse"]) {
    let full = true;
    const world = new World({ transports: [transport] });
    const { enter } = world.server;
    world.server.enter = function (session, room, from, ref) {
      if (room === "b" && full) return session.send({ type: "error", ref, room: ref ? undefined : room, code: "busy", message: "no" });
      enter.call(this, session, room, from, ref);
    };
    world.do(join);
    world.do((machine, now) => machine.join(now, "b", "now"));
    world.run(30_000);
    assert.deepEqual(refused(world), []);
    full = false;
    world.run(10_000);
    assert.ok(world.told.some(({ type, room }) => type === "joined" && room === "b"), transport);
  }
});

test("a token that cannot be had now is asked for later", () => {
  const world = new World({ machine: { renewable: true } });
  world.after = ((after) => function (time, what) {
    if (time === 10 && world.tokens < 4) what = () => world.do((machine, now) => machine.tokenFailed(now, new Error("offline")));
    after.call(world, time, what);
  })(world.after);
  world.do(join);
  world.run(60_000);
  assert.equal(world.tokens, 4);
  assert.equal(world.states.at(-1).state, "live");
  assert.equal(world.states.find(({ state }) => state === "waiting").reason, "token");
});

test("what cannot be a room, or a cursor, is refused before anybody is asked", () => {
  const world = new World({});
  for (const room of ["", "~a", "a\n", "é".repeat(101)]) {
    assert.throws(() => world.do((machine, now) => machine.join(now, room, "now")), { code: "bad_room" }, room);
  }
  for (const from of ["", "yesterday", "vAAAA", "p1.2", "p1.2.3&room=b"]) {
    assert.throws(() => world.do((machine, now) => machine.join(now, "a", from)), { code: "bad_cursor" }, from);
  }
  world.run(1_000);
  assert.equal(world.opens.length, 0);
});
