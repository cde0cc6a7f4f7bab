// The promise, over whatever a network does: what the application was told is what the server has published, each once and
// in order, or there is a gap where something is missing.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Server, World } from "./support/world.mjs";

const RUNS = Number(process.env.TIDINGS_RUNS ?? 400);
const ROOMS = ["a", "b", "c"];

/** A run of one client through cuts, freezes, changes, sleeps, lost histories; then peace. */
function play(seed) {
  const server = new Server({ history: 5 + (seed % 3) * 20 });
  let peace = false;
  const world = new World({
    seed,
    server,
    fare: (transport, { random }) => {
      if (peace) return {};
      const dice = random();
      const latency = 1 + random() * 300;
      if (transport === "send") return dice < 0.3 ? { latency, lost: true } : dice < 0.4 ? { latency, refuse: { status: 503 } } : { latency };
      if (dice < 0.1) return { latency, refuse: { reason: "network" } };
      if (dice < 0.15) return { latency, mute: true };
      if (dice < 0.6) return { latency, life: random() * 20_000 };
      if (dice < 0.8) return { latency, freeze: random() * 20_000 };
      return { latency };
    },
  });
  const { random } = world;
  const published = new Map();
  for (const [at, room] of ROOMS.entries()) {
    server.publish(room, "before");
    world.do((machine, now) => machine.join(now, room, at === 0 ? "start" : "now"));
  }
  let number = 0;
  for (let step = 0; step < 150; step++) {
    const room = ROOMS[Math.floor(random() * ROOMS.length)];
    const dice = random();
    if (dice < 0.5) for (let n = random() * 6; n > 0; n--) server.publish(room, ++number);
    else if (dice < 0.7) {
      const key = `k${++number}`;
      published.set(world.do((machine, now) => machine.submit(now, { type: "publish", room, event: "n", data: number, key })), key);
    } else if (dice < 0.76) world.cut();
    else if (dice < 0.8) world.freeze();
    else if (dice < 0.83) server.up = !server.up;
    else if (dice < 0.85) server.forget(room);
    else if (dice < 0.88) {
      world.do((machine) => machine.sleep());
      world.run(random() * 5_000);
      world.do((machine, now) => machine.wake(now));
    } else if (dice < 0.91) world.do((machine, now) => machine.online(now, random() < 0.5));
    else if (dice < 0.93) {
      const names = [["ws"], ["sse"], ["poll"], ["ws", "sse", "poll"], ["poll", "sse"]][Math.floor(random() * 5)];
      world.do((machine, now) => machine.use(now, names.map((name) => ({ name, duplex: name === "ws" }))));
    } else {
      // What was sent is sent again.
      for (const session of server.sessions) {
        const sent = session.sent.slice(-50);
        if (sent.length > 0) session.send(sent[Math.floor(random() * sent.length)]);
      }
    }
    world.run(random() * random() * 20_000);
  }
  peace = true;
  server.up = true;
  world.do((machine, now) => machine.online(now, true));
  world.run(300_000);
  for (const room of ROOMS) server.publish(room, "after");
  world.run(60_000);
  return { world, server, published };
}

/** Offsets that a room was told, with gaps between. */
function check({ world, server, published }, room) {
  let place = null;
  let gaps = 0;
  const seen = new Set();
  for (const { type, id, cursor, recovered, room: of, data } of world.told) {
    if (of !== room) continue;
    if (type === "joined") {
      if (place === null && recovered) place = parse(cursor);
      continue;
    }
    const [epoch, offset] = parse(id);
    if (type === "gap") {
      gaps += 1;
      place = [epoch, offset];
      continue;
    }
    assert.equal(type, "event");
    assert.notEqual(place, null, "nothing comes before the room was joined");
    assert.deepEqual([epoch, offset], [place[0], place[1] + 1], `${id} follows ${place}`);
    assert.ok(!seen.has(id), `${id} comes once`);
    seen.add(id);
    place = [epoch, offset];
    if (data === "after") assert.equal(offset, server.room(room).offset);
  }
  const { epoch, offset } = server.room(room);
  assert.deepEqual(place, [epoch, offset], "it has everything");
  for (const [ref, key] of published) {
    const settled = world.settled.get(ref);
    assert.ok(settled, `the publish ${key} was answered`);
    if (settled.error) assert.equal(settled.error.code, "unknown_outcome");
    else assert.equal(settled.id, server.keys.get(key));
  }
  return gaps;
}

const parse = (id) => id.slice(1).split(".").slice(0, 2).map((part) => parseInt(part, 36));

test(`${RUNS} random runs keep the promise`, () => {
  let gaps = 0;
  const used = new Set();
  for (let seed = 1; seed <= RUNS; seed++) {
    try {
      const run = play(seed);
      for (const room of ROOMS) gaps += check(run, room);
      for (const { transport } of run.world.opens) used.add(transport);
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
  }
  // A run in which nothing goes wrong proves nothing.
  assert.ok(gaps > RUNS, `${gaps} gaps were told`);
  assert.deepEqual([...used].sort(), ["poll", "sse", "ws"]);
});
