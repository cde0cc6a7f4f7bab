// What a person sees of others, and what others do not disturb: selections, composed characters, undo.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { generator } from "../../../crates/tidings-js/test/support/random.mjs";
import { Doc, applyUpdate, encodeStateAsUpdate } from "../page/yjs.js";
import {
  TRANSPORTS, call, field, newContext, newDocument, newNetwork, open, same, saved, send, startBrowser, startServer, text,
  type, until,
} from "./support.mjs";

let browser;
let server;

before(async () => {
  server = await startServer();
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

async function two(t, words, transports = ["ws", "sse"]) {
  const context = await newContext(t, browser);
  const document = newDocument();
  const pages = [];
  for (const [i, transport] of transports.entries()) {
    pages.push(await open(context, { at: server, document, transport, name: ["Ada", "Grace"][i] }));
  }
  if (words) {
    await type(pages[0], words, 0);
    await same(pages, (one) => one === words);
  }
  return { context, document, pages };
}

const select = (page, from, to = from, direction = "forward") => field(page).evaluate((area, range) => {
  area.focus();
  area.setSelectionRange(...range);
}, [from, to, direction]);
const selection = (page) => field(page).evaluate(({ value, selectionStart, selectionEnd, selectionDirection }) => (
  [value.slice(selectionStart, selectionEnd), selectionStart, selectionDirection]
));
const members = (page) => page.getByRole("list", { name: "Members" }).getByRole("listitem").allTextContents();
const shows = (page, wanted) => until(`members ${wanted}`, async () => {
  const list = (await members(page)).sort();
  return JSON.stringify(list) === JSON.stringify([...wanted].sort()) || list;
});

test("a selection stays around the same words, whatever others write", async (t) => {
  const { pages: [page, other] } = await two(t, "one two three");
  await select(page, 4, 7, "backward");
  const selected = async (wanted, one) => {
    await same([page, other], (text) => text === one);
    assert.deepEqual((await selection(page)).slice(0, wanted.length), wanted);
  };
  await select(other, 0);
  await type(other, "zero ", 0);
  await selected(["two", 9, "backward"], "zero one two three");
  await select(other, 9);
  await type(other, "<", 0);
  await selected(["two", 10, "backward"], "zero one <two three");
  await select(other, 13);
  await type(other, ">", 0);
  await selected(["two", 10, "backward"], "zero one <two> three");
  await select(other, 11);
  await type(other, "-", 0);
  await selected(["t-wo", 10, "backward"], "zero one <t-wo> three");
  await select(other, 5, 12);
  await field(other).press("Delete");
  await selected(["wo", 5, "backward"], "zero wo> three");
  await select(other, 0, 14);
  await field(other).press("Delete");
  await selected(["", 0], "");
});

test("a character that is being composed is not disturbed, and both edits are there in the end", async (t) => {
  const { pages: [page, other] } = await two(t, "ab");
  const devtools = await page.context().newCDPSession(page);
  let heard = 0;
  devtools.on("Network.webSocketFrameReceived", ({ response }) => {
    heard += JSON.parse(response.payloadData).event === "update" ? 1 : 0;
  });
  await devtools.send("Network.enable");
  await select(page, 1);
  const compose = (words) => devtools.send("Input.imeSetComposition", { text: words, selectionStart: words.length, selectionEnd: words.length });
  await compose("に");
  await compose("にほ");
  await select(other, 0);
  await type(other, "before ", 0);
  await saved(other);
  await until("it has come, and waits", () => heard > 0);
  await compose("にほん");
  assert.equal(await text(page), "aにほんb");
  assert.equal(await text(other), "before ab");
  await devtools.send("Input.insertText", { text: "日本" });
  assert.equal(await same([page, other], (one) => one.length === 11), "before a日本b");
  assert.deepEqual((await selection(page)).slice(0, 2), ["", 10]);
});

test("undo takes back what was written here, and nothing of others", async (t) => {
  const { pages: [page, other] } = await two(t, "");
  await type(page, "mine ", 0);
  await same([page, other], (one) => one === "mine ");
  await select(other, 5);
  await type(other, "theirs", 0);
  await same([page, other], (one) => one === "mine theirs");
  await field(page).press("Control+z");
  assert.equal(await same([page, other], (one) => one.length === 6), "theirs");
  await field(page).press("Control+Shift+z");
  assert.equal(await same([page, other], (one) => one.length === 11), "mine theirs");
  await field(page).press("Control+z");
  await field(page).press("Control+y");
  assert.equal(await same([page, other], (one) => one.length === 11), "mine theirs");
});

test("members see each other by name and where they are, and when they go", async (t) => {
  const { document, context, pages: [ada, grace] } = await two(t, "one two three");
  await shows(ada, ["Ada (you)", "Grace"]);
  await shows(grace, ["Grace (you)", "Ada"]);
  await select(ada, 4, 7);
  const marks = (page) => page.evaluate(() => [
    Array.from(document.querySelectorAll("#marks .selected"), (part) => part.textContent),
    Array.from(document.querySelectorAll("#marks .caret"), (caret) => [
      caret.dataset.name, Array.from(document.querySelector("#marks").childNodes).slice(0, Array.from(document.querySelector("#marks").childNodes).indexOf(caret)).map((node) => node.textContent).join(""),
    ]),
  ]);
  const marked = (page, wanted) => until(`marks ${JSON.stringify(wanted)}`, async () => {
    const now = await marks(page);
    return JSON.stringify(now) === JSON.stringify(wanted) || now;
  });
  await marked(grace, [["two"], [["Ada", "one two"]]]);
  // It goes along with the text, although Ada does nothing.
  await select(grace, 0);
  await type(grace, "zero ", 0);
  await marked(grace, [["two"], [["Ada", "zero one two"]]]);
  // What is shown stands exactly over the field's own text.
  const boxes = await grace.evaluate(() => ["#text", "#marks"].map((id) => {
    const { x, y, width, height } = document.querySelector(id).getBoundingClientRect();
    return [x, y, width, height, document.querySelector(id).scrollHeight];
  }));
  assert.deepEqual(boxes[0], boxes[1]);

  await ada.getByLabel("Your name").fill("Ada <b>Lovelace</b>");
  await shows(grace, ["Grace (you)", "Ada <b>Lovelace</b>"]);
  const third = await open(context, { at: server, document, name: "Edsger", transport: "sse" });
  for (const page of [ada, grace]) await until("the third", async () => (await members(page)).includes("Edsger"));
  const begun = performance.now();
  await third.goto("about:blank");
  await ada.goto("about:blank");
  // An event stream is always there to hear it; between two polls it may be missed, and then it is missed for longer.
  await shows(grace, ["Grace (you)"]);
  assert.ok(performance.now() - begun < 5_000, "they are told of, and not only missed");
});

test("places that cannot be do not keep others from being shown", async (t) => {
  const { document, pages: [page, other] } = await two(t, "where?");
  const writer = await other.evaluate(async (document) => {
    const { Tidings } = await import("/realtime/tidings.js");
    const { Doc, applyUpdate } = await import("/yjs.js");
    const tidings = new Tidings("/realtime", { share: false });
    const { state } = await tidings.call("open", { document });
    tidings.close();
    const doc = new Doc();
    applyUpdate(doc, Uint8Array.from(atob(state), (char) => char.charCodeAt(0)));
    return doc.store.clients.keys().next().value;
  }, document);
  const ids = [-1, 0.5, "0", null, 1e20, {}].map((clock) => ({ client: writer, clock }));
  const places = [
    null, 1, {}, { tname: "elsewhere" }, { tname: {} }, { tname: "text", item: 1 }, { tname: "text", item: { client: "x", clock: 0 } },
    ...ids.flatMap((id) => [{ tname: "text", item: id, assoc: 0 }, { tname: "text", item: id, assoc: -1 }, { type: id }]),
  ];
  for (const [i, place] of [...places, { tname: "text", item: { client: writer, clock: 0 } }].entries()) {
    const data = { id: `forged-${i}`, name: `forged ${i}`, selection: [place, place] };
    const { status } = await send(server, { type: "publish", ref: 1, room: `members:${document}`, event: "here", data });
    assert.equal(status, 200);
  }
  // The last one is where somebody can be.
  const name = `forged ${places.length}`;
  await until("the last is seen", () => page.locator(`.caret[data-name="${name}"]`).count().then((count) => count === 1 || count));
});

test("a long name at the right edge is not cut off, on a narrow screen either, nor when the screen is turned", async (t) => {
  const context = await newContext(t, browser);
  const document = newDocument();
  const page = await open(context, { at: server, document, name: "Ada" });
  const other = await open(context, { at: server, document, name: "n".repeat(40) });
  await page.setViewportSize({ width: 360, height: 700 });
  await type(other, "x".repeat(30), 0);
  // From the caret in the middle of a wide page, and at the edge of a narrow one.
  for (const width of [360, 900, 360]) {
    await page.setViewportSize({ width, height: 700 });
    await until(`the name is within ${width} pixels`, () => page.evaluate(() => {
      const caret = window.document.querySelector(".caret");
      if (!caret) return "no caret";
      const at = caret.getBoundingClientRect().left;
      if (at < 250) return `the caret is at ${at} still`;
      const name = getComputedStyle(caret, "::after");
      const { scrollWidth, clientWidth } = window.document.querySelector("#scroll");
      const left = name.right === "-1px" ? at - parseFloat(name.width) : at;
      return (left >= 0 && left + parseFloat(name.width) <= clientWidth && scrollWidth === clientWidth)
        || [at, name.left, name.right, name.width, scrollWidth, clientWidth];
    }));
  }
});

test("over long-polling too, members see each other, in the end", async (t) => {
  const { pages: [ada, grace] } = await two(t, "one two three", ["poll", "poll"]);
  await shows(ada, ["Ada (you)", "Grace"]);
  await shows(grace, ["Grace (you)", "Ada"]);
  await select(ada, 4, 7);
  await until("Ada's selection", () => grace.evaluate(() => document.querySelector("#marks .selected")?.textContent === "two"));
  await ada.goto("about:blank");
  await shows(grace, ["Grace (you)"]);
});

test("a hand that moves all the time does not flood the room", async (t) => {
  const { pages: [page] } = await two(t, "one two three", ["ws"]);
  let said = 0;
  const socket = page.waitForEvent("websocket");
  await page.reload();
  (await socket).on("framesent", ({ payload }) => { said += JSON.parse(payload).event === "here" ? 1 : 0; });
  await until("it is there", async () => (await text(page)) === "one two three");
  await field(page).evaluate((area) => new Promise((done) => {
    area.focus();
    let count = 0;
    const moving = setInterval(() => {
      area.setSelectionRange(count % 13, count % 13);
      if (++count === 200) done(clearInterval(moving));
    }, 5);
  }));
  assert.ok(said >= 3 && said <= 40, `${said}`);
});

test("what a text field cannot hold is edited away, and all have the same", async (t) => {
  const { document, pages } = await two(t, "here\n");
  const foreign = new Doc();
  const { data } = await call(server, document);
  applyUpdate(foreign, Buffer.from(data.state, "base64"));
  const shared = foreign.getText("text");
  shared.insert(0, "from a program\r\nof another system\r\n");
  shared.insertEmbed(3, { image: "x" });
  shared.format(0, 2, { bold: true });
  const update = Buffer.from(encodeStateAsUpdate(foreign)).toString("base64");
  assert.equal((await send(server, { type: "publish", ref: 1, room: `document:${document}`, event: "update", data: update })).type, "reply");
  await same(pages, (one) => one === "from a program\nof another system\nhere\n");
  await select(pages[1], 36);
  await type(pages[1], "!", 0);
  await same(pages, (one) => one === "from a program\nof another system\nher!e\n");
});

test("whatever three pages do over bad networks, they end with one text", async (t) => {
  const context = await newContext(t, browser);
  const document = newDocument();
  const networks = [];
  const pages = [];
  for (const transport of TRANSPORTS) {
    networks.push(await newNetwork(t, server));
    pages.push(await open(context, { at: networks.at(-1), document, transport }));
  }
  const random = generator(7);
  const cutting = setInterval(() => networks[Math.floor(random() * 3)].cut(), 400);
  try {
    await Promise.all(pages.map((page, i) => field(page).evaluate(async (area, seed) => {
      let state = seed;
      const below = (most) => {
        state = (state * 48_271) % 2_147_483_647;
        return state % most;
      };
      for (let round = 0; round < 250; round++) {
        const at = below(area.value.length + 1);
        const words = ["", "x", "\n", "many words ", "😀"][below(5)];
        area.setRangeText(words, at, Math.min(area.value.length, at + below(6)), "end");
        area.dispatchEvent(new InputEvent("input", { bubbles: true }));
        await new Promise((done) => setTimeout(done, 20));
      }
    }, 1_000 + i)));
  } finally {
    clearInterval(cutting);
  }
  const one = await same(pages, (text) => text.length > 0);
  const late = await open(context, { at: server, document });
  assert.equal(await text(late), one);
});
