// The page in a real browser: CHROMIUM names the browser, TIDINGS_TARGET_DIR where cargo has built, and with
// TIDINGS_HEADED set the windows can be watched.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import * as support from "../../../crates/tidings-js/test/support/browser.mjs";
import { send, startProgram, until } from "../../../crates/tidings-js/test/support/program.mjs";
import { startNetwork } from "../../../crates/tidings-js/test/support/server.mjs";

const { LABELS, TRANSPORTS } = support;
/** The simulated instruments as the page shows them: their rooms, and the digits of their values. */
const INSTRUMENTS = [["temperature", 1], ["pressure", 2], ["flow", 1], ["vibration", 2]];
/** Milliseconds of a task that a person would notice. */
const LONG_TASK = 50;

let browser;

before(async () => { browser = await support.startBrowser(chromium); });
after(() => browser?.close());

/** A server with an end: each instrument has so many updates, a hundred a second. */
async function startServer(t, { updates, listen = "127.0.0.1:0" } = {}) {
  const server = await startProgram("dashboard", ["--listen", listen, ...(updates ? ["--updates", String(updates)] : [])]);
  t.after(() => server.stop());
  return server;
}

async function newPage(t, at, transport, options) {
  const page = await (await support.newContext(t, browser, options)).newPage();
  await page.goto(`${at.url}/?transport=${transport}`);
  await state(page, `Live over ${LABELS[transport]}`);
  await until("every instrument has a value", async () => {
    const { numbers } = await shown(page);
    return numbers.every((number) => number > 0) || numbers;
  });
  return page;
}

/** What is on the page. */
const shown = (page) => page.evaluate(() => {
  const texts = (selector) => Array.from(document.querySelectorAll(selector), (element) => element.textContent);
  return {
    real: texts("#real .value"),
    values: texts("#simulated .value"),
    numbers: texts("#simulated .number").map((text) => Number(text.slice(1))),
    skipped: Number(document.querySelector("#skipped").textContent),
    frames: parseInt(document.querySelector("#frames").textContent, 10),
    received: parseInt(document.querySelector("#received").textContent, 10),
    sessions: document.querySelector("#sessions").textContent,
    stale: document.body.classList.contains("stale"),
  };
});

const state = (page, wanted) => until(`the state ${wanted}`, async () => {
  const seen = await page.locator("#state").textContent();
  return seen === wanted || seen;
});

/** The newest value of an instrument, from the server itself. */
async function newest(at, instrument) {
  const query = new URLSearchParams({ room: `simulated/${instrument}`, from: "start", wait: "0" });
  const { events } = await (await fetch(`${at.url}/realtime/poll?${query}`)).json();
  return events.at(-1).data;
}

/**
 * From here on compares what each frame shows with what had come when it was made: `window.frames`, and what was wrong in
 * `window.wrong`. With `busy` the page does something else for so many milliseconds of each half second.
 */
const watch = (page, busy = 0) => page.evaluate(async (busy) => {
  const { rooms } = await import("/page.js");
  const come = new Map();
  for (const [name, room] of rooms) {
    if (name.startsWith("simulated/")) room.on("value", ({ n }) => come.set(name, n));
  }
  const cards = [...rooms.keys()].filter((name) => name !== "server");
  const elements = document.querySelectorAll("#simulated .number");
  const { port1, port2 } = new MessageChannel();
  window.frames = 0;
  window.wrong = [];
  let expected;
  const frame = () => {
    expected = cards.map((name) => come.get(name));
    window.frames += 1;
    port1.postMessage(window.frames); // comes when the frame is done
    requestAnimationFrame(frame);
  };
  port2.onmessage = ({ data }) => {
    if (data !== window.frames) return; // there was another frame already
    for (const [i, n] of expected.entries()) {
      if (n !== undefined && elements[i].textContent !== `#${n}`) {
        window.wrong.push(`frame ${data}, ${cards[i]}: ${elements[i].textContent}, not ${n}`);
      }
    }
  };
  requestAnimationFrame(frame);
  if (busy > 0) {
    setInterval(() => {
      const end = performance.now() + busy;
      while (performance.now() < end);
    }, 500);
  }
}, busy);

/** Every instrument has come to its end, and its last value is the server's. */
async function isAtEnd(page, at, updates) {
  await until("the last update is shown", async () => {
    const { numbers } = await shown(page);
    return numbers.every((number) => number === updates) || numbers;
  });
  const { values } = await shown(page);
  for (const [i, [name, digits]] of INSTRUMENTS.entries()) {
    const { n, value } = await newest(at, name);
    assert.deepEqual([n, value.toFixed(digits)], [updates, values[i]]);
  }
}

/** The longest task of a page's main thread by the time that it took of a processor, in milliseconds. */
async function longestTask(page, during) {
  await browser.startTracing(page, { categories: ["toplevel"] });
  await during();
  const { traceEvents } = JSON.parse(await browser.stopTracing());
  const threads = traceEvents.filter(({ name, args }) => name === "thread_name" && args.name === "CrRendererMain");
  const tasks = traceEvents.filter(({ tdur, pid, tid }) => tdur >= 0 && threads.some((at) => at.pid === pid && at.tid === tid));
  assert.ok(tasks.length > 500, `${tasks.length} tasks were seen`);
  return Math.max(...tasks.map(({ tdur }) => tdur / 1_000));
}

for (const transport of TRANSPORTS) {
  test(`${transport}: four times a hundred updates a second, and each frame shows the newest`, async (t) => {
    const updates = 900;
    const at = await startServer(t, { updates });
    const page = await newPage(t, at, transport);
    await watch(page);
    // Of what this thread did, not of what others had the processor for.
    const longest = await longestTask(page, () => isAtEnd(page, at, updates));
    const { frames, wrong } = await page.evaluate(() => ({ frames: window.frames, wrong: window.wrong }));
    t.diagnostic(`${frames} frames, ${(await shown(page)).skipped} skipped, the longest task took ${longest} ms`);
    assert.deepEqual(wrong, []);
    assert.ok(frames > 60, `${frames} frames`);
    assert.ok(longest < LONG_TASK, `a task of ${longest} ms`);
  });

  test(`${transport}: a page that is too busy comes to the newest value all the same`, async (t) => {
    const updates = 600;
    const at = await startServer(t, { updates });
    const page = await newPage(t, at, transport);
    await watch(page, 350);
    await isAtEnd(page, at, updates);
    assert.deepEqual(await page.evaluate(() => window.wrong), []);
    // What lies ready on a stream is read and not shown; between two polls it is not even sent.
    if (transport === "poll") {
      await until("some were skipped", async () => (await shown(page)).skipped > 50 || (await shown(page)).skipped);
    }
  });

  test(`${transport}: after a network's failure the newest value comes first`, async (t) => {
    const server = await startServer(t);
    const network = await startNetwork(server.url);
    t.after(() => network.stop());
    const page = await newPage(t, network, transport);
    await page.evaluate(async () => {
      const { rooms } = await import("/page.js");
      window.seen = [];
      rooms.get("simulated/flow").on("value", ({ n }) => window.seen.push(n));
      rooms.get("simulated/flow").on("gap", ({ reason }) => window.seen.push(reason));
    });
    network.weather = () => ({ refuse: true });
    network.cut();
    await state(page, `Reconnecting over ${LABELS[transport]} …`);
    assert.equal((await shown(page)).stale, true);
    const last = (await page.evaluate(() => window.seen.at(-1))) ?? 0;
    await until("two hundred updates", async () => {
      const { n } = await newest(server, "flow");
      return n > last + 200 || n;
    });
    network.weather = () => ({});
    await state(page, `Live over ${LABELS[transport]}`);
    await until("updates after it", () => page.evaluate((last) => window.seen.at(-1) > last + 220, last));
    const seen = await page.evaluate(() => window.seen);
    assert.ok(seen.every((n, i) => i === 0 || n > seen[i - 1]), "in order, none twice, and no gap");
    const first = seen.find((n) => n > last);
    assert.ok(first > last + 200, `after ${last} comes ${first}`);
    await until("what was skipped is counted", async () => {
      const { skipped } = await shown(page);
      return skipped >= INSTRUMENTS.length * 150 || skipped;
    });
    assert.equal((await shown(page)).stale, false);
  });
}

test("the server's own figures are there, and plausible", async (t) => {
  const at = await startServer(t);
  const pages = await Promise.all(TRANSPORTS.map((transport) => newPage(t, at, transport)));
  for (const page of pages) {
    await until("figures", async () => {
      const { real, received, sessions } = await shown(page);
      return (real.every((value) => Number(value) >= 0) && received > 0 && /1 sse.*1 ws/.test(sessions)) || { real, received, sessions };
    });
    const [process, machine, memory] = (await shown(page)).real.map(Number);
    assert.ok(process <= 400 && machine <= 100 && memory > 1 && memory < 500, `${process} % ${machine} % ${memory} MiB`);
  }
});

test("the transport can be changed while it runs", async (t) => {
  const at = await startServer(t);
  const page = await newPage(t, at, "sse");
  for (const transport of ["ws", "poll", "sse"]) {
    await page.getByLabel(LABELS[transport]).check();
    await state(page, `Live over ${LABELS[transport]}`);
    const [before] = (await shown(page)).numbers;
    await until("it goes on", async () => (await shown(page)).numbers[0] > before + 20);
  }
});

test("what is paused stands still, and goes on with the newest value", async (t) => {
  const updates = 1_000; // ten seconds to load the page and to pause it
  const at = await startServer(t, { updates });
  const page = await newPage(t, at, "sse");
  const pause = page.getByRole("button", { name: "Pause" });
  await pause.click();
  const { numbers } = await shown(page);
  await until("the server is at its end", async () => (await newest(at, "vibration")).n === updates);
  assert.deepEqual((await shown(page)).numbers, numbers);
  assert.ok(numbers.every((number) => number < updates));
  await pause.click();
  await isAtEnd(page, at, updates);
});

test("where less motion is wanted the page changes once a second", async (t) => {
  const at = await startServer(t);
  const page = await newPage(t, at, "ws", { reducedMotion: "reduce" });
  await until("few frames of many updates", async () => {
    const { frames, received } = await shown(page);
    return (frames <= 2 && received > 50) || { frames, received };
  });
});

test("a server that is replaced is read on from, and ends in time", async (t) => {
  const first = await startServer(t);
  const pages = await Promise.all(TRANSPORTS.map((transport) => newPage(t, first, transport)));
  const { code, took } = await first.stop();
  assert.equal(code, 0);
  assert.ok(took < 5_000, `the server ended within ${Math.round(took)} ms`);
  for (const page of pages) await until("stale", async () => (await shown(page)).stale);
  const updates = 600;
  const second = await startServer(t, { updates, listen: first.listen });
  for (const page of pages) await isAtEnd(page, second, updates);
});

test("nobody but the server writes", async (t) => {
  const at = await startServer(t);
  const value = { n: 1, at: 1, value: 1 };
  const command = { type: "publish", ref: 1, room: "simulated/flow", event: "value", data: value };
  const { status, code } = await send(at.url, command);
  assert.deepEqual([status, code], [403, "forbidden"]);
});

test("on a narrow screen nothing is cut off, and the charts are as sharp as the screen", async (t) => {
  const at = await startServer(t);
  const page = await newPage(t, at, "sse", { viewport: { width: 360, height: 700 }, deviceScaleFactor: 2 });
  const { width, sizes } = await page.evaluate(() => ({
    width: document.documentElement.scrollWidth,
    sizes: Array.from(document.querySelectorAll(".chart"), ({ width, clientWidth }) => [width, clientWidth]),
  }));
  assert.equal(width, 360);
  assert.equal(sizes.length, 8);
  assert.ok(sizes.every(([pixels, points]) => points > 200 && pixels === 2 * points), String(sizes));
});
