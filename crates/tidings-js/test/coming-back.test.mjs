// When and over what a client comes back: back-off, hints, fallback, promotion.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Server, World } from "./support/world.mjs";

const join = (machine, now) => machine.join(now, "a", "now");

/** Clients that are in a room, for so long. */
function settled(count, options = {}) {
  return Array.from({ length: count }, (_, seed) => {
    const world = new World({ seed: seed + 1, ...options });
    world.do(join);
    world.run(60_000);
    world.begun = world.opens.length;
    return world;
  });
}

const returned = (world) => world.opens.slice(world.begun);

test("a fleet that loses its server comes back spread out", () => {
  const server = new Server();
  const worlds = settled(1_000, { server });
  const lost = worlds[0].now;
  server.up = false;
  for (const world of worlds) world.cut();
  for (const world of worlds) world.run(5_000);
  server.up = true;
  for (const world of worlds) world.run(60_000);
  const buckets = new Map();
  for (const world of worlds) {
    for (const at of new Set(returned(world).map(({ at }) => Math.floor((at - lost) / 100)))) {
      buckets.set(at, (buckets.get(at) ?? 0) + 1);
    }
    assert.equal(world.machine.transport, "ws", "a restart alone does not change the transport for long");
  }
  assert.ok(Math.max(...buckets.values()) <= 150, `${Math.max(...buckets.values())} of 1000 at once`);
  assert.ok(buckets.has(0) && buckets.has(9), "the first delay is random too");
});

test("the bound grows to its cap, and only a connection that holds makes it small again", () => {
  const gaps = [];
  for (let seed = 1; seed <= 200; seed++) {
    // It opens each time, and dies after nine seconds.
    const world = new World({ seed, transports: ["ws"], fare: () => ({ life: 9_000 }) });
    world.do(join);
    world.run(600_000);
    world.opens.slice(1).forEach(({ at }, n) => (gaps[n] ??= []).push(at - world.opens[n].at - 9_020));
  }
  const longest = gaps.map((each) => Math.max(...each));
  assert.ok(longest[0] <= 1_200 && longest[0] > 1_080, `${longest[0]}`);
  assert.ok(longest[3] > 8_400 && longest[3] <= 9_600, `${longest[3]}`);
  assert.ok(Math.max(...longest) <= 30_000 && Math.max(...longest) > 25_000);
});

test("what the server says about coming back is kept to, and not by all at once", () => {
  for (const [outcome, least, most] of [
    [{ status: 503, retry: [7_000, 10_500] }, 7_000, 10_500],
    [{ reason: "ended", hint: [4_000, 6_000] }, 4_000, 6_000],
    [{ closeCode: 1012 }, 500, 5_000],
    [{ closeCode: 1013 }, 5_000, 15_000],
  ]) {
    const delays = settled(100).map((world) => {
      const lost = world.now;
      world.cut(outcome);
      world.run(20_000);
      return returned(world)[0].at - lost;
    });
    assert.ok(Math.min(...delays) >= least && Math.max(...delays) <= most, `${JSON.stringify(outcome)} ${delays}`);
    assert.ok(Math.max(...delays) - Math.min(...delays) > (most - least) * 0.8, "spread over the window");
  }
});

test("a window that makes no sense is no reason to come back at once for ever, or never", () => {
  for (const retry of [[NaN, NaN], [-5, -1], [1e308, Infinity], ["a", null], [2 ** 31, 2 ** 53]]) {
    const [world] = settled(1);
    world.cut({ told: true, retry });
    world.run(7_200_001);
    assert.ok(returned(world).length >= 1 && returned(world).length < 5, `${retry}: ${returned(world).length}`);
  }
});

for (const [what, fare] of [
  ["opens and dies soon", { life: 200 }],
  ["opens and delivers nothing", { mute: true }],
  ["never opens", { refuse: { reason: "network" } }],
]) {
  test(`a WebSocket that ${what} is left for an event stream, and looked at again`, () => {
    for (let seed = 1; seed <= 100; seed++) {
      let broken = true;
      const server = new Server();
      const world = new World({ seed, server, fare: (transport) => (broken && transport === "ws" ? fare : {}) });
      world.do(join);
      for (let n = 0; n < 20; n++) {
        world.run(1_000);
        server.publish("a", n);
      }
      const tries = world.opens.findIndex(({ transport }) => transport === "sse");
      assert.ok(tries >= 1 && tries <= 3, `seed ${seed}: after ${tries} tries`);
      assert.ok(world.opens[tries].at <= 17_000, `seed ${seed}: at ${world.opens[tries].at}`);
      const before = world.opens.length;
      world.run(600_000);
      assert.equal(world.machine.transport, "sse");
      const looks = world.opens.length - before;
      assert.ok(looks >= 1 && looks <= 12, `seed ${seed}: looked at again ${looks} times`);
      broken = false;
      world.run(620_000);
      assert.equal(world.machine.transport, "ws", `seed ${seed}: it is tried again within ten minutes, and kept`);
      server.publish("a", "last");
      world.run(1_000);
      const told = world.told.filter(({ type }) => type === "event").map(({ data }) => data);
      const first = told[0];
      assert.deepEqual(told, [...Array.from({ length: 20 }, (_, n) => n).slice(first), "last"]);
    }
  });
}

test("three short lives are enough, within ten seconds", () => {
  const times = [];
  for (let seed = 1; seed <= 300; seed++) {
    const world = new World({ seed, fare: (transport) => (transport === "ws" ? { life: 200 } : {}) });
    world.do(join);
    world.run(30_000);
    times.push(world.opens.find(({ transport }) => transport === "sse").at);
  }
  assert.ok(Math.max(...times) <= 10_000, `${Math.max(...times)}`);
});

test("an event stream that a proxy holds back is left for long-polling", () => {
  // The first bytes come, and then no more.
  const world = new World({ fare: (transport) => (transport === "sse" ? { freeze: 100 } : {}), transports: ["sse", "poll"] });
  world.do(join);
  world.run(40_000);
  assert.equal(world.machine.transport, "poll");
  const before = world.opens.length;
  world.run(3_600_000);
  assert.equal(world.machine.transport, "poll");
  assert.ok(world.opens.length > before, "it is looked at again");
  assert.ok(!world.states.some(({ reason }) => reason === "promoted"), "and not believed");
});

test("a server that is away for long is found again over the first transport", () => {
  for (let seed = 1; seed <= 100; seed++) {
    const server = new Server();
    const world = new World({ seed, server });
    world.do(join);
    world.run(60_000);
    server.up = false;
    world.cut();
    world.run(30_000 + seed * 2_000);
    server.up = true;
    world.run(45_000);
    assert.equal(world.machine.transport, "ws", `seed ${seed}`);
    assert.equal(world.live, 1, `seed ${seed}`);
  }
});

test("where everything fails, each other transport is tried once before the first is again", () => {
  const world = new World({});
  world.server.up = false;
  world.do(join);
  // Failures that come fast, for patience is not what is tried here.
  for (let n = 0; n < 100 && world.opens.length < 10; n++) {
    world.do((machine, now) => machine.wake(now));
    world.run(600);
  }
  const order = world.opens.slice(0, 10).map(({ transport }) => transport).join(" ");
  assert.equal(order, "ws ws ws sse poll ws ws ws sse poll");
});

test("a page that is loaded while the server is away is soon on the first transport", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const world = new World({ seed });
    world.server.up = false;
    world.do(join);
    world.run(20_000 + seed * 200);
    world.server.up = true;
    world.run(30_000 + 6_000);
    assert.equal(world.machine.transport, "ws", `seed ${seed}`);
  }
});

test("a connection that has held makes the bound small again", () => {
  for (const world of settled(50)) {
    for (let n = 0; n < 6; n++) {
      const lost = world.now;
      const before = world.opens.length;
      world.cut();
      world.run(40_000);
      assert.ok(world.opens[before].at - lost <= 1_200, `${world.opens[before].at - lost}`);
    }
  }
});

test("a page that is seen again does not wait any longer, but for what the server has said", () => {
  const [waiting, told] = settled(2);
  waiting.server.up = false;
  waiting.cut();
  waiting.run(120_000);
  waiting.server.up = true;
  const before = waiting.opens.length;
  waiting.do((machine, now) => machine.wake(now));
  waiting.run(600);
  assert.equal(waiting.opens.length, before + 1);

  told.cut({ told: true, retry: [50_000, 60_000] });
  told.do((machine, now) => machine.wake(now));
  told.run(49_000);
  assert.equal(returned(told).length, 0);
});

test("each change of state says why", () => {
  const world = new World({});
  world.do(join);
  world.run(20_000);
  world.cut();
  world.run(20_000);
  world.do((machine) => machine.close());
  const said = world.states.map(({ state, reason, transport }) => `${state} ${reason} ${transport}`);
  assert.deepEqual(said, [
    "connecting opening ws", "live opened ws", "waiting lost ws", "connecting opening ws", "live opened ws", "closed closed ws",
  ]);
});
