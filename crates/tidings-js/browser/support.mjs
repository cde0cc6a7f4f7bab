// What the tests in a real browser stand on: CHROMIUM names the browser, TIDINGS_TARGET_DIR where cargo has built, and with
// TIDINGS_HEADED set the windows can be watched.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";
import { newContext, startBrowser as launch } from "../test/support/browser.mjs";
import { until } from "../test/support/program.mjs";

export { newContext };

export const startBrowser = (options) => launch(chromium, options);

/**
 * A page with a client (`window.tidings`) that is in rooms, and what it was told: `window.heard` by room, `window.states`.
 * Of two pages of one context, each has a client of its own, which may share its connection.
 */
export async function newPage(context, url, { options = {}, rooms = ["a"], from = "now", before } = {}) {
  const page = await context.newPage();
  if (before) await page.addInitScript(before);
  await page.goto(`${url}/`);
  await begin(page, { options, rooms, from });
  return page;
}

/** Makes the client, also again after a reload. */
export function begin(page, { options = {}, rooms = ["a"], from = "now" }) {
  return page.evaluate(async ({ options, rooms, from }) => {
    const { Tidings } = await import("/realtime/tidings.js");
    window.tidings = new Tidings("/realtime", options);
    window.states = [];
    window.heard = {};
    window.rooms = {};
    window.tidings.on("state", ({ state, transport, reason }) => window.states.push([state, transport, reason].join(" ")));
    for (const name of rooms) {
      const list = window.heard[name] = [];
      const room = window.rooms[name] = window.tidings.join(name, { from });
      room.on("n", (data) => list.push(data));
      for (const word of ["gap", "end"]) room.on(word, ({ reason }) => list.push(reason ? `${word} ${reason}` : word));
      room.on("error", ({ code }) => list.push(`error ${code}`));
    }
  }, { options, rooms, from });
}

export const heard = (page, room = "a") => page.evaluate((room) => window.heard[room], room);
export const states = (page) => page.evaluate(() => window.states);
export const transport = (page) => page.evaluate(() => window.tidings.transport);

/** Every room of the page was joined. */
export const joined = (page) => until("joined", () => page.evaluate(() =>
  Object.values(window.rooms).every(({ cursor }) => cursor !== null) || window.states));

/** The page was told exactly this. */
export async function told(page, wanted, room = "a") {
  await until(`${wanted.length} in ${room}`, async () => {
    const list = await heard(page, room);
    return list.length >= wanted.length || list;
  });
  assert.deepEqual(await heard(page, room), wanted);
}

export const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, n) => from + n);
