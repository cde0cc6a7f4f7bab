// A world for the machine: servers that keep rooms, a network that loses, and time that goes as fast as it can.

import { Machine } from "../../js/machine.js";
import { generator } from "./random.mjs";

const HOUR = 3_600_000;

/** Rooms with a bounded history and positions, as the protocol has them. */
export class Server {
  rooms = new Map();
  keys = new Map();
  sessions = new Set();
  history;
  up = true;

  constructor({ history = 20 } = {}) {
    this.history = history;
  }

  room(name) {
    if (!this.rooms.has(name)) this.rooms.set(name, { epoch: 1, offset: 0, events: [] });
    return this.rooms.get(name);
  }

  /** Publishes, once for each key, and gives the position. */
  publish(name, data, key) {
    if (key !== undefined && this.keys.has(key)) return this.keys.get(key);
    const room = this.room(name);
    room.offset += 1;
    const event = { type: "event", room: name, id: position(room, room.offset), event: "n", data };
    room.events.push({ offset: room.offset, event });
    if (room.events.length > this.history) room.events.shift();
    if (key !== undefined) this.keys.set(key, event.id);
    for (const session of this.sessions) if (session.rooms.has(name)) session.send(event);
    return event.id;
  }

  /** The history is lost: a new epoch. */
  forget(name) {
    const room = this.room(name);
    room.epoch += 1;
    room.offset += 100;
    room.events = [];
    const gap = { type: "gap", room: name, id: position(room, room.offset), reason: "epoch" };
    for (const session of this.sessions) if (session.rooms.has(name)) session.send(gap);
  }

  /** Enters a session into a room: what it is told. */
  enter(session, name, from, ref) {
    const room = this.room(name);
    const head = position(room, room.offset);
    const first = room.events[0]?.offset ?? room.offset + 1;
    session.rooms.add(name);
    const joined = (cursor, recovered) => session.send({ type: "joined", ref, room: name, cursor, recovered });
    const replay = (after) => room.events.filter(({ offset }) => offset > after).forEach(({ event }) => session.send(event));
    if (from === "now") return joined(head, true);
    if (from === "start") {
      joined(position(room, first - 1), true);
      return replay(0);
    }
    const [epoch, offset] = from.slice(1).split(".").map((part) => parseInt(part, 36));
    if (epoch === room.epoch && offset >= first - 1 && offset <= room.offset) {
      joined(from, true);
      return replay(offset);
    }
    joined(from, false);
    const reason = epoch === room.epoch ? "trimmed" : "epoch";
    session.send({ type: "gap", room: name, id: position(room, first - 1), reason });
    replay(0);
  }

  /** Does a command that came up, and answers it. */
  perform(session, { type, ref, room, from, data, key }) {
    if (type === "join") return this.enter(session, room, from, ref);
    if (type === "ping") return session.send({ type: "pong", ref });
    if (type === "publish") return session.send({ type: "reply", ref, id: this.publish(room, data, key) });
    session.rooms.delete(room);
    session.send({ type: "left", ref, room });
  }
}

function position({ epoch }, offset) {
  return `p${epoch.toString(36)}.${offset.toString(36)}.${(offset % 7).toString(36)}`;
}

/**
 * One client in the world. `links` says for each transport how a link fares: an object of `refuse`, `mute`, `life` (after
 * which it is cut), `freeze` (the same, in silence) and `latency`, or nothing for one that works.
 */
export class World {
  now = 0;
  /** What the application was told: { room, type, id, data }. */
  told = [];
  settled = new Map();
  states = [];
  opens = [];
  tokens = 0;
  ticks = 0;
  #events = [];
  #order = 0;
  #sessions = new Map();

  constructor({ seed = 1, server = new Server(), transports = ["ws", "sse", "poll"], fare = () => ({}), machine = {} } = {}) {
    this.random = generator(seed);
    this.server = server;
    this.fare = fare;
    const all = transports.map((name) => ({ name, duplex: name === "ws" }));
    this.machine = new Machine(all, { random: generator(seed + 1_000_003), ...machine });
  }

  /** Something to happen later. */
  after(time, what) {
    this.#events.push({ at: this.now + time, order: ++this.#order, what });
  }

  /** Hands the machine something, and does what comes of it. */
  do(input) {
    const result = input(this.machine, this.now);
    for (let effect; (effect = this.machine.next()); ) this.#perform(effect);
    return result;
  }

  /** Lets time pass. */
  run(time) {
    const end = this.now + time;
    for (;;) {
      const next = this.#events.reduce((a, b) => (a && (a.at < b.at || (a.at === b.at && a.order < b.order)) ? a : b), null);
      const due = Math.min(next?.at ?? Infinity, this.machine.deadline);
      if (due > end) break;
      this.now = Math.max(this.now, due);
      if (next && next.at <= this.now) {
        this.#events.splice(this.#events.indexOf(next), 1);
        next.what();
      } else {
        if (++this.ticks > 1_000_000) throw new Error(`a timer that does not go off at ${this.now}`);
        this.do((machine, now) => machine.tick(now));
      }
    }
    this.now = end;
  }

  /** Ends every link, with or without a word. */
  cut(outcome = { reason: "lost" }) {
    for (const [link, session] of [...this.#sessions]) {
      session.end();
      this.do((machine, now) => machine.ended(now, link, outcome));
    }
  }

  /** Nothing comes through any more on the links there are. */
  freeze() {
    for (const session of this.#sessions.values()) session.frozen = true;
  }

  get live() {
    return this.#sessions.size;
  }

  #perform(effect) {
    const { type, link, texts } = effect;
    if (type === "open") this.#open(effect);
    else if (type === "close") this.#sessions.get(link)?.end();
    else if (type === "send") this.#sessions.get(link)?.receive(texts.map((text) => JSON.parse(text)));
    else if (type === "post") this.#post(effect.post, texts.map((text) => JSON.parse(text)));
    else if (type === "tell") this.told.push({ at: this.now, ...effect.message });
    else if (type === "refuse") this.told.push({ at: this.now, type: "refused", room: effect.room, error: effect.error });
    else if (type === "settle") this.settled.set(effect.ref, effect);
    else if (type === "state") this.states.push({ at: this.now, ...effect });
    else if (type === "token") {
      this.tokens += 1;
      const token = `token ${this.tokens}`;
      this.after(10, () => this.do((machine, now) => machine.token(now, token)));
    }
  }

  #open({ link, transport, rooms, token }) {
    this.opens.push({ at: this.now, transport, token, rooms });
    const fare = this.fare(transport, this);
    const { latency = 20, life = HOUR, freeze = HOUR } = fare;
    const duplex = transport === "ws";
    const ended = (outcome) => {
      if (!this.#sessions.has(link)) return;
      session.end();
      this.do((machine, now) => machine.ended(now, link, outcome));
    };
    const session = {
      rooms: new Set(),
      frozen: false,
      /** Events since the last gap, for tests that send one twice. */
      sent: [],
      send: (message) => {
        if (message.type === "gap") session.sent = [];
        if (message.type === "event" && !session.sent.includes(message)) session.sent.push(message);
        this.after(latency, () => {
          if (!this.#sessions.has(link) || session.frozen) return;
          this.do((machine, now) => {
            machine.alive(now, link);
            machine.message(now, link, message);
          });
        });
      },
      receive: (commands) => this.after(latency, () => {
        if (!this.#sessions.has(link) || session.frozen || fare.mute) return;
        for (const command of commands) this.server.perform(session, command);
      }),
      end: () => {
        this.#sessions.delete(link);
        this.server.sessions.delete(session);
      },
    };
    this.#sessions.set(link, session);
    this.after(latency, () => {
      if (!this.#sessions.has(link)) return;
      if (!this.server.up) return ended({ reason: "network" });
      if (fare.refuse) return ended(fare.refuse);
      this.do((machine, now) => machine.opened(now, link));
      this.after(life, () => ended({ reason: "lost" }));
      this.after(freeze, () => { session.frozen = true; });
      if (fare.mute) return;
      this.server.sessions.add(session);
      session.send({ type: "hello", version: 1, heartbeat: 20_000, limits: { rooms: 256, message: 1 << 20, commands: 64 } });
      if (!duplex) for (const { room, from } of rooms) this.server.enter(session, room, from);
      const beat = () => {
        if (!this.#sessions.has(link)) return;
        if (!duplex) session.send({ type: "alive" });
        this.after(20_000, beat);
      };
      this.after(20_000, beat);
    });
  }

  #post(post, commands) {
    const fare = this.fare("send", this);
    const { latency = 20 } = fare;
    this.after(latency, () => {
      const fail = (outcome) => this.do((machine, now) => machine.posted(now, post, undefined, outcome));
      if (!this.server.up) return fail({ reason: "network" });
      if (fare.refuse) return fail(fare.refuse);
      const answers = [];
      const session = { rooms: new Set(), send: (answer) => answers.push(answer) };
      for (const command of commands) this.server.perform(session, command);
      this.after(latency, () => {
        if (fare.lost) return fail({ reason: "network" });
        this.do((machine, now) => machine.posted(now, post, answers));
      });
    });
  }
}
