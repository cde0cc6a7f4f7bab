// A link over long-polling: one complete answer after the other.

import { isPosition } from "../reader.js";
import { address, ask, outcomeOf, unreachable, wrongType } from "./request.js";

/** Polls. The first answer comes at once and says where each room stands; the next ones are asked for from there. */
export function openPoll(context, { rooms, token, wait }, on) {
  const ender = new AbortController();
  const at = new Map(rooms.map(({ room, from }) => [room, from]));

  const take = (item) => {
    const { type, room, cursor, recovered, id } = item;
    if (type === "event" || type === "gap") id && at.set(room, id);
    else if (type === "joined") recovered && at.set(room, cursor);
    else if (type === "end" || type === "error") at.delete(room);
    on.message(item);
  };
  const poll = async (more) => {
    const froms = [...at].map(([room, from]) => ({ room, from }));
    const response = await ask(context, address(context.base, "poll", froms, more), { token, signal: ender.signal });
    if (response.status === 204) return on.over();
    if (!response.ok) return on.ended(await outcomeOf(response));
    if (!response.headers.get("content-type")?.startsWith("application/json")) return on.ended(wrongType(response));
    on.opened();
    const { events } = await response.json();
    on.alive();
    if (events.length === 0) on.message({ type: "alive" });
    for (const item of events) {
      if (ender.signal.aborted) return;
      take(item);
    }
    return true;
  };
  const run = async () => {
    let more = { hello: 1 };
    // Rooms that ended leave nothing to ask for; the machine closes a link without rooms.
    while (await poll(more) && at.size > 0 && !ender.signal.aborted) {
      more = { wait: wait() };
      for (const from of at.values()) if (!isPosition(from)) throw new Error("no word of its rooms");
    }
  };

  run().catch((error) => on.ended(unreachable(error)));
  return { close: () => ender.abort() };
}

/** What came since a place in one room, or nothing if the room has ended before it. */
export async function peek(context, room, from, token) {
  const signal = AbortSignal.timeout(PEEK_TIME);
  const url = address(context.base, "poll", [{ room, from }], { hello: 1 });
  const response = await ask(context, url, { token, signal });
  if (response.status === 204) return [{ type: "end", room }];
  if (!response.ok) throw await outcomeOf(response);
  return (await response.json()).events;
}

/** Milliseconds until an answer is given up that should come at once. */
const PEEK_TIME = 10_000;
