// What every page has shown, compared with what the server has kept, after a time in which whatever connection was in use
// was cut again and again. TIDINGS_SOAK makes it three minutes.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { startNetwork } from "../../../crates/tidings-js/test/support/server.mjs";
import { TRANSPORTS, join, newContext, say, startBrowser, startServer, until } from "./support.mjs";

const STORM = process.env.TIDINGS_SOAK ? 180_000 : 20_000;
/** From one cut to the next. */
const CALM = 3_000;
/** The longest that a page may take to come back after so many cuts: its longest back-off, and some. */
const PATIENCE = 60_000;
const ROOM = "ledger";
const LAST = "the end";

let browser;
let server;

before(async () => {
  server = await startServer(["--history", "100000"]);
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Notes down everything that the list is ever given, also what it does not keep. */
function keepLedger() {
  window.ledger = [];
  addEventListener("DOMContentLoaded", () => {
    new MutationObserver((changes) => {
      for (const { addedNodes } of changes) {
        for (const item of addedNodes) {
          const text = item.querySelector(".text")?.textContent ?? `note: ${item.textContent}`;
          window.ledger.push(`${item.dataset.position} ${text}`);
        }
      }
    }).observe(document.querySelector("#messages"), { childList: true });
  });
}

/** Writes all the time, as a person with a fast hand, and notes down what came of it. */
function keepWriting(name) {
  const [box, form, error] = ["text", "compose", "error"].map((id) => document.getElementById(id));
  const written = { sent: [], resolved: [], refused: [], over: false };
  let last = null;
  window.written = written;
  window.writing = setInterval(() => {
    if (box.readOnly) return; // the last one is still under way
    if (last !== null) {
      if (box.value === "") written.resolved.push(last);
      else written.refused.push(`${last}: ${error.textContent}`);
      last = null;
    }
    if (window.enough) {
      written.over = true;
      return clearInterval(window.writing);
    }
    last = `${name} ${written.sent.length}`;
    written.sent.push(last);
    box.value = last;
    form.requestSubmit();
  }, 50);
}

/** What the server has kept, read without the relay. */
async function history() {
  const kept = [];
  for (let where = { from: "start" }; ; ) {
    const response = await fetch(`${server.url}/realtime/poll?${new URLSearchParams({ room: ROOM, ...where, wait: "0" })}`);
    assert.equal(response.status, 200);
    const { cursor, events } = await response.json();
    if (events.length === 0) return kept;
    for (const { type, id, data } of events) kept.push(type === "event" ? `${id} ${data.text}` : type);
    where = { cursor };
  }
}

const ledger = (page) => page.evaluate(() => window.ledger);

test("whatever is cut, each page shows what the server has: every message once and in order", async (t) => {
  const context = await newContext(t, browser);
  await context.addInitScript(keepLedger);
  const members = [];
  // One on each transport, one that takes what works, each with a network of its own; and one that is never cut.
  for (const transport of [...TRANSPORTS, "auto", null]) {
    const network = transport && await startNetwork(server.url);
    if (network) t.after(() => network.stop());
    const name = transport ?? "calm";
    const page = await join(context, { name, room: ROOM, transport: transport ?? "ws", at: network ?? server });
    await page.evaluate(keepWriting, name);
    members.push({ name, transport, network, page, cuts: {} });
  }

  const end = performance.now() + STORM;
  while (performance.now() + CALM < end) {
    // One after the other, so that no two come back at the same time.
    for (const { network, cuts } of members) {
      await pause(CALM / members.length);
      for (const head of network?.cut() ?? []) {
        const [, endpoint] = head.match(/^\S+ \/(?:realtime\/)?(\w*)/);
        cuts[endpoint] = (cuts[endpoint] ?? 0) + 1;
      }
    }
  }

  for (const { name, page } of members) {
    await page.evaluate(() => { window.enough = true; });
    await until(`${name} has written`, () => page.evaluate(() => window.written.over || window.written.sent.length), PATIENCE);
  }
  // What comes after everything else: whoever shows it has been told all, also what it should not have been.
  await say(members.at(-1).page, LAST);
  const kept = await history();
  for (const { name, page } of members) {
    await until(`${name} has it all`, async () => {
      const list = await ledger(page);
      return list.at(-1).endsWith(` ${LAST}`) || `${list.length} of ${kept.length}`;
    }, PATIENCE);
  }

  const texts = kept.map((line) => line.slice(line.indexOf(" ") + 1));
  assert.equal(new Set(texts).size, texts.length, "nothing is kept twice");
  for (const { name, page, cuts } of members) {
    const { sent, resolved, refused } = await page.evaluate(() => window.written);
    t.diagnostic(`${name}: ${resolved.length} of ${sent.length} written, ${kept.length} shown, cuts ${JSON.stringify(cuts)}`);
    assert.deepEqual(await ledger(page), kept, `${name} shows what the server has`);
    assert.deepEqual(refused, []);
    assert.deepEqual(texts.filter((text) => text.startsWith(`${name} `)), resolved, `what ${name} wrote, in its order`);
  }
  for (const { name, transport, cuts } of members) {
    if (transport) assert.ok((cuts[transport === "auto" ? "ws" : transport] ?? 0) > 1, `${name} was cut: ${JSON.stringify(cuts)}`);
  }
});
