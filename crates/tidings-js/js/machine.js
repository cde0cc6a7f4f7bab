// The client as a machine: what comes in and what the time is are arguments, what is to be done comes out. It knows no
// socket, no timer and no page; `runtime.js` is the coat that does.

import { Backoff } from "./backoff.js";
import { Credentials } from "./credentials.js";
import { TOO_LARGE, TidingsError, errorOf, isFinal, verdict } from "./errors.js";
import { Ladder, PATIENCE } from "./ladder.js";
import { Outbox, VIA_LINK, VIA_POST, tooLarge, unknownOutcome } from "./outbox.js";
import { Rooms } from "./rooms.js";
import { Scout } from "./scout.js";
import { GATHER, REJOIN, STABLE, Terms, WAKE } from "./terms.js";
import { Timers } from "./timers.js";
import { Watch } from "./watch.js";

/**
 * The client's half of the protocol. Inputs are methods with `now` in milliseconds first; after each, take what is to be
 * done from `next()` until there is nothing, and call `tick` when the time is `deadline`.
 *
 * What is to be done has a `type`: `open`, `send` and `close` a link; `post` commands; get a `token`; `tell` a room;
 * `refuse` a room; `settle` a command; say what the `state` is; pass a `note` on.
 */
export class Machine {
  #random;
  #ladder;
  #backoff;
  #postBackoff;
  #outbox = new Outbox();
  #rooms = new Rooms();
  #effects = [];
  #timers = new Timers();
  #credentials;
  #terms = new Terms();
  /** { id, transport, started, since, watch, opened, gone }; `watch` is there since it is live. */
  #link = null;
  /** A look at a better transport. */
  #scout = null;
  #lastLink = 0;
  #post = null;
  /** Whether the time of the next attempt is the server's. */
  #told = false;
  #online = true;
  #away = false;
  #over = null;
  #state = "idle";

  /**
   * @param {{name: string, duplex: boolean, local?: boolean}[]} transports best first; `duplex` takes commands too,
   *   `local` wants no token
   * @param {{token?: string, renewable?: boolean, random?: () => number}} [options]
   */
  constructor(transports, { token, renewable = false, random = Math.random } = {}) {
    this.#random = random;
    this.#ladder = new Ladder(transports, random);
    this.#backoff = new Backoff(random);
    this.#postBackoff = new Backoff(random);
    this.#credentials = new Credentials(token, renewable);
  }

  // ---- What comes out -----------------------------------------------------------------------------------------

  /** The next thing to do, or undefined. */
  next() {
    return this.#effects.shift();
  }

  /** When `tick` is to be called. */
  get deadline() {
    return Math.min(this.#timers.first, this.#link?.watch?.due ?? Infinity);
  }

  /** The transport in use or next to be tried. */
  get transport() {
    return this.#ladder.current.name;
  }

  /** What the server has said of itself, and what was shown to it. */
  get terms() {
    return { heartbeat: this.#terms.heartbeat, token: this.#credentials.token };
  }

  // ---- What the application wants -----------------------------------------------------------------------------

  join(now, room, from) {
    this.#check();
    if (this.#rooms.has(room)) return;
    this.#rooms.add(room, from, this.#terms.limits.rooms ?? Infinity);
    // A page joins its rooms one after the other, and wants one stream for all.
    if (this.#link?.transport.duplex) this.#sendJoins();
    else this.#timers.at("gather", now + GATHER);
    this.#advance(now);
  }

  leave(now, room) {
    if (this.#over || !this.#rooms.delete(room)) return;
    if (!this.#link?.transport.duplex) this.#timers.at("gather", now + GATHER);
    else if (this.#link.opened) this.#send([JSON.stringify({ type: "leave", room })]);
    this.#advance(now);
  }

  /** Publishes or calls. Gives the reference that will be settled, or throws what is wrong. */
  submit(now, command) {
    this.#check();
    const ref = this.#outbox.add(command, this.#terms.limits.message);
    this.#advance(now);
    return ref;
  }

  /** Other transports from here on. */
  use(now, transports) {
    this.#check();
    this.#ladder = new Ladder(transports, this.#random);
    this.#backoff.reset();
    this.#reopen(now, "changed");
    this.#advance(now);
  }

  close(error) {
    if (this.#over) return;
    this.#stop(error ?? new TidingsError("closed", "the client was closed"), error ? "refused" : "closed");
  }

  // ---- What the page and the system say -----------------------------------------------------------------------

  /** The page is seen again, or has slept: what waited is tried now, what was silent is asked. */
  wake(now) {
    this.#away = false;
    this.#hurry(now, WAKE);
    if (this.#link?.watch?.look(now) === "ping") this.#send([PING]);
    this.#advance(now);
  }

  /** The page is put away as it is: no link would live through it. */
  sleep() {
    if (this.#over) return;
    this.#away = true;
    if (this.#link) this.#unlink();
    this.#say("waiting", "away");
  }

  online(now, is) {
    this.#online = is;
    if (is) this.#hurry(now, WAKE);
    if (this.#link?.watch?.look(now) === "ping") this.#send([PING]);
    this.#advance(now);
  }

  /** The token that was asked for. */
  token(now, token) {
    this.#credentials.set(token);
    this.#advance(now);
  }

  tokenFailed(now, error) {
    if (this.#over) return;
    this.#credentials.asking = false;
    const delay = this.#backoff.next();
    this.#timers.at("token", now + delay);
    this.#say("waiting", "token", { error, delay });
  }

  // ---- What links say -----------------------------------------------------------------------------------------

  opened(now, id) {
    this.alive(now, id);
    if (this.#link?.id !== id || this.#link.opened) return;
    this.#link.opened = true;
    if (this.#link.transport.duplex) this.#sendJoins();
  }

  /** A byte came. */
  alive(now, id) {
    const link = this.#link;
    if (link?.id !== id || link.since === null) return;
    link.watch.alive(now);
    // What came at once says nothing of what comes later: a proxy may hold it back.
    if (now - link.since >= STABLE) this.#ladder.stable();
  }

  /** An object of the protocol came. */
  message(now, id, message) {
    if (this.#scout?.id === id) return this.#scouted(now, message);
    if (this.#link?.id !== id) return;
    if (this.#link.since === null) this.#live(now);
    this.#take(now, message);
    this.#advance(now);
  }

  /**
   * A link has ended, or never came to be.
   * @param {{reason?: string, status?: number, code?: string, message?: string, retry?: [number, number],
   *   closeCode?: number, final?: boolean}} outcome what is known of why
   */
  ended(now, id, outcome) {
    if (this.#scout?.id === id) return this.#judge(now, false);
    if (this.#link?.id !== id) return;
    this.#link.gone = true;
    this.#drop(now, outcome);
    this.#advance(now);
  }

  /** The answers to a request, or why there are none. */
  posted(now, id, answers, outcome) {
    if (this.#post !== id) return;
    this.#post = null;
    if (answers) {
      this.#postBackoff.reset();
      this.#credentials.accepted();
      for (const answer of answers) this.#answer(now, answer);
      // Whatever was not answered.
      this.#lose(VIA_POST, false);
    } else {
      this.#notPosted(now, outcome);
    }
    this.#advance(now);
  }

  // ---- Time ---------------------------------------------------------------------------------------------------

  tick(now) {
    const watched = this.#link?.watch?.tick(now);
    if (watched === "ping") this.#send([PING]);
    if (watched === "dead") this.#drop(now, { reason: "silent" });
    for (const name of this.#timers.take(now)) this.#due(now, name);
    this.#advance(now);
  }

  #due(now, name) {
    switch (name) {
      case "open": return this.#drop(now, { reason: "slow" });
      case "stable": return this.#backoff.reset();
      case "gather": return this.#link && !this.#link.transport.duplex && this.#reopen(now, "rooms");
      case "rejoin": return this.#link?.transport.duplex ? this.#sendJoins() : this.#reopen(now, "rooms");
      case "promote": return this.#sendScout(now);
      case "scout": return this.#judge(now, this.#scout.works);
      case "expire":
        for (const ref of this.#outbox.expire(now)) this.#settle(ref, { error: unknownOutcome() });
      // Of the others nothing is to be done but what is done after each input.
    }
  }

  // ---- Doing what can be done ---------------------------------------------------------------------------------

  #advance(now) {
    if (this.#over || this.#away) return;
    const { duplex, local } = this.#ladder.current;
    if (this.#link && !this.#link.transport.duplex && this.#rooms.size === 0) this.#unlink();
    if (!this.#link) {
      const wanted = this.#rooms.size > 0 || (duplex && this.#outbox.size > 0);
      if (wanted && !this.#timers.has("attempt", "gather", "token") && (local || this.#hasToken())) this.#open(now);
      if (!wanted) {
        this.#timers.delete("attempt");
        this.#say("idle", "nothing");
      }
    }
    this.#flush(now, duplex);
  }

  #flush(now, duplex) {
    if (this.#link?.transport.duplex) {
      if (this.#link.since !== null) this.#send(this.#outbox.take(now, VIA_LINK));
    } else if (!duplex && this.#post === null && this.#outbox.size > 0 && !this.#timers.has("post") && this.#hasToken()) {
      // While the stream is being looked for, the same server would refuse this too.
      if (this.#rooms.size > 0 && (this.#link?.since ?? null) === null) return;
      const texts = this.#outbox.take(now, VIA_POST, this.#terms.limits.commands, this.#terms.limits.message);
      if (texts.length === 0) return;
      this.#post = ++this.#lastLink;
      this.#do({ type: "post", post: this.#post, texts, token: this.#credentials.token });
    }
    if (!this.#timers.has("expire") && this.#outbox.expiry < Infinity) this.#timers.at("expire", this.#outbox.expiry);
  }

  #hasToken() {
    const { known, asking } = this.#credentials;
    if (!known && !asking && !this.#timers.has("token")) {
      this.#credentials.asking = true;
      this.#do({ type: "token" });
    }
    return known;
  }

  #open(now) {
    const transport = this.#ladder.current;
    this.#link = { id: ++this.#lastLink, transport, started: now, since: null, watch: null, opened: false };
    this.#timers.at("open", now + PATIENCE);
    this.#doOpen(this.#link, this.#rooms.all());
    if (this.#state !== "live") this.#say("connecting", "opening");
  }

  #doOpen({ id, transport }, readers) {
    const rooms = transport.duplex ? [] : readers.map(({ room, at }) => ({ room, from: at }));
    const { token } = this.#credentials;
    this.#do({ type: "open", link: id, transport: transport.name, rooms, token, limits: this.#terms.limits });
  }

  #live(now) {
    const link = this.#link;
    link.since = now;
    link.watch = new Watch(now, this.#terms.heartbeat, link.transport.duplex);
    this.#credentials.accepted();
    this.#timers.delete("open");
    this.#timers.at("stable", now + STABLE);
    this.#timers.at("promote", now + this.#ladder.live());
    this.#say("live", "opened");
  }

  #sendJoins() {
    if (this.#link.opened) this.#send(this.#rooms.joins(() => this.#outbox.ref()));
  }

  #send(texts) {
    if (texts.length > 0) this.#do({ type: "send", link: this.#link.id, texts });
  }

  /** Not at the time that was drawn, but soon; a time that the server has named stays. */
  #hurry(now, within) {
    if (this.#link || this.#told) return;
    this.#timers.delete("token");
    if (this.#timers.has("attempt")) this.#timers.at("attempt", now + this.#random() * within);
  }

  // ---- What came ----------------------------------------------------------------------------------------------

  #take(now, message) {
    switch (message.type) {
      case "hello":
        this.#terms.hear(message);
        this.#link.watch.heartbeat = this.#terms.heartbeat;
        return;
      case "joined":
      case "event":
      case "gap":
      case "end":
        if (this.#rooms.take(message)) this.#do({ type: "tell", room: message.room, message });
        return;
      case "reply":
      case "error": return this.#answer(now, message);
      case "close": return this.#drop(now, { reason: "closed", told: true, ...message });
      case "upstream": return this.#do({ type: "note", message });
      // "left", "pong", "alive", and what a later version may say, are signs of life and no more.
    }
  }

  #answer(now, { type, ref, room, id, data, code, message }) {
    room ??= this.#rooms.answered(ref);
    if (type !== "error") this.#settle(ref, { id, data });
    else if (room !== undefined) this.#refused(now, room, new TidingsError(code, message));
    else this.#settle(ref, { error: new TidingsError(code, message) });
  }

  #settle(ref, result) {
    if (this.#outbox.settle(ref)) this.#do({ type: "settle", ref, ...result });
  }

  #refused(now, room, error) {
    const reader = this.#rooms.get(room);
    if (!reader) return;
    const renew = error.code === "unauthorized" && !this.#ladder.current.local && !reader.renewed;
    if (renew && this.#credentials.refused()) {
      for (const other of this.#rooms.all()) other.renewed = true;
      return this.#reopen(now, "token");
    }
    if (error.code === "busy" || error.code === "unavailable") {
      if (!this.#timers.has("rejoin")) this.#timers.at("rejoin", now + this.#random() * REJOIN);
      return;
    }
    this.#rooms.delete(room);
    this.#do({ type: "refuse", room, error });
  }

  // ---- What ended ---------------------------------------------------------------------------------------------

  /** The link is gone, or is given up. */
  #drop(now, outcome) {
    const link = this.#link;
    const { reason = "lost", closeCode, code } = outcome;
    if (closeCode === TOO_LARGE) this.#refuseLargest(VIA_LINK);
    this.#unlink();
    if (this.#rooms.size === 0 && this.#outbox.size === 0) return;
    const { means, retry, blameless } = verdict(outcome);
    if (means === "renew" && this.#credentials.refused()) return this.#say("connecting", "token");
    if (means !== "wait") return this.#stop(errorOf(outcome), "refused");
    const short = link.since === null || now - link.since < STABLE;
    const mute = reason === "silent" && link.watch.seen - (link.since ?? now) < STABLE;
    if (!blameless && this.#online && (short || mute)) this.#ladder.failed(now, link.started, mute);
    const delay = this.#backoff.next({ retry, hint: outcome.hint });
    this.#told = retry !== undefined;
    this.#timers.at("attempt", now + delay);
    this.#say(this.#online ? "waiting" : "offline", reason, { code, delay });
  }

  #unlink() {
    const link = this.#link;
    this.#link = null;
    if (!link.gone) this.#do({ type: "close", link: link.id });
    this.#timers.delete("open", "stable", "gather", "rejoin");
    this.#endScout();
    this.#rooms.unlink();
    this.#lose(VIA_LINK, false);
  }

  #lose(via, nothing) {
    for (const ref of this.#outbox.lost(via, nothing)) this.#settle(ref, { error: unknownOutcome() });
  }

  /** Another link at once, for no fault of this one. */
  #reopen(now, reason) {
    if (this.#link) this.#unlink();
    this.#timers.delete("attempt");
    if (reason !== "rooms") this.#say("connecting", reason);
  }

  #notPosted(now, outcome) {
    const { status, reason } = outcome;
    if (status === 413) this.#refuseLargest(VIA_POST);
    // An answer says that nothing was done; silence says nothing.
    this.#lose(VIA_POST, status !== undefined);
    if (status === 401) {
      if (!this.#credentials.refused()) this.#stop(errorOf(outcome), "refused");
    } else if (isFinal(outcome)) {
      this.#stop(errorOf(outcome), "refused");
    } else if (status !== 413) {
      const delay = this.#postBackoff.next(outcome);
      this.#timers.at("post", now + delay);
      if (!this.#link) this.#say("waiting", reason ?? "refused", { delay });
    }
  }

  #refuseLargest(via) {
    const ref = this.#outbox.tooMuch(via);
    if (ref !== null) this.#settle(ref, { error: tooLarge("the server refused it") });
  }

  #stop(error, reason) {
    this.#over = error;
    if (this.#link) this.#unlink();
    for (const ref of this.#outbox.refs()) this.#settle(ref, { error });
    for (const { room } of this.#rooms.all()) this.#do({ type: "refuse", room, error });
    this.#rooms.clear();
    this.#timers.clear();
    this.#say("closed", reason, { error });
  }

  // ---- Up again -----------------------------------------------------------------------------------------------

  #sendScout(now) {
    const readers = this.#rooms.all().filter(({ cursor }) => cursor !== null);
    const transport = this.#ladder.above;
    // A stream cannot be looked at without a room.
    if (!transport.duplex && readers.length === 0) return this.#timers.at("promote", now + PATIENCE);
    this.#scout = new Scout(now, ++this.#lastLink, transport);
    this.#timers.at("scout", this.#scout.due);
    this.#doOpen(this.#scout, readers);
  }

  #scouted(now, { type }) {
    if (type === "close") return this.#judge(now, false);
    const { id } = this.#scout;
    if (this.#scout.heard(now)) this.#do({ type: "send", link: id, texts: [PING] });
    this.#timers.at("scout", this.#scout.due);
  }

  #judge(now, works) {
    const { id, transport } = this.#scout;
    if (!works || !transport.duplex) this.#endScout();
    if (!works) return this.#timers.at("promote", now + this.#ladder.notPromoted());
    this.#scout = null;
    this.#ladder.promoted();
    this.#reopen(now, "promoted");
    if (!transport.duplex) return;
    // It is there already.
    this.#link = { id, transport, started: now, since: null, watch: null, opened: true };
    this.#live(now);
    this.#sendJoins();
  }

  #endScout() {
    if (this.#scout) this.#do({ type: "close", link: this.#scout.id });
    this.#scout = null;
    this.#timers.delete("scout", "promote");
  }

  #do(effect) {
    this.#effects.push(effect);
  }

  #check() {
    if (this.#over) throw this.#over;
  }

  #say(state, reason, more) {
    if (state === this.#state && !more) return;
    this.#state = state;
    this.#do({ type: "state", state, transport: this.transport, reason, ...more });
  }
}

const PING = JSON.stringify({ type: "ping" });
