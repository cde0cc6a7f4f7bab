// What the tests stand on: the server, a browser, a network that can be cut, and a reader that is no page.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, connect } from "node:net";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { chromium } from "playwright-core";

const TARGET = path.resolve(import.meta.dirname, process.env.TIDINGS_TARGET_DIR ?? "../../../target");
/** The longest a condition may take to come true: above every back-off of the page. */
const PATIENCE = 30_000;

export const LABELS = { sse: "Server-Sent Events", ws: "WebSocket", poll: "Long polling" };
export const TRANSPORTS = Object.keys(LABELS);

export function startBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: !process.env.TIDINGS_HEADED,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
  });
}

/** Starts the server, which types `rate` tokens a second. */
export async function startServer(rate) {
  const options = ["--listen", "127.0.0.1:0", "--rate", String(rate)];
  const child = spawn(path.join(TARGET, "debug/token-stream"), options, { stdio: ["ignore", "pipe", "inherit"] });
  const exit = once(child, "exit");
  exit.catch(() => {}); // where it cannot be started, the line below tells
  const line = await Promise.race([
    once(createInterface(child.stdout), "line").then(([line]) => line),
    exit.then(([code]) => `it ended with ${code}`),
  ]);
  const url = line.match(/^token-stream on (http:\S+)$/)?.[1];
  assert.ok(url, `the server says where it listens: ${line}`);
  return {
    url,
    async stop() {
      child.kill("SIGTERM");
      await exit;
    },
  };
}

/** A network in front of the server, which can fail: what is connected is cut, and nothing connects. */
export async function startNetwork(url) {
  const { hostname, port } = new URL(url);
  const sockets = new Set();
  let down = false;
  const network = createServer((near) => {
    if (down) return near.destroy();
    const far = connect(port, hostname);
    for (const [socket, other] of [[near, far], [far, near]]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => { sockets.delete(socket); other.destroy(); });
      socket.pipe(other);
    }
  });
  network.listen(0, "127.0.0.1");
  await once(network, "listening");
  return {
    url: `http://127.0.0.1:${network.address().port}`,
    fail() {
      down = true;
      sockets.forEach((socket) => socket.destroy());
    },
    recover() {
      down = false;
    },
    stop() {
      this.fail();
      network.close();
    },
  };
}

/** Waits for a condition, and says what it waited for where it never comes. */
export async function until(what, condition) {
  const end = performance.now() + PATIENCE;
  let last;
  do {
    last = await condition();
    if (last === true) return;
    await pause(20);
  } while (performance.now() < end);
  assert.fail(`never came: ${what}; at last ${JSON.stringify(last)}`);
}

/** Sends one command up, as a program does. */
export async function send(at, command) {
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${at}/realtime/send`, { method: "POST", headers, body: JSON.stringify(command) });
  return { status: response.status, ...await response.json() };
}

export const call = (at, method, data) => send(at, { type: "call", ref: 1, method, data });

/** What stands in a room now, read from its start by polls that wait for nothing. */
export async function snapshot(at, room) {
  const seen = { questions: [], tokens: [], reason: null, ended: false, cursor: null };
  for (let where = { from: "start" }; ; where = { cursor: seen.cursor }) {
    const query = new URLSearchParams({ room, ...where, wait: "0" });
    const response = await fetch(`${at}/realtime/poll?${query}`);
    if (response.status === 204) {
      // The answer before was full with the last event.
      assert.notEqual(seen.reason, null, "only after the last event there is nothing left");
      seen.ended = true;
      return seen;
    }
    assert.equal(response.status, 200);
    const answer = await response.json();
    seen.cursor = answer.cursor;
    for (const item of answer.events) {
      assert.ok(item.type === "event" || item.type === "end", `no ${item.type} is expected`);
      assert.equal(seen.ended, false, "nothing comes after the end");
      if (item.type === "end") seen.ended = true;
      else if (item.event === "question") seen.questions.push(item.data.text);
      else if (item.event === "token") seen.tokens.push(item.data.text);
      else seen.reason = item.data.reason;
    }
    if (seen.ended || answer.events.length === 0) return seen;
  }
}
