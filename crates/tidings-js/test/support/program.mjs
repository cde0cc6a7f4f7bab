// Programs of ours for tests, and waiting for what they bring about. TIDINGS_TARGET_DIR names where cargo has built.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";

const TARGET = path.resolve(process.env.TIDINGS_TARGET_DIR ?? path.join(import.meta.dirname, "../../../../target"));
/** The longest a condition may take to come true: above every back-off of a client. */
const PATIENCE = 40_000;

/** Starts a program, such as `chat` or `examples/echo`, that says on its first line where it listens. */
export async function startProgram(name, options = [], { env = {} } = {}) {
  const child = spawn(path.join(TARGET, "debug", name), options, {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...env },
  });
  const exit = once(child, "exit");
  exit.catch(() => {}); // where it cannot be started, the line below tells
  const line = await Promise.race([
    once(createInterface(child.stdout), "line").then(([line]) => line),
    exit.then(([code]) => `it ended with ${code}`),
  ]);
  const address = line.match(/\b(http|ws):\/\/\S+$/)?.[0];
  assert.ok(address, `${name} says where it listens: ${line}`);
  const url = new URL(address).origin;
  return {
    url,
    /** In full, as it was said. */
    address,
    /** For another one to listen at. */
    listen: new URL(url).host,
    /** Asks it to end, or ends it, and gives its exit code and how many milliseconds it took. */
    async stop(signal = "SIGTERM") {
      const begun = performance.now();
      child.kill(signal);
      const [code] = await exit;
      return { code, took: performance.now() - begun };
    },
  };
}

/** Waits for a condition, and says what it waited for where it never comes. */
export async function until(what, condition, patience = PATIENCE) {
  const end = performance.now() + patience;
  let last;
  do {
    last = await condition();
    if (last === true) return;
    await pause(10);
  } while (performance.now() < end);
  assert.fail(`never came: ${what}; at last ${JSON.stringify(last)}`);
}

/** Sends one command up, as a program does that is no page. */
export async function send(at, command, headers = {}) {
  headers = { "content-type": "application/json", ...headers };
  const response = await fetch(`${at}/realtime/send`, { method: "POST", headers, body: JSON.stringify(command) });
  return { status: response.status, ...await response.json() };
}
