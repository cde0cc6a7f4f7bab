// The types of `tidings.js`.

/** Where an event stands in its room; opaque. It is also the cursor after it. */
export type Position = string;

/** The events of a room: what each carries, by its name. */
export type Events = Record<string, unknown>;

/** The events of every room, by the room's name. */
export type AnyRooms = Record<string, Events>;

/** How a call is answered: what it takes and what it gives, by the method's name. */
export type AnyCalls = Record<string, { data: unknown; answer: unknown }>;

/** The transports, in the order in which they are tried unless another is asked for. */
export type TransportName = "ws" | "sse" | "poll";

/** `idle`: nothing is wanted. `waiting`: to try again. `closed`: for good. */
export type State = "idle" | "connecting" | "live" | "waiting" | "offline" | "closed";

/** A change of state. */
export interface StateChange {
  state: State;
  /** The transport in use, or the next to be tried. */
  transport: TransportName;
  /**
   * Why: `opening`, `opened`, `rooms`, `promoted`, `changed`, `lost`, `silent`, `slow`, `network`, `refused`, `closed`,
   * `token`, `away`, `moved` (to another tab), `nothing`; new ones may come.
   */
  reason: string;
  /** What the server has said, or what a `token` function was rejected with. */
  error?: Error;
  /** The code of what ended the connection, such as `drain`. */
  code?: string;
  /** Milliseconds until the next attempt. */
  delay?: number;
}

/** An event, as it came. */
export interface EventMessage<Data = unknown, Name extends string = string> {
  type: "event";
  room: string;
  /** Not there in ephemeral rooms. */
  id?: Position;
  event: Name;
  data: Data;
}

/** Something is missing before what comes next. */
export interface GapMessage {
  type: "gap";
  room: string;
  /** From where it goes on. */
  id: Position;
  /** `trimmed`: beyond the history. `epoch`: another history. `slow`: too slow, here or at the server. */
  reason: "trimmed" | "epoch" | "slow";
}

/** The client is in the room, again after each connection. */
export interface JoinedMessage {
  type: "joined";
  room: string;
  cursor: Position;
  /** False if a gap comes next. */
  recovered: boolean;
}

/** The event before was the room's last. */
export interface EndMessage {
  type: "end";
  room: string;
  id?: Position;
}

/** Why something was not done. */
export class TidingsError extends Error {
  /**
   * A code of the protocol (`forbidden`, `too_large`, `unknown_outcome`, …), or one of the client's own: `queue_full`,
   * `closed`, `wrong_type`, and `refused` where the answer has none.
   */
  readonly code: string;
  /** The HTTP status, where there was one. */
  readonly status?: number;
}

/** What a client can be told to do otherwise. */
export interface TidingsOptions {
  /** Which transports, in which order: all three unless set. */
  transports?: TransportName[];
  /**
   * The token, or where to get it: asked for before the first connection, and again when the server has refused the last
   * one (401, `expired`), once each time.
   */
  token?: string | (() => string | null | undefined | Promise<string | null | undefined>);
  /**
   * How a WebSocket shows the token, for which a browser can set no header of ours; requests always have it in
   * `Authorization`. `header` (the default): as a subprotocol, where the server's gate finds it as if it were there too; `query`:
   * in the address, where logs may keep it; `cookie`: a cookie of the application's speaks for it. A browser does not tell
   * why a WebSocket was refused: that the token was, the other transports find out, so leave one of them in `transports`.
   */
  tokenIn?: "header" | "query" | "cookie";
  /**
   * Whether tabs share one connection, which they can where the page is secure. Unless set they do where there is no token;
   * with one, give a text that names the user, so that only tabs of one user share.
   */
  share?: boolean | string;
  /** What `fetch` does with cookies of other origins; `same-origin` unless set. */
  credentials?: RequestCredentials;
  /** Use the browser's own EventSource for `sse`, which sees less. */
  eventSource?: boolean;
  /** Where there is no global one, such as in Node 20. */
  WebSocket?: unknown;
  /** In place of the global one. */
  fetch?: typeof fetch;
}

/** A room that the client is in. Iterating over it gives events and gaps as they come. */
export interface Room<E extends Events = Events> extends AsyncIterable<EventMessage<E[keyof E]> | GapMessage> {
  readonly name: string;
  /** Where the application stands: what to go on from, on any client. Null until the room was joined. */
  readonly cursor: Position | null;

  /** Something is missing: load anew what the room's events have built. */
  on(name: "gap", listener: (gap: GapMessage) => void): () => void;
  on(name: "joined", listener: (joined: JoinedMessage) => void): () => void;
  on(name: "end", listener: (end: EndMessage) => void): () => void;
  /** The room is not open to us; nothing more comes. */
  on(name: "error", listener: (error: TidingsError) => void): () => void;
  /** Events of every name. Those with one of the five names that are used here are heard in this way alone. */
  on(name: "event", listener: (data: E[keyof E], message: EventMessage<E[keyof E]>) => void): () => void;
  /** Events of a name. Returns what stops listening. */
  on<Name extends keyof E & string>(
    name: Name,
    listener: (data: E[Name], message: EventMessage<E[Name], Name>) => void,
  ): () => void;

  /**
   * Publishes an event, once, over however many connections it takes. Waits while there is none, in a queue of 256
   * commands or 4 MiB (`queue_full`). With a `key` of your own, publishing again within five minutes publishes nothing.
   * @returns its position, or null where the room keeps none
   */
  publish<Name extends keyof E & string>(name: Name, data: E[Name], options?: { key?: string }): Promise<Position | null>;

  leave(): void;

  /**
   * Events and gaps from here on. A loop that is more than 1000 messages behind loses them and finds a gap with the reason
   * `slow` in their place.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<EventMessage<E[keyof E]> | GapMessage>;
}

/**
 * A client of one Tidings server. It connects when something is wanted.
 *
 * ```js
 * const tidings = new Tidings("/realtime");
 * const room = tidings.join("general");
 * room.on("chat", (message, { id }) => show(message));
 * room.on("gap", () => reload());
 * await room.publish("chat", { text: "hello" });
 * ```
 */
export class Tidings<Rooms extends AnyRooms = AnyRooms, Calls extends AnyCalls = AnyCalls> {
  /**
   * @param base where the endpoints stand: a path, or outside of a page a whole address
   * @throws {TypeError} where none of the transports can be used, such as `ws` alone where there is no WebSocket
   */
  constructor(base: string | URL, options?: TidingsOptions);

  readonly state: State;
  readonly transport: TransportName | undefined;

  on(name: "state", listener: (change: StateChange) => void): () => void;

  /**
   * Enters a room: from `now` on, from its `start`, or from a cursor. In a room where the client is already, the same room
   * comes back.
   * @throws {TidingsError} `bad_room`, `bad_cursor`, `too_many_rooms`, or why the client is closed
   */
  join<Name extends keyof Rooms & string>(name: Name, options?: { from?: "now" | "start" | Position }): Room<Rooms[Name]>;

  /** Publishes into a room, whether the client is in it or not. See `Room.publish`. */
  publish<Name extends keyof Rooms & string, Event extends keyof Rooms[Name] & string>(
    room: Name,
    event: Event,
    data: Rooms[Name][Event],
    options?: { key?: string },
  ): Promise<Position | null>;

  /** Calls a method of the server's application. Rejects with `unknown_outcome` where it may have been done. */
  call<Method extends keyof Calls & string>(method: Method, data?: Calls[Method]["data"]): Promise<Calls[Method]["answer"]>;

  /** Goes on over other transports, from where every room stands; and by itself, if the connection was shared. */
  use(transports: TransportName[]): void;

  /** Ends everything. What waits is rejected with `closed`. */
  close(): void;
}
