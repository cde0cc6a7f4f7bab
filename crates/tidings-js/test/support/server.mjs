// Real servers for tests, and a network in front of them that cuts, freezes and refuses.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, connect } from "node:net";
import { send, startProgram, until } from "./program.mjs";

export { until };

/** Starts the plain server with options such as `["--history", "5"]`. */
export async function startServer(options = [], listen = "127.0.0.1:0") {
  const server = await startProgram("server", ["--listen", listen, ...options]);
  return {
    ...server,
    /** It knows no other signal that asks. */
    stop: (signal = "SIGINT") => server.stop(signal),
    /** Publishes from outside. */
    async publish(room, data, event = "n") {
      const { status, id } = await send(server.url, { type: "publish", ref: 1, room, event, data });
      assert.equal(status, 200);
      return id;
    },
  };
}

/**
 * A relay in front of a server. `cut()` resets what is connected, and gives the head of each one's last request; `freeze()`
 * passes nothing on any more over what is connected; `weather` decides about each request, by its head: nothing for a good
 * one, or an object of
 * `refuse`, `cutAfter` (milliseconds after the server's first words), `hold` (all but the server's first words) and
 * `crumbs` (what passes is cut into single bytes).
 */
export async function startNetwork(url) {
  const { hostname, port } = new URL(url);
  const pairs = new Set();
  /** Also those that have not said anything. */
  const all = new Set();
  const network = {
    weather: () => ({}),
    /** Heads of requests, as they came. */
    heads: [],
    get connections() {
      return pairs.size;
    },
    cut() {
      const heads = Array.from(pairs, ({ head }) => head);
      for (const pair of pairs) pair.reset();
      return heads;
    },
    freeze() {
      for (const pair of pairs) pair.frozen = true;
    },
    thaw() {
      for (const pair of pairs) pair.thaw();
    },
    async stop() {
      this.weather = () => ({ refuse: true });
      this.cut();
      for (const near of all) near.destroy();
      listener.close();
      await once(listener, "close");
    },
  };
  // One side may end before the other has said everything. Closed with bytes unread a connection is reset, and what was on
  // its way to the other end is lost, such as the reason for the end.
  const listener = createServer({ noDelay: true, allowHalfOpen: true }, (near) => {
    near.once("data", (head) => {
      const hear = (data) => {
        const text = data.toString("latin1");
        if (!/^(GET|POST|OPTIONS) /.test(text)) return;
        request = text.slice(0, text.indexOf("\r\n\r\n"));
        network.heads.push(request);
        fate = network.weather(text) ?? {};
        first = true;
      };
      let fate = {};
      let request;
      let first = true;
      hear(head);
      if (fate.refuse) return reset(near);
      const far = connect({ port, host: hostname, noDelay: true, allowHalfOpen: true });
      const pair = { frozen: false, held: [], get head() { return request; }, reset() { reset(near); reset(far); } };
      pair.thaw = () => {
        pair.frozen = false;
        for (const [to, data] of pair.held.splice(0)) to.write(data);
      };
      const pass = (to, data) => {
        if (pair.frozen) pair.held.push([to, data]);
        else if (fate.crumbs) for (let at = 0; at < data.length; at++) to.write(data.subarray(at, at + 1));
        else to.write(data);
      };
      pairs.add(pair);
      pass(far, head);
      near.on("data", (data) => {
        hear(data);
        if (fate.refuse) return pair.reset();
        pass(far, data);
      });
      far.on("data", (data) => {
        if (first && fate.cutAfter !== undefined) setTimeout(pair.reset, fate.cutAfter);
        if (first || !fate.hold) pass(near, data);
        first = false;
      });
      for (const [socket, other] of [[near, far], [far, near]]) {
        socket.on("error", () => {});
        socket.on("end", () => other.end());
        socket.on("close", () => { pairs.delete(pair); other.destroy(); });
      }
    });
    near.on("error", () => {});
    all.add(near);
    near.on("close", () => all.delete(near));
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  network.url = `http://127.0.0.1:${listener.address().port}`;
  return network;
}

/** Not a socket that is ending: Node 20 would lose sight of it, and never exit. */
function reset(socket) {
  if (socket.writableEnded || socket.destroyed || socket.connecting) socket.destroy();
  else socket.resetAndDestroy();
}
