// A real browser for tests: CHROMIUM names it, and with TIDINGS_HEADED set the windows can be watched. Playwright is
// given by whoever calls, for each folder of browser tests has its own.

import assert from "node:assert/strict";

/** The labels by which the examples' pages name the transports. */
export const LABELS = { sse: "Server-Sent Events", ws: "WebSocket", poll: "Long polling" };
export const TRANSPORTS = Object.keys(LABELS);

export function startBrowser(chromium, options = {}) {
  return chromium.launch({
    ...options,
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: !process.env.TIDINGS_HEADED,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
  });
}

/** A browser context whose pages must run without errors; it goes when the test ends. */
export async function newContext(t, browser, options) {
  const context = await browser.newContext(options);
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
