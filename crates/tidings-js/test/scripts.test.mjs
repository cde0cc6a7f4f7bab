// The scripts of PROTOCOL.md section 10, with the machine as the client and the test as the server.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { Machine } from "../js/machine.js";
import { generator } from "./support/random.mjs";

const PROTOCOL = await readFile(new URL("../../../PROTOCOL.md", import.meta.url), "utf8");
const SCRIPTS = [...PROTOCOL.matchAll(/^```script (.*)\n([^]*?)^```$/gm)].map(([, name, text]) => ({ name, text }));
/** Milliseconds within which a client comes back that nothing keeps away. */
const SOON = 31_000;

/** A machine whose links are played by a script. */
class Player {
  now = 0;
  link = null;
  ups = [];
  told = [];
  /** References of the script by those of the machine, and back. */
  refs = new Map();

  constructor(names, seed) {
    this.machine = new Machine(transports(names), { random: generator(seed) });
  }

  settle() {
    for (let effect; (effect = this.machine.next()); ) {
      const { type } = effect;
      if (type === "open") this.opened = { ...effect, at: this.now };
      else if (type === "close" && effect.link === this.link) this.link = null;
      else if (type === "send" || type === "post") this.ups.push(...effect.texts.map((text) => JSON.parse(text)));
      else if (type === "tell") this.told.push([effect.message.type, effect.message.id].filter(Boolean).join(" "));
      else if (type === "refuse") this.told.push(`refused ${effect.room} ${effect.error.code}`);
      else if (type === "settle") this.told.push(effect.error ? `failed ${effect.error.code}` : `published ${effect.id}`);
    }
  }

  /** Lets time pass until the machine opens something, or for so long. */
  untilOpen(longest) {
    const end = this.now + longest;
    for (this.settle(); !this.opened && this.machine.deadline <= end; this.settle()) {
      this.now = Math.max(this.now, this.machine.deadline);
      this.machine.tick(this.now);
    }
  }

  connect(rest) {
    const [, what, from, to] = rest.match(/^(.*?)(?: after (\d+) to (\d+))?$/);
    const before = this.now;
    this.untilOpen(SOON);
    if (what === "nothing") return assert.equal(this.opened, undefined);
    assert.ok(this.opened, "it connects");
    const { transport, rooms, link, at } = this.opened;
    this.opened = undefined;
    assert.equal([transport, ...rooms.map(({ room, from }) => `${room}=${from}`)].join(" "), what);
    if (from) assert.ok(at - before >= from && at - before <= to, `after ${at - before}`);
    this.link = link;
    this.machine.opened(this.now, link);
    this.machine.message(this.now, link, { type: "hello", version: 1, heartbeat: 20_000, limits: { rooms: 256 } });
  }

  up(text) {
    const wanted = JSON.parse(text);
    const sent = this.ups.shift();
    assert.ok(sent, `it sends ${text}`);
    if (wanted.ref !== undefined) {
      if (!this.refs.has(wanted.ref)) this.refs.set(wanted.ref, sent.ref);
      wanted.ref = this.refs.get(wanted.ref);
    } else {
      delete sent.ref;
    }
    assert.deepEqual(sent, wanted);
  }

  down(text) {
    const message = JSON.parse(text);
    if (message.ref !== undefined) message.ref = this.refs.get(message.ref);
    this.machine.message(this.now, this.link, message);
  }

  do(rest) {
    const [verb, ...words] = rest.split(" ");
    if (verb === "join") return this.machine.join(this.now, ...words);
    if (verb === "leave") return this.machine.leave(this.now, ...words);
    if (verb === "use") return this.machine.use(this.now, transports(words));
    assert.equal(verb, "publish");
    const [room, event, data, , key] = words;
    this.machine.submit(this.now, { type: "publish", room, event, data: JSON.parse(data), key });
  }

  step(line) {
    const [verb, rest] = line.split(/ (.*)/);
    if (verb === "connect") this.connect(rest);
    else if (verb === "up") this.up(rest);
    else if (verb === "down") this.down(rest);
    else if (verb === "do") this.do(rest);
    else if (verb === "cut") this.machine.ended(this.now, this.link, { reason: "lost" });
    else if (verb === "tell") assert.equal(this.told.shift(), rest);
    else assert.fail(`there is no step ${verb}`);
    this.settle();
  }
}

function transports(names) {
  return names.map((name) => ({ name, duplex: name === "ws" }));
}

for (const { name, text } of SCRIPTS) {
  test(name, () => {
    for (let seed = 1; seed <= 20; seed++) {
      const [first, ...lines] = text.trimEnd().split("\n");
      const player = new Player(first.split(" ").slice(1), seed);
      for (const [at, line] of lines.entries()) {
        try {
          player.step(line);
          const next = lines[at + 1] ?? "";
          if (!next.startsWith("tell")) assert.deepEqual(player.told, [], "nothing else is told");
          if (!next.startsWith("up")) assert.deepEqual(player.ups, [], "nothing else is sent");
        } catch (error) {
          error.message = `seed ${seed}, line ${at + 2} (${line}): ${error.message}`;
          throw error;
        }
      }
    }
  });
}

test("the protocol has its scripts", () => assert.ok(SCRIPTS.length >= 10, `${SCRIPTS.length} scripts`));
