// Whether the other side is still there: silent links, late timers, pages that were away.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Watch } from "../js/watch.js";
import { World } from "./support/world.mjs";

const join = (machine, now) => machine.join(now, "a", "now");

for (const transport of ["ws", "sse"]) {
  test(`a link over ${transport} that falls silent is given up, and late words of it are not heard`, () => {
    const world = new World({ transports: [transport] });
    world.do(join);
    world.run(30_000);
    const frozen = world.now;
    world.freeze();
    world.run(60_000);
    assert.equal(world.opens.length, 2);
    // The silence may have begun a heartbeat earlier.
    const took = world.opens[1].at - frozen;
    assert.ok(took <= 35_000 + 1_000, `${took}`);
    world.do((machine, now) => machine.message(now, 1, { type: "event", room: "a", id: "p1.1.1", event: "n" }));
    assert.deepEqual(world.told.filter(({ type }) => type === "event"), []);
  });
}

test("a quiet link is no silent one", () => {
  for (const transport of ["ws", "sse", "poll"]) {
    const world = new World({ transports: [transport] });
    world.do(join);
    world.run(3_600_000);
    assert.equal(world.opens.length, 1, transport);
  }
});

/** A watch that is looked at once a minute, as in a hidden page, while the other side answers or speaks in between. */
function hidden(pings, answers) {
  const watch = new Watch(0, 20_000, pings);
  const speaks = [];
  for (let now = 60_000; now <= 15 * 60_000; now += 60_000) {
    for (const at of speaks.splice(0)) watch.alive(at);
    if (!pings && answers) for (let at = now - 50_000; at <= now; at += 20_000) watch.alive(at);
    const said = watch.tick(now);
    if (said === "dead") return now;
    if (said === "ping" && answers) speaks.push(now + 50);
  }
  return null;
}

test("timers that come a minute late are no reason to call a link dead", () => {
  assert.equal(hidden(true, true), null);
  assert.equal(hidden(false, true), null);
});

test("a link that is dead is found out even by late timers", () => {
  for (const pings of [true, false]) {
    const died = hidden(pings, false);
    assert.ok(died && died <= 4 * 60_000, `${died}`);
  }
});

test("what was received while the page could not look waits behind the timer, and is waited for", () => {
  const stream = new Watch(0, 20_000, false);
  assert.equal(stream.tick(300_000), null);
  stream.alive(300_001);
  assert.equal(stream.tick(305_000), null);
  const socket = new Watch(0, 20_000, true);
  assert.equal(socket.tick(20_000), "ping");
  assert.equal(socket.tick(300_000), "ping", "and not dead, although nothing was heard for so long");
  socket.alive(300_001);
  assert.equal(socket.tick(305_000), null);
});

test("after a sleep the link is asked first", () => {
  const watch = new Watch(0, 20_000, true);
  assert.equal(watch.tick(8 * 3_600_000), "ping");
  assert.equal(watch.tick(8 * 3_600_000 + 4_999), null);
  watch.alive(8 * 3_600_000 + 5_000);
  assert.equal(watch.tick(8 * 3_600_000 + 20_000), null);
  assert.equal(watch.look(9 * 3_600_000), "ping");
  assert.equal(watch.tick(9 * 3_600_000 + 10_000), "dead", "no answer in ten seconds, and the timer was not late");
});

test("a page that is put away closes its link, and has everything when it is taken out", () => {
  const world = new World({});
  world.do(join);
  world.run(20_000);
  world.do((machine) => machine.sleep());
  assert.equal(world.live, 0);
  for (let n = 1; n <= 5; n++) world.server.publish("a", n);
  world.run(600_000);
  assert.equal(world.opens.length, 1);
  world.do((machine, now) => machine.wake(now));
  world.run(1_000);
  assert.deepEqual(world.told.filter(({ type }) => type === "event").map(({ data }) => data), [1, 2, 3, 4, 5]);
});

test("a network that has changed is looked at at once", () => {
  const world = new World({ transports: ["ws"] });
  world.do(join);
  world.run(21_000);
  world.freeze();
  world.do((machine, now) => machine.online(now, false));
  world.do((machine, now) => machine.online(now, true));
  world.run(12_000);
  assert.equal(world.opens.length, 2);
});
