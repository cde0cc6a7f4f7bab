// What goes up: once, in order, bounded, and answered whatever happens.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Server, World } from "./support/world.mjs";

const publish = (world, data, key = `k${data}`) =>
  world.do((machine, now) => machine.submit(now, { type: "publish", room: "a", event: "n", data, key }));
const call = (world) => world.do((machine, now) => machine.submit(now, { type: "call", method: "m", data: null }));
const stored = (server) => server.room("a").events.map(({ event }) => event.data);
const code = (world, ref) => world.settled.get(ref)?.error?.code;

for (const transport of ["ws", "poll"]) {
  test(`over ${transport} what was published offline goes up in its order, and what is too much is refused`, () => {
    const server = new Server({ history: 1_000 });
    const world = new World({ server, transports: [transport] });
    server.up = false;
    const refs = Array.from({ length: 256 }, (_, n) => publish(world, n));
    assert.throws(() => publish(world, "more"), { code: "queue_full" });
    world.run(120_000);
    server.up = true;
    world.run(60_000);
    assert.deepEqual(stored(server), Array.from({ length: 256 }, (_, n) => n));
    for (const ref of refs) assert.match(world.settled.get(ref).id, /^p/);
    publish(world, "again");
    world.run(1_000);
    assert.equal(stored(server).at(-1), "again");
  });
}

test("a publish whose answer is lost is stored once", () => {
  for (let seed = 1; seed <= 50; seed++) {
    let lost = 3;
    const server = new Server();
    const world = new World({ seed, server, transports: ["poll"], fare: (name) => ({ lost: name === "send" && lost-- > 0 }) });
    const ref = publish(world, "once");
    world.run(60_000);
    assert.deepEqual(stored(server), ["once"]);
    assert.match(world.settled.get(ref).id, /^p/);
  }
});

test("a publish is not repeated when the server may have forgotten its key", () => {
  const server = new Server();
  const world = new World({ server, transports: ["ws"] });
  world.do((machine, now) => machine.join(now, "a", "now"));
  world.run(1_000);
  world.freeze();
  const sent = publish(world, "sent");
  server.up = false;
  world.run(100_000);
  const waiting = publish(world, "waiting");
  world.run(200_000);
  server.up = true;
  world.run(60_000);
  assert.equal(code(world, sent), "unknown_outcome");
  assert.match(world.settled.get(waiting).id, /^p/, "what was never sent is not given up");
  assert.deepEqual(stored(server), ["waiting"]);
});

test("a call whose answer is lost is not made twice, and one that was refused is", () => {
  let fare = { lost: true };
  const world = new World({ transports: ["poll"], fare: (name) => (name === "send" ? fare : {}) });
  world.server.perform = (session, { ref }) => session.send({ type: "reply", ref, data: 7 });
  const lost = call(world);
  world.run(1_000);
  assert.equal(code(world, lost), "unknown_outcome");
  fare = { refuse: { status: 503, retry: [1_000, 2_000] } };
  const refused = call(world);
  world.run(500);
  fare = {};
  world.run(5_000);
  assert.equal(world.settled.get(refused).data, 7);
});

test("what was sent makes place for what comes", () => {
  const world = new World({ server: new Server({ history: 1_000 }), transports: ["ws"] });
  for (let n = 0; n < 20; n++) {
    publish(world, "x".repeat(500_000), `first ${n}`);
    world.run(1_000);
  }
  assert.equal(stored(world.server).length, 20);
  world.server.up = false;
  world.cut();
  for (let n = 0; n < 8; n++) publish(world, "x".repeat(500_000), `more ${n}`);
  assert.throws(() => publish(world, "x".repeat(500_000), "last"), { code: "queue_full" }, "bytes are counted too");
});

test("what is larger than the server takes is refused at once, and what is as large is not", () => {
  const world = new World({ transports: ["ws"] });
  const around = JSON.stringify({ type: "publish", room: "a", event: "n", data: "", key: "k", ref: 1 }).length;
  const ref = publish(world, "x".repeat((1 << 20) - around), "k");
  world.run(1_000);
  assert.match(world.settled.get(ref).id, /^p/);
  assert.throws(() => publish(world, "x".repeat((1 << 20) - around + 1), "k"), { code: "too_large" });
});

test("a message for which the server closes is given up, and the others go up", () => {
  const world = new World({ transports: ["ws"] });
  world.do((machine, now) => machine.join(now, "a", "now"));
  world.run(1_000);
  const small = publish(world, "small");
  const large = publish(world, "x".repeat(1_000));
  world.cut({ closeCode: 1009 });
  world.run(10_000);
  assert.equal(code(world, large), "too_large");
  assert.match(world.settled.get(small).id, /^p/);
  assert.deepEqual(stored(world.server), ["small"]);
});

test("a body that is too large goes up in parts, and only what is too large by itself is given up", () => {
  const most = 300;
  const world = new World({
    transports: ["poll"],
    fare: (name, { posting }) => (name === "send" && posting > most ? { refuse: { status: 413 } } : {}),
  });
  const { do: perform } = world;
  world.do = (input) => {
    const next = world.machine.next;
    world.machine.next = function () {
      const effect = next.call(this);
      if (effect?.type === "post") world.posting = effect.texts.join().length;
      return effect;
    };
    try {
      return perform.call(world, input);
    } finally {
      world.machine.next = next;
    }
  };
  const refs = ["a", "b", "x".repeat(400), "c"].map((data) => publish(world, data));
  world.run(60_000);
  assert.deepEqual(stored(world.server), ["a", "b", "c"]);
  assert.deepEqual(refs.map((ref) => code(world, ref)), [undefined, undefined, "too_large", undefined]);
});

test("when the client is closed what waits is rejected", () => {
  const world = new World({});
  const refs = [publish(world, 1), call(world)];
  world.do((machine) => machine.close());
  for (const ref of refs) assert.equal(code(world, ref), "closed");
  assert.throws(() => publish(world, 2), { code: "closed" });
});
