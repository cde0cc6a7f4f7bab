// What the tests stand on: the server, a browser, a network that can be cut, and a reader that is no page.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";
import { startBrowser as launch } from "../../../crates/tidings-js/test/support/browser.mjs";
import { send, startProgram } from "../../../crates/tidings-js/test/support/program.mjs";

export const startBrowser = () => launch(chromium);

/** Starts the server, which types `rate` tokens a second. */
export function startServer(rate) {
  return startProgram("token-stream", ["--listen", "127.0.0.1:0", "--rate", String(rate)]);
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
