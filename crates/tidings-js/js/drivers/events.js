// A link over the browser's own EventSource, for browsers that cannot read an answer while it comes. It sees no status
// and no comment, and waits as it likes; so it is closed at its first error, and the machine does the waiting.

import { address } from "./request.js";

/** Opens an EventSource. */
export function openEvents({ base, EventSource, credentials, tokenIn }, { rooms, token }, on) {
  const more = { format: "json", hello: 1, ...(token && tokenIn === "query" ? { token } : {}) };
  const source = new EventSource(address(base, "sse", rooms, more), { withCredentials: credentials === "include" });
  source.onopen = on.opened;
  source.onmessage = ({ data }) => {
    on.alive();
    on.text(data);
  };
  source.onerror = () => {
    source.close();
    on.ended({ reason: "lost" });
  };
  return { close: () => source.close() };
}
