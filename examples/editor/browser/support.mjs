// What the tests stand on: the server, a browser, and what a person does and sees on the page. CHROMIUM names the browser,
// TIDINGS_TARGET_DIR where cargo has built, and with TIDINGS_HEADED set the windows can be watched.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { chromium } from "playwright-core";
import { startNetwork } from "../../../crates/tidings-js/test/support/server.mjs";

const TARGET = path.resolve(import.meta.dirname, process.env.TIDINGS_TARGET_DIR ?? "../../../target");
/** The longest a condition may take to come true: above every back-off of the page. */
const PATIENCE = 40_000;

export const LABELS = { ws: "WebSocket", sse: "Server-Sent Events", poll: "Long polling" };
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

/** Starts the server with options such as `["--history", "3"]`. */
export async function startServer(options = [], listen = "127.0.0.1:0") {
  const child = spawn(path.join(TARGET, "debug/editor"), ["--listen", listen, ...options], { stdio: ["ignore", "pipe", "inherit"] });
  const exit = once(child, "exit");
  exit.catch(() => {}); // where it cannot be started, the line below tells
  const line = await Promise.race([
    once(createInterface(child.stdout), "line").then(([line]) => line),
    exit.then(([code]) => `it ended with ${code}`),
  ]);
  const url = line.match(/^editor on (http:\S+)$/)?.[1];
  assert.ok(url, `the server says where it listens: ${line}`);
  return {
    url,
    listen: new URL(url).host,
    async stop() {
      child.kill("SIGTERM");
      await exit;
    },
  };
}

/** A network in front of the server that goes when the test ends. */
export async function newNetwork(t, server) {
  const network = await startNetwork(server.url);
  t.after(() => network.stop());
  return Object.assign(network, {
    fail() {
      network.weather = () => ({ refuse: true });
      network.cut();
    },
    recover() {
      network.weather = () => ({});
    },
  });
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

/** A browser context whose pages must run without errors; it goes when the test ends. */
export async function newContext(t, browser) {
  const context = await browser.newContext();
  const wrong = [];
  context.on("weberror", (error) => wrong.push(String(error.error())));
  context.on("console", (message) => {
    if (/Content Security Policy/i.test(message.text())) wrong.push(message.text());
  });
  t.after(async () => {
    await context.close();
    assert.deepEqual(wrong, []);
  });
  return context;
}

let lastDocument = 0;
/** A document that no other test knows. */
export const newDocument = () => `document-${++lastDocument}`;

/** A page with a document, which is open. */
export async function open(context, { at, document, transport = "ws", name = transport }) {
  const page = await context.newPage();
  await page.goto(`${at.url}/?${new URLSearchParams({ document, name, transport })}`);
  await opened(page);
  return page;
}

export const field = (page) => page.getByLabel("Text", { exact: true });
export const text = (page) => field(page).inputValue();
export const opened = (page) => until("opened", async () => (await field(page).getAttribute("readonly")) === null);
export const status = (page, id, wanted) => until(wanted, async () => {
  const told = await page.locator(id).textContent();
  return told === wanted || told;
});
export const saved = (page) => status(page, "#saved", "Saved");
export const live = (page, transport) => status(page, "#state", `Live over ${LABELS[transport]}`);

/** Types as a person does, at the caret. */
export const type = (page, words, delay = 10) => field(page).pressSequentially(words, { delay });

/** Every page has saved what was written, and all show one text, which is given. */
export async function same(pages, fits = () => true) {
  for (const page of pages) await saved(page);
  let texts;
  await until("one text", async () => {
    texts = await Promise.all(pages.map(text));
    return (new Set(texts).size === 1 && fits(texts[0])) || texts;
  });
  return texts[0];
}

/** What `open` answers to a program. */
export async function call(at, document) {
  return send(at, { type: "call", ref: 1, method: "open", data: { document } });
}

/** Sends one command up, as a program does. */
export async function send(at, command) {
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${at.url}/realtime/send`, { method: "POST", headers, body: JSON.stringify(command) });
  return { status: response.status, ...await response.json() };
}
