// The transports that an application can name, and what each needs to be there.

import { openEvents } from "./drivers/events.js";
import { openPoll } from "./drivers/poll.js";
import { openSocket } from "./drivers/socket.js";
import { spread } from "./drivers/spread.js";
import { openStream } from "./drivers/stream.js";

/** The transports of these names that can be used here: what there is of them, and can carry the token. */
export function transports(names, context) {
  const usable = names.map((name) => {
    const choose = TRANSPORTS[name];
    if (!choose) throw new TypeError(`no transport: ${name}`);
    return { name, ...choose(context) };
  }).filter(({ open }) => open);
  if (usable.length === 0) throw new TypeError(`not to be used here: ${names}`);
  return usable;
}

/** Whether the answer to a request can be read while it comes. */
const canStream = ({ fetch }) => fetch && typeof ReadableStream === "function" && "body" in Response.prototype;

const TRANSPORTS = {
  ws: ({ WebSocket }) => ({ duplex: true, open: WebSocket && openSocket }),
  sse: (context) => {
    const { EventSource, native, hasToken, tokenIn } = context;
    if (!native && canStream(context)) return { duplex: false, open: spread(openStream) };
    return { duplex: false, open: EventSource && (!hasToken || tokenIn !== "header") && spread(openEvents) };
  },
  poll: ({ fetch }) => ({ duplex: false, open: fetch && spread(openPoll) }),
};
