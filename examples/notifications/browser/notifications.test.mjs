// The page in a real browser: CHROMIUM names the browser, TIDINGS_TARGET_DIR where cargo has built, and with
// TIDINGS_HEADED set the windows can be watched.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import * as support from "../../../crates/tidings-js/test/support/browser.mjs";
import { send, startProgram, until } from "../../../crates/tidings-js/test/support/program.mjs";
import { startNetwork } from "../../../crates/tidings-js/test/support/server.mjs";

const { LABELS, TRANSPORTS } = support;
const SECRET = "a secret of thirty-two bytes or more";

let browser;
let server;

before(async () => {
  server = await startServer();
  browser = await support.startBrowser(chromium);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

function startServer({ listen = "127.0.0.1:0", secret = SECRET } = {}) {
  return startProgram("notifications", ["--listen", listen], { env: { NOTIFICATIONS_SECRET: secret } });
}

function newContext(t) {
  return support.newContext(t, browser);
}

/** A page of somebody's, which signs in unless its context has. */
async function newPage(context, user, { transport, at = server.url } = {}) {
  const page = await context.newPage();
  await page.goto(transport ? `${at}/?transport=${transport}` : at);
  const name = page.getByLabel("Name");
  const heading = page.getByRole("heading", { level: 1 }); // of the one or the other
  await heading.waitFor();
  if (await heading.textContent() === "Tidings notifications") {
    await name.fill(user);
    await page.getByRole("button", { name: "Sign in" }).click();
  }
  await state(page, `Live over ${LABELS[transport ?? "sse"]}`);
  return page;
}

/** A device for each transport, of one user. */
function newDevices(t, user, options) {
  return Promise.all(TRANSPORTS.map(async (transport) => newPage(await newContext(t), user, { transport, ...options })));
}

/** What is on the page, the newest first. */
const shown = (page) => page.evaluate(() => ({
  texts: Array.from(document.querySelectorAll("#list .words .text"), (text) => text.textContent),
  unread: Array.from(document.querySelectorAll("#list .item:not(.read) .words .text"), (text) => text.textContent),
  toasts: Array.from(document.querySelectorAll("#toasts .toast .text"), (text) => text.textContent),
  badge: document.querySelector("#badge").textContent,
  title: document.title,
  missing: document.querySelector("#missing").textContent,
}));

const shows = (page, what, wanted) => until(`${what}: ${JSON.stringify(wanted)}`, async () => {
  const seen = await shown(page);
  return JSON.stringify(seen[what]) === JSON.stringify(wanted) || seen;
});

const state = (page, wanted) => until(`the state ${wanted}`, async () => {
  const seen = await page.locator("#state").textContent();
  return seen === wanted || seen;
});

/** Signs in as a program does, and gives the cookie. */
async function signIn(name, at = server.url) {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(`${at}/sign-in`, { method: "POST", headers, body: JSON.stringify({ name }) });
  assert.equal(answer.status, 204);
  return answer.headers.get("set-cookie").split(";")[0];
}

let lastKey = 0;

/** Sends a notification as a program does. */
async function notify(from, to, text, at = server.url) {
  const data = { to, text, key: String(++lastKey) };
  const { status } = await send(at, { type: "call", ref: 1, method: "notify", data }, { cookie: await signIn(from, at) });
  assert.equal(status, 200);
}

async function fillIn(page, to, text) {
  await page.getByLabel("To").fill(to);
  await page.getByLabel("Text").fill(text);
}

const sent = (page, wanted) => until(`told: ${wanted}`, async () => {
  const told = await page.locator("#sent").textContent();
  return told === wanted || told;
});

test("what somebody sends is told on every device, over each transport, and to nobody else", async (t) => {
  const devices = await newDevices(t, "alice");
  const bob = await newPage(await newContext(t), "bob");
  await fillIn(bob, "Alice", "Lunch?");
  await bob.getByRole("button", { name: "Send" }).click();
  await sent(bob, "Sent.");
  for (const page of devices) {
    await shows(page, "texts", ["Lunch?"]);
    const { unread, toasts, badge, title } = await shown(page);
    assert.deepEqual([unread, toasts, badge, title], [["Lunch?"], ["bob Lunch?"], "1", "(1) Notifications · Tidings"]);
  }
  await fillIn(bob, "bob", "to myself");
  await bob.keyboard.press("Enter");
  await shows(bob, "texts", ["to myself"]);
  for (const page of devices) assert.deepEqual((await shown(page)).texts, ["Lunch?"]);
});

test("what is read on one device is read on all, and its toast goes", async (t) => {
  for (const text of ["one", "two", "three"]) await notify("bob", "carol", text);
  const devices = await newDevices(t, "carol");
  for (const page of devices) {
    await shows(page, "unread", ["three", "two", "one"]);
    assert.deepEqual((await shown(page)).toasts, [], "what was there before is no news");
  }
  await notify("bob", "carol", "four");
  for (const page of devices) await shows(page, "toasts", ["bob four"]);
  for (const [i, text] of ["two", "four"].entries()) {
    await devices[i].getByRole("listitem").filter({ hasText: text }).getByRole("button").click();
  }
  for (const page of devices) {
    await shows(page, "unread", ["three", "one"]);
    assert.deepEqual([(await shown(page)).toasts, (await shown(page)).badge], [[], "2"]);
  }
  await devices[2].getByRole("button", { name: "Mark all as read" }).click();
  for (const page of devices) {
    await shows(page, "badge", "");
    assert.equal((await shown(page)).title, "Notifications · Tidings");
    assert.equal(await page.getByRole("button", { name: "Mark all as read" }).isDisabled(), true);
  }
});

test("notifications and what was read of them survive a reload", async (t) => {
  await notify("bob", "dave", "first");
  await notify("bob", "dave", "second");
  const devices = await newDevices(t, "dave");
  await devices[0].getByRole("listitem").filter({ hasText: "first" }).getByRole("button").click();
  for (const page of devices) {
    await shows(page, "unread", ["second"]);
    await page.reload();
    await shows(page, "unread", ["second"]);
    const { texts, toasts } = await shown(page);
    assert.deepEqual([texts, toasts], [["second", "first"], []]);
  }
});

test("two tabs share a connection, and what each has read", async (t) => {
  const context = await newContext(t);
  const streams = []; // a tab that comes later reads what was before it by a poll
  context.on("request", (request) => {
    if (request.url().includes("/realtime/sse")) streams.push(request.url());
  });
  const tabs = [await newPage(context, "erin"), await newPage(context, "erin")];
  await notify("bob", "erin", "seen twice");
  for (const tab of tabs) await shows(tab, "unread", ["seen twice"]);
  await tabs[1].getByRole("button", { name: "Mark all as read" }).click();
  for (const tab of tabs) await shows(tab, "unread", []);
  assert.equal(streams.length, 1, streams.join("\n"));
});

test("what comes while the network is down is there once when it is back", async (t) => {
  const network = await startNetwork(server.url);
  t.after(() => network.stop());
  const devices = await newDevices(t, "frank", { at: network.url });
  await notify("bob", "frank", "before");
  for (const page of devices) await shows(page, "texts", ["before"]);
  network.weather = () => ({ refuse: true });
  network.cut();
  for (const page of devices) await state(page, "Reconnecting …");
  await notify("bob", "frank", "meanwhile");
  // What is read meanwhile waits, and is told then.
  await devices[0].getByRole("button", { name: "Mark all as read" }).click();
  network.weather = () => ({});
  for (const page of devices) {
    await shows(page, "texts", ["meanwhile", "before"]);
    await shows(page, "unread", ["meanwhile"]);
    assert.deepEqual((await shown(page)).missing, "");
    assert.ok((await shown(page)).toasts.includes("bob meanwhile"));
  }
});

test("a server that is replaced has lost its history: that is said, and it goes on", async (t) => {
  let at = await startServer();
  t.after(() => at.stop());
  const devices = await newDevices(t, "grace", { at: at.url });
  await notify("bob", "grace", "old", at.url);
  for (const page of devices) await shows(page, "texts", ["old"]);
  const { code, took } = await at.stop();
  assert.equal(code, 0);
  assert.ok(took < 5_000, `the server ended within ${Math.round(took)} ms`);
  for (const page of devices) await state(page, "Reconnecting …");
  at = await startServer({ listen: at.listen });
  for (const page of devices) {
    await shows(page, "missing", "Notifications are missing: the server has begun a new history.");
  }
  await notify("bob", "grace", "new", at.url);
  for (const page of devices) await shows(page, "unread", ["new", "old"]);
  await devices[0].getByRole("button", { name: "Mark all as read" }).click();
  for (const page of devices) await shows(page, "unread", []);

  // With another secret nobody is signed in any more.
  await at.stop();
  at = await startServer({ listen: at.listen, secret: `${SECRET}, another one` });
  for (const page of devices) await page.getByText("You are signed out.").waitFor();
});

test("an inbox is its user's alone, whoever asks and however", async () => {
  const cookie = await signIn("heidi");
  const query = (room) => new URLSearchParams({ room, from: "start", wait: "0" });
  for (const transport of ["sse", "poll"]) {
    const ask = async (room, headers) => {
      const answer = await fetch(`${server.url}/realtime/${transport}?${query(room)}`, { headers });
      await answer.body.cancel();
      return answer.status;
    };
    assert.equal(await ask("user/heidi", { cookie }), 200);
    assert.equal(await ask("user/bob", { cookie }), 403);
    assert.equal(await ask("user/heidi", {}), 401);
    assert.equal(await ask("user/heidi", { cookie: "notifications-user=heidi" }), 401);
  }
  for (const [room, event, status] of [
    ["user/heidi", "read", 200], ["user/bob", "read", 403], ["user/heidi", "notification", 403], ["other", "read", 403],
  ]) {
    const answer = await send(server.url, { type: "publish", ref: 1, room, event, data: { ids: [] } }, { cookie });
    assert.equal(answer.status, status, `${event} into ${room}`);
  }
  const call = (data) => send(server.url, { type: "call", ref: 1, method: "notify", data }, { cookie });
  assert.equal((await call({ to: "a/b", text: "x", key: "1" })).code, "bad_name");
  assert.equal((await call({ to: "bob", text: " ", key: "1" })).code, "bad_text");
});

test("on a WebSocket, too, nobody enters another's inbox", async (t) => {
  const page = await newPage(await newContext(t), "ivan", { transport: "ws" });
  const told = await page.evaluate(() => new Promise((done) => {
    const socket = new WebSocket("/realtime/ws");
    socket.onopen = () => socket.send(JSON.stringify({ type: "join", ref: 1, room: "user/bob", from: "start" }));
    socket.onmessage = ({ data }) => done(JSON.parse(data));
  }));
  assert.deepEqual([told.type, told.code], ["error", "forbidden"]);
});

test("an answer that is lost is told, and what is sent again arrives once", async (t) => {
  for (const transport of ["sse", "poll"]) {
    const page = await newPage(await newContext(t), `judy-${transport}`, { transport });
    await page.route("**/realtime/send", async (route) => {
      await route.fetch();
      await route.abort();
    }, { times: 1 });
    await fillIn(page, `judy-${transport}`, "once");
    await page.getByRole("button", { name: "Send" }).click();
    await sent(page, "No answer came. Send it again: it arrives once.");
    await page.getByRole("button", { name: "Send" }).click();
    await sent(page, "Sent.");
    await fillIn(page, `judy-${transport}`, "another");
    await page.getByRole("button", { name: "Send" }).click();
    await shows(page, "texts", ["another", "once"]);
  }
});

test("a refusal to mark something as read is told, and it stays unread", async (t) => {
  const page = await newPage(await newContext(t), "kate", { transport: "poll" });
  await notify("bob", "kate", "stays");
  await shows(page, "unread", ["stays"]);
  await page.route("**/realtime/send", (route) => route.fulfill({
    json: route.request().postDataJSON().map(({ ref }) => ({ type: "error", ref, code: "forbidden", message: "not now" })),
  }), { times: 1 });
  await page.getByRole("button", { name: "Mark as read" }).click();
  await page.getByText("Not marked as read: not now.").waitFor();
  assert.deepEqual((await shown(page)).unread, ["stays"]);
});

test("signing out in one tab signs out the others", async (t) => {
  const context = await newContext(t);
  const tabs = [await newPage(context, "leo"), await newPage(context, "leo")];
  await tabs[0].getByRole("button", { name: "Sign out" }).click();
  for (const tab of tabs) await tab.getByRole("button", { name: "Sign in" }).waitFor();
  await tabs[1].getByLabel("Name").fill("not a name");
  await tabs[1].evaluate(() => { document.querySelector("#sign-in").noValidate = true; });
  await tabs[1].getByRole("button", { name: "Sign in" }).click();
  await tabs[1].getByText("Not signed in: a name has 1 to 32 letters, digits and hyphens.").waitFor();
});

test("markup is shown as text", async (t) => {
  const text = "<img src=x onerror=hit=1>&amp;";
  const page = await newPage(await newContext(t), "mallory");
  await notify("bob", "mallory", text);
  await shows(page, "texts", [text]);
  await shows(page, "toasts", [`bob ${text}`]);
  assert.equal(await page.locator("#page img").count(), 0);
  assert.equal(await page.evaluate(() => typeof window.hit), "undefined");
});

test("on a narrow screen nothing is cut off, however long the names and words", async (t) => {
  const context = await support.newContext(t, browser, { viewport: { width: 360, height: 700 } });
  const page = await newPage(context, "o".repeat(32));
  await notify("p".repeat(32), "o".repeat(32), "w".repeat(280));
  await shows(page, "badge", "1");
  // The toast too, which is beside the flow of the page.
  const widths = await page.evaluate(() => [
    document.documentElement.scrollWidth, ...Array.from(document.querySelectorAll(".toast, header, .item"), (element) => (
      Math.ceil(element.getBoundingClientRect().right)
    )),
  ]);
  assert.ok(widths.every((right) => right <= 360), String(widths));
});
