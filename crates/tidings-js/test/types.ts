// What the types allow and what they do not; compiled by types.test.mjs, never run.

import { Tidings, TidingsError, type GapMessage, type Position } from "../tidings.js";

type Rooms = {
  general: { chat: { text: string }; typing: string };
  prices: { price: number };
  [answer: `answer:${string}`]: { token: { text: string } };
};
type Calls = { rename: { data: { name: string }; answer: boolean } };

const tidings = new Tidings<Rooms, Calls>("/realtime", { transports: ["ws", "poll"], token: async () => "t", share: "user 7" });
const general = tidings.join("general", { from: "start" });

general.on("chat", ({ text }, { id, event }) => {
  const said: string = text;
  const at: Position | undefined = id;
  const name: "chat" = event;
  console.log(said, at, name);
});
general.on("gap", (gap: GapMessage) => console.log(gap.reason === "slow"));
general.on("error", (error: TidingsError) => console.log(error.code, error.status));
const stop: () => void = general.on("typing", (who: string) => console.log(who));
stop();
tidings.join("answer:7").on("token", ({ text }) => console.log(text.length));

const position: Position | null = await general.publish("chat", { text: "hello" }, { key: "k" });
const renamed: boolean = await tidings.call("rename", { name: "b" });
console.log(position, renamed);
for await (const message of general) {
  if (message.type === "gap") console.log(message.reason);
  else console.log(message.data);
}
tidings.on("state", ({ state, transport, delay }) => console.log(state === "live", transport === "sse", delay));

// @ts-expect-error: there is no such event in the room
await general.publish("chats", { text: "hello" });
// @ts-expect-error: its data is of another type
await general.publish("chat", { words: "hello" });
// @ts-expect-error: there is no such room
tidings.join("elsewhere");
// @ts-expect-error: an event of another room
tidings.join("prices").on("chat", () => {});
// @ts-expect-error: there is no such transport
tidings.use(["carrier pigeon"]);
// @ts-expect-error: the state is told, not set
tidings.state = "live";

// Without declarations anything goes.
const loose = new Tidings("/realtime");
loose.join("anything").on("whatever", (data) => console.log(data));
await loose.publish("anything", "whatever", { x: 1 });
