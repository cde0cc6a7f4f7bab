// A link over an event stream that is read with fetch: it can show a token, and sees statuses and comments.

import { windowFrom } from "../backoff.js";
import { EventParser } from "../parser.js";
import { address, ask, outcomeOf, unreachable, wrongType } from "./request.js";

/** Opens an event stream. */
export function openStream(context, { rooms, token }, on) {
  const ender = new AbortController();
  const parser = new EventParser();

  const read = async () => {
    const url = address(context.base, "sse", rooms, { format: "json", hello: 1 });
    const headers = { accept: "text/event-stream" };
    const response = await ask(context, url, { headers, token, signal: ender.signal });
    if (response.status === 204) return on.over();
    if (!response.ok) return on.ended(await outcomeOf(response));
    if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
      ender.abort();
      return on.ended(wrongType(response));
    }
    on.opened();
    const decoder = new TextDecoder();
    for (const reader = response.body.getReader(); ;) {
      const { done, value } = await reader.read();
      if (done) return on.ended({ reason: "ended", hint: hint() });
      on.alive();
      for (const data of parser.feed(decoder.decode(value, { stream: true }))) on.text(data);
    }
  };
  const hint = () => (parser.retry === undefined ? undefined : windowFrom(parser.retry));

  read().catch((error) => {
    ender.abort();
    on.ended({ ...unreachable(error), hint: hint() });
  });
  return { close: () => ender.abort() };
}
