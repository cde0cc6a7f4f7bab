// Chromium's WebSocket against the echo example and the hub's endpoint, with compression: CHROMIUM names the browser,
// TIDINGS_TARGET_DIR where cargo has built.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { startBrowser } from "../../tidings-js/test/support/browser.mjs";
import { startProgram } from "../../tidings-js/test/support/program.mjs";

const AGREED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
const SIZES = [0, 1, 125, 126, 127, 128, 65535, 65536, 1 << 20];

let browser;
let echo;
let hub;

before(async () => {
  echo = await start("examples/echo", "127.0.0.1:0");
  hub = await start("server", "--listen", "127.0.0.1:0");
  browser = await startBrowser(chromium);
});

after(async () => {
  await browser?.close();
  await Promise.all([echo, hub].map((server) => server?.stop("SIGKILL")));
});

/** Starts a program of ours. */
async function start(program, ...options) {
  const started = await startProgram(program, options);
  return { ...started, ws: started.address.replace(/^http/, "ws") };
}

/** A page with helpers; of the hub's own origin if `at` is given, for it takes no other. */
async function newPage(t, at) {
  const page = await browser.newPage();
  t.after(() => page.close());
  if (at) await page.goto(at);
  await page.evaluate(() => {
    /** A socket that collects what comes; `next()` is the next message, `end` how it closes. */
    globalThis.open = (url, protocols) => new Promise((done, fail) => {
      const socket = new WebSocket(url, protocols);
      socket.binaryType = "arraybuffer";
      const came = [];
      const waiting = [];
      socket.onmessage = ({ data }) => (waiting.shift() ?? ((data) => came.push(data)))(data);
      const end = new Promise((ended) => {
        socket.onclose = ({ code, reason, wasClean }) => {
          ended({ code, reason, wasClean });
          fail(new Error(`closed with ${code}`));
        };
      });
      const next = () => (came.length ? Promise.resolve(came.shift()) : new Promise((taken) => waiting.push(taken)));
      socket.onopen = () => done({ socket, next, end });
    });
    /** Text of so many bytes, with characters of all lengths where they fit. */
    globalThis.textOf = (size) => {
      const words = "naïve café, 漢字, 🏳️‍🌈 and so on; ";
      const bytes = (text) => new TextEncoder().encode(text).length;
      const text = words.repeat(Math.floor(size / bytes(words)));
      return text + "x".repeat(size - bytes(text));
    };
    globalThis.noise = (size) => {
      const bytes = new Uint8Array(size);
      for (let at = 0; at < size; at += 65536) crypto.getRandomValues(bytes.subarray(at, Math.min(size, at + 65536)));
      return bytes;
    };
  });
  return page;
}

test("messages of all sizes come back, compressed", async (t) => {
  const page = await newPage(t);
  const { extensions, wrong, end } = await page.evaluate(async ({ url, sizes }) => {
    const { socket, next, end } = await open(url);
    const wrong = [];
    const same = (one, two) => one.length === two.length && one.every((byte, at) => byte === two[at]);
    for (const size of sizes) {
      for (const text of ["x".repeat(size), textOf(size)]) {
        socket.send(text);
        if (await next() !== text) wrong.push(`a text of ${size} bytes`);
      }
      for (const bytes of [new Uint8Array(size), noise(size)]) {
        socket.send(bytes);
        if (!same(new Uint8Array(await next()), bytes)) wrong.push(`${size} bytes`);
      }
    }
    socket.close(1000, "bye");
    return { extensions: socket.extensions, wrong, end: await end };
  }, { url: echo.ws, sizes: SIZES });
  assert.equal(extensions, AGREED);
  assert.deepEqual(wrong, []);
  assert.deepEqual(end, { code: 1000, reason: "", wasClean: true });
});

test("many messages at once come back in their order", async (t) => {
  const page = await newPage(t);
  const wrong = await page.evaluate(async (url) => {
    const { socket, next } = await open(url);
    for (let n = 0; n < 500; n++) socket.send(textOf(n * 7));
    const wrong = [];
    for (let n = 0; n < 500; n++) if (await next() !== textOf(n * 7)) wrong.push(n);
    return wrong;
  }, echo.ws);
  assert.deepEqual(wrong, []);
});

test("a page's close code comes back, and the server's reaches it", async (t) => {
  const page = await newPage(t);
  const ends = await page.evaluate(async (url) => {
    const ends = [];
    for (const code of [1000, 3000, 4999]) {
      const { socket, end } = await open(url);
      socket.close(code, "bye, 漢字");
      ends.push(await end);
    }
    // More than the server takes, though it is little on its way.
    const { socket, end } = await open(url);
    socket.send(new Uint8Array((16 << 20) + 1));
    ends.push(await end);
    return ends;
  }, echo.ws);
  assert.deepEqual(ends.map(({ code, wasClean }) => [code, wasClean]), [
    [1000, true], [3000, true], [4999, true], [1009, true],
  ]);
});

test("texts of all sizes reach every page of a room", async (t) => {
  const page = await newPage(t, new URL("/realtime/", hub.url).href);
  const { extensions, protocols, wrong } = await page.evaluate(async ({ url, sizes }) => {
    const one = await open(`${url}ws?room=sizes`, ["foo", "tidings.v1"]);
    const two = await open(`${url}ws?room=sizes`);
    const event = async ({ next }) => {
      for (;;) {
        const message = JSON.parse(await next());
        if (message.type === "event") return message.data;
      }
    };
    const publish = (data) => JSON.stringify({ type: "publish", room: "sizes", event: "e", data });
    const limit = (1 << 20) - publish("").length;
    const wrong = [];
    for (const size of [...sizes.slice(0, -1), limit]) {
      one.socket.send(publish(textOf(size)));
      for (const socket of [one, two]) if (await event(socket) !== textOf(size)) wrong.push(size);
    }
    return {
      extensions: [one.socket.extensions, two.socket.extensions],
      protocols: [one.socket.protocol, two.socket.protocol],
      wrong,
    };
  }, { url: hub.ws, sizes: SIZES });
  assert.deepEqual(extensions, [AGREED, AGREED]);
  assert.deepEqual(protocols, ["tidings.v1", ""]);
  assert.deepEqual(wrong, []);
});

test("a message over the limit closes with 1009", async (t) => {
  const page = await newPage(t, new URL("/realtime/", hub.url).href);
  const codes = await page.evaluate(async (url) => {
    const limit = 1 << 20;
    const sent = async (message, over) => {
      const { socket, next, end } = await open(`${url}ws`);
      socket.send(message);
      // Of the limit itself it is taken, and is no command.
      return over ? (await end).code : JSON.parse(await next()).code;
    };
    return {
      text: [await sent("x".repeat(limit), false), await sent("x".repeat(limit + 1), true)],
      bytes: [
        await sent(noise(limit), false), await sent(noise(limit + 1), true), await sent(noise(10 * limit), true),
      ],
      // 10 MiB that are 10 KiB on their way.
      bomb: await sent("x".repeat(10 * limit), true),
    };
  }, hub.ws);
  assert.deepEqual(codes, { text: ["bad_json", 1009], bytes: ["bad_command", 1009, 1009], bomb: 1009 });
});

test("a server that ends says so", async (t) => {
  const other = await start("server", "--listen", "127.0.0.1:0");
  t.after(() => other.stop("SIGKILL"));
  const page = await newPage(t, new URL("/realtime/", other.url).href);
  await page.evaluate(async (url) => {
    globalThis.opened = await open(`${url}ws?room=drain`);
    await opened.next();
  }, other.ws);
  const stopped = other.stop("SIGINT");
  const { code, wasClean } = await page.evaluate(() => opened.end);
  assert.deepEqual({ code, wasClean }, { code: 1012, wasClean: true });
  assert.equal((await stopped).code, 0);
});
