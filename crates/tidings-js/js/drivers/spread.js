// Many rooms over transports that name them in the address: several requests that are one link.

/**
 * Opens a link with as many requests as the rooms need, up to a few: a browser has six connections to an HTTP/1.1 server.
 * Rooms beyond that are refused. It ends when one of them does, and is alive while all of them are.
 */
export function spread(open) {
  return (context, request, on) => {
    const { parts, rest } = split(request);
    const message = "more rooms than this transport carries";
    const alive = new Set();
    /** Parts whose rooms have all ended. */
    const over = new Set();
    const links = [];
    const close = () => links.forEach((link) => link.close());
    parts.forEach((rooms, part) => {
      const live = () => {
        alive.add(part);
        if (new Set([...alive, ...over]).size < parts.length) return;
        alive.clear();
        on.alive();
      };
      links.push(open(context, { ...request, rooms }, {
        ...on,
        opened() {
          on.opened();
          for (const { room } of rest.splice(0)) on.message({ type: "error", room, code: "too_many_rooms", message });
        },
        alive: live,
        over() {
          over.add(part);
          for (const { room } of rooms) on.message({ type: "end", room });
        },
        ended(outcome) {
          close();
          on.ended(outcome);
        },
      }));
    });
    return { close };
  };
}

function split({ rooms, limits }) {
  const most = Math.min(limits.rooms ?? MOST_ROOMS, MOST_ROOMS);
  const parts = [[]];
  let bytes = 0;
  for (const [index, entry] of rooms.entries()) {
    const size = encodeURIComponent(entry.room).length + entry.from.length + 12;
    if (parts.at(-1).length >= most || bytes + size > LONGEST_QUERY) {
      if (parts.length === MOST_REQUESTS) return { parts, rest: rooms.slice(index) };
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1).push(entry);
    bytes += size;
  }
  return { parts, rest: [] };
}

const MOST_REQUESTS = 3;
/** Rooms of one request, whatever more a server takes. */
const MOST_ROOMS = 256;
/** Bytes of an address that common proxies take, less what stands around the rooms. */
const LONGEST_QUERY = 7_000;
