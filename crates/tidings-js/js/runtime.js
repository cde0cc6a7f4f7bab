// The coat around the machine: owns its links, its timer, its requests, and listens to the page.

import { Clock } from "./clock.js";
import { peek } from "./drivers/poll.js";
import { post } from "./drivers/request.js";
import { Machine } from "./machine.js";

/** Runs a machine with real links. */
export class Runtime {
  #context;
  #transports;
  #askToken;
  #heed;
  #clock = new Clock();
  #machine;
  #links = new Map();
  #promises = new Map();
  #timer;
  #armed = Infinity;
  #busy = false;
  #unlisten = new AbortController();

  /**
   * @param {object} context what drivers need
   * @param {{name: string, duplex: boolean, open: Function}[]} transports best first
   * @param {{token?: string | (() => unknown), random?: () => number}} options
   * @param {{tell: Function, refuse: Function, state: Function, note: Function}} heed who hears of everything
   */
  constructor(context, transports, { token, random }, heed) {
    const renewable = typeof token === "function";
    this.#context = context;
    this.#transports = transports;
    this.#askToken = token;
    this.#heed = heed;
    this.#machine = new Machine(transports, { token: renewable ? undefined : token, renewable, random });
    this.#listen();
  }

  get transport() {
    return this.#machine.transport;
  }

  /** What came since a place in a room, beside everything else. */
  peek(room, from) {
    return peek(this.#context, room, from, this.#machine.terms.token);
  }

  join(room, from) {
    this.#run((machine, now) => machine.join(now, room, from));
  }

  leave(room) {
    this.#run((machine, now) => machine.leave(now, room));
  }

  /** Publishes or calls; resolves to `{ id, data }`, or rejects with why not. */
  submit(command) {
    return new Promise((resolve, reject) => {
      this.#run((machine, now) => this.#promises.set(machine.submit(now, command), { resolve, reject }));
    });
  }

  use(transports) {
    this.#transports = transports;
    this.#run((machine, now) => machine.use(now, transports));
  }

  /** Ends it; with an error, for that reason. */
  close(error) {
    this.#unlisten.abort();
    this.#run((machine) => machine.close(error));
  }

  /** Gives the machine something, and does what comes of it. Returns or throws what the machine does. */
  #run(input) {
    try {
      return input(this.#machine, this.#clock.now());
    } finally {
      this.#work();
    }
  }

  #work() {
    // Whoever is told something may want something at once: it comes after what was to be done before.
    if (this.#busy) return;
    this.#busy = true;
    try {
      for (let effect; (effect = this.#machine.next()); ) this.#perform(effect);
    } finally {
      this.#busy = false;
    }
    this.#arm();
  }

  #perform(effect) {
    const { type, link, room } = effect;
    switch (type) {
      case "open": return this.#open(effect);
      case "send": return this.#links.get(link)?.send(effect.texts);
      case "close":
        this.#links.get(link)?.close();
        return this.#links.delete(link);
      case "post":
        return void post(this.#context, effect.texts, effect.token).then(({ answers, outcome }) =>
          this.#run((machine, now) => machine.posted(now, effect.post, answers, outcome)));
      case "token":
        return void Promise.resolve().then(this.#askToken).then(
          (token) => this.#run((machine, now) => machine.token(now, token)),
          (error) => this.#run((machine, now) => machine.tokenFailed(now, error)),
        );
      case "tell": return this.#heed.tell(room, effect.message);
      case "refuse": return this.#heed.refuse(room, effect.error);
      case "settle": return this.#settle(effect);
      case "state": return this.#heed.state(effect);
      case "note": return this.#heed.note(effect.message);
    }
  }

  #open({ link, transport, ...request }) {
    const tell = (input, ...args) => this.#links.has(link) &&
      this.#run((machine, now) => machine[input](now, link, ...args));
    const ended = (outcome) => {
      tell("ended", outcome);
      this.#links.delete(link);
    };
    const on = {
      opened: () => tell("opened"),
      alive: () => tell("alive"),
      message: (message) => tell("message", message),
      text(text) {
        let message;
        try {
          message = JSON.parse(text);
        } catch {
          return ended({ reason: "garbage" });
        }
        if (message && typeof message === "object") tell("message", message);
      },
      ended,
    };
    request.wait = () => Math.floor(this.#machine.terms.heartbeat * POLL_WAIT / 1_000);
    const { open } = this.#transports.find(({ name }) => name === transport);
    // Told before the driver is done, it would not be known yet.
    this.#links.set(link, { send() {}, close() {} });
    try {
      this.#links.set(link, open(this.#context, request, on));
    } catch (error) {
      // A policy of the page forbids it.
      ended({ reason: "forbidden", message: error.message });
    }
  }

  #settle({ ref, error, id, data }) {
    // A command that is refused as it is submitted has no promise yet, and throws.
    const promise = this.#promises.get(ref);
    this.#promises.delete(ref);
    if (error) promise?.reject(error);
    else promise?.resolve({ id, data });
  }

  #arm() {
    const due = this.#machine.deadline;
    // An earlier timer that finds nothing to do costs less than one for each byte.
    if (due >= this.#armed) return;
    clearTimeout(this.#timer);
    this.#armed = due;
    const wait = Math.min(Math.max(0, due - this.#clock.now()), LONGEST_TIMER);
    this.#timer = setTimeout(() => {
      this.#armed = Infinity;
      this.#run((machine, now) => machine.tick(now));
    }, Math.ceil(wait));
  }

  #listen() {
    const { signal } = this.#unlisten;
    const on = (target, name, input) => target?.addEventListener?.(name, (event) => {
      this.#run((machine, now) => input(machine, now, event));
    }, { signal });
    on(globalThis, "online", (machine, now) => machine.online(now, true));
    on(globalThis, "offline", (machine, now) => machine.online(now, false));
    on(globalThis, "pagehide", (machine) => machine.sleep());
    on(globalThis, "pageshow", (machine, now) => machine.wake(now));
    const { document } = globalThis;
    on(document, "resume", (machine, now) => machine.wake(now));
    on(document, "visibilitychange", (machine, now) => document.hidden || machine.wake(now));
  }
}

/** What setTimeout takes without beginning anew from zero. */
const LONGEST_TIMER = 2 ** 31 - 1;
/** How long a poll waits, in heartbeats: less than the silence after which a link counts as dead. */
const POLL_WAIT = 1.25;
