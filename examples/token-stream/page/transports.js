// Reading one room over three transports, with nothing but what a browser brings along.
//
// Each transport is opened with a room, what to tell (`on`), and a signal that ends it. `on` has: cursor() where to
// go on from, at(cursor), live(), down(why), refused(why), event(id, name, data), gap(id, reason), whole() whether
// the room's last event was seen, and end() that nothing will follow.

const BASE = "/realtime";
/** The names of the events that an answer has. An event stream is asked for each by its name. */
const EVENTS = ["question", "token", "done"];
/** Milliseconds until an answer to a request is given up. */
const REPLY_TIME = 10_000;
/** Seconds that a poll waits for news. */
const POLL_WAIT = 25;
/** Milliseconds between two polls, so that one answer brings several tokens. */
const POLL_PAUSE = 100;
/** Back-off, in milliseconds: the first bound, which doubles with each failure, and the last. */
const BACKOFF = [500, 15_000];

export const TRANSPORTS = new Map([
  ["sse", { label: "Server-Sent Events", open: openEventSource }],
  ["ws", { label: "WebSocket", open: openWebSocket }],
  ["poll", { label: "Long polling", open: openLongPoll }],
]);

/** A refusal that another attempt would only meet again. */
class Refused extends Error {}

/** Calls a method of the server's application, and gives what it answers. */
export async function call(method, data) {
  const response = await request(`${BASE}/send`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ type: "call", ref: 1, method, data }),
    signal: AbortSignal.timeout(REPLY_TIME),
  });
  return response.data;
}

function address(endpoint, query) {
  return `${BASE}/${endpoint}?${new URLSearchParams(query)}`;
}

function pause(milliseconds, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
  });
}

/**
 * Attempts again and again until the signal ends it or the room has ended. An attempt resolves to the server's own
 * retry window where it named one; else the pause is random below a bound that doubles (full jitter), so that many
 * pages that lost a server at once do not return at once.
 */
async function keepTrying(attempt, on, signal) {
  let failures = 0;
  const live = () => {
    failures = 0;
    if (!signal.aborted) on.live();
  };
  while (!signal.aborted) {
    let window;
    let why = "";
    try {
      window = await attempt(live);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused) return on.refused(error.message);
      why = error.message;
    }
    if (signal.aborted) return;
    // Cut off between the last event and the word that it was the last.
    if (on.whole()) return on.end();
    on.down(why);
    const [least, most] = window ?? [0, Math.min(BACKOFF[1], BACKOFF[0] * 2 ** failures++)];
    await pause(least + Math.random() * (most - least), signal);
  }
}

/** What a close notice means: when to come back, or that there is no coming back. */
function retryWindow({ code, retry }) {
  if (Array.isArray(retry)) return retry;
  throw new Refused(code);
}

function openEventSource(room, on, signal) {
  const attempt = (live) => new Promise((done, fail) => {
    // From here the browser reconnects by itself, with the id of the last event it saw; only an answer that is no
    // stream makes it give up.
    const source = new EventSource(address("sse", { room, from: on.cursor() }));
    const listen = (name, take) => source.addEventListener(name, (event) => {
      if (!signal.aborted) take(JSON.parse(event.data), event.lastEventId);
    });
    signal.addEventListener("abort", () => { source.close(); done(); }, { once: true });
    listen("tidings.joined", ({ cursor, recovered }) => {
      if (recovered) on.at(cursor); // else a gap comes next, and sets it
      live();
    });
    listen("tidings.gap", ({ id, reason }) => on.gap(id, reason));
    // Left open, the browser would come back once more, and learn from an empty answer that this was all.
    listen("tidings.end", () => on.end());
    listen("tidings.close", (notice) => {
      try {
        retryWindow(notice); // the stream names the time itself, and the browser keeps to it
      } catch (error) {
        source.close();
        fail(error);
      }
    });
    for (const name of EVENTS) listen(name, (data, id) => on.event(id, name, data));
    source.onerror = () => {
      if (signal.aborted) return;
      if (source.readyState === EventSource.CLOSED) done();
      else on.down("");
    };
  });
  keepTrying(attempt, on, signal);
}

function openWebSocket(room, on, signal) {
  const take = (frame, live) => {
    switch (frame.type) {
      case "joined":
        if (frame.recovered) on.at(frame.cursor);
        return live();
      case "event": return on.event(frame.id, frame.event, frame.data);
      case "gap": return on.gap(frame.id, frame.reason);
      case "end": return on.end();
    }
  };
  const attempt = (live) => new Promise((done, fail) => {
    const url = new URL(address("ws", { room, from: on.cursor() }), location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:"; // older browsers take no other here
    const socket = new WebSocket(url);
    const stop = () => socket.close();
    let closing = null;
    signal.addEventListener("abort", stop, { once: true });
    socket.onmessage = ({ data }) => {
      if (signal.aborted) return;
      const frame = JSON.parse(data);
      if (frame.type === "close") closing = frame;
      else take(frame, live);
    };
    socket.onclose = () => {
      signal.removeEventListener("abort", stop);
      try {
        done(closing ? retryWindow(closing) : undefined);
      } catch (error) {
        fail(error);
      }
    };
  });
  keepTrying(attempt, on, signal);
}

function openLongPoll(room, on, signal) {
  const attempt = async (live) => {
    // The first poll answers at once, so that the page knows where it stands.
    for (let wait = 0; ; wait = POLL_WAIT) {
      const from = on.cursor();
      const where = from === "start" ? { from } : { cursor: from };
      const answer = await request(address("poll", { room, ...where, wait }), {
        signal: AbortSignal.any([signal, AbortSignal.timeout(wait * 1_000 + REPLY_TIME)]),
      });
      if (signal.aborted) return;
      if (answer === null) return on.end();
      let closing = null;
      for (const item of answer.events) {
        if (item.type === "event") on.event(item.id, item.event, item.data);
        else if (item.type === "gap") on.gap(item.id, item.reason);
        else if (item.type === "end") return on.end();
        else if (item.type === "close") closing = item;
      }
      on.at(answer.cursor);
      if (closing) return retryWindow(closing);
      live();
      await pause(POLL_PAUSE, signal);
      if (signal.aborted) return;
    }
  };
  keepTrying(attempt, on, signal);
}

/** Resolves to what was answered, null where the answer is empty and final. */
async function request(url, options) {
  let response;
  let answer = null;
  try {
    response = await fetch(url, { cache: "no-store", ...options });
    if (response.status !== 204) answer = await response.json();
  } catch (error) {
    if (error.name === "TimeoutError") throw new Error("the server gave no answer");
    throw new Error(response ? `the server answered ${response.status}` : "the server cannot be reached");
  }
  if (response.ok) return answer;
  const message = answer?.message ?? `the server answered ${response.status}`;
  const final = response.status >= 400 && response.status < 500 && ![408, 429].includes(response.status);
  throw final ? new Refused(message) : new Error(message);
}
