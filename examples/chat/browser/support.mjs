// What a person does and sees on the chat's page.

import { chromium } from "playwright-core";
import * as support from "../../../crates/tidings-js/test/support/browser.mjs";
import { startProgram, until } from "../../../crates/tidings-js/test/support/program.mjs";

export { until };
export const { LABELS, TRANSPORTS, newContext } = support;

export const startBrowser = () => support.startBrowser(chromium);

/** Starts the chat with options such as `["--history", "5000"]`. */
export const startServer = (options = [], listen = "127.0.0.1:0") => startProgram("chat", ["--listen", listen, ...options]);

/** A page of a member that is in a room, over a transport or over `auto`, whichever works. */
export async function join(context, { name, room, transport, at }) {
  const page = await context.newPage();
  await page.goto(`${at.url}/?${new URLSearchParams({ name, room, transport, join: "1" })}`);
  await live(page, transport);
  return page;
}

/** Three members, one on each transport. */
export async function joinAll(context, room, at) {
  const pages = [];
  for (const transport of TRANSPORTS) pages.push(await join(context, { name: `on ${transport}`, room, transport, at }));
  return pages;
}

export const live = (page, transport) => until(`live over ${transport}`, async () => {
  const state = await page.getByRole("status").textContent();
  return (transport === "auto" ? state.startsWith("Live over ") : state === `Live over ${LABELS[transport]}`) || state;
});

/** Posts as a person does, and waits for the reply. */
export async function say(page, text) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
  await until(`${text} is sent`, () => page.evaluate(() => {
    const box = document.querySelector("#text");
    return (box.value === "" && !box.readOnly) || document.querySelector("#error").textContent;
  }));
}

export const messages = (page) => page.evaluate(() =>
  Array.from(document.querySelectorAll("#messages .message"), (item) => ({
    who: item.querySelector(".who").textContent,
    badge: item.querySelector(".badge").textContent,
    text: item.querySelector(".text").textContent,
    timed: !Number.isNaN(Date.parse(item.querySelector("time").dateTime)),
  })));
export const texts = async (page) => (await messages(page)).map(({ text }) => text);
export const notes = (page) => page.locator("#messages .note").allTextContents();

export const count = (page, wanted) => until(`${wanted} messages`, async () => {
  const { length } = await messages(page);
  return length >= wanted || length;
});
