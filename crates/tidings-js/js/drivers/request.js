// Requests: how they are made, and what is to be learned from an answer that is none.

import { windowFrom } from "../backoff.js";

/** The address of an endpoint, with the rooms and where to begin in each. */
export function address(base, endpoint, rooms, more = {}) {
  const query = new URLSearchParams(more);
  for (const { room, from } of rooms) {
    query.append("room", room);
    query.append("from", from);
  }
  return `${base}/${endpoint}?${query}`;
}

/** Asks, never through a cache. */
export function ask({ fetch, credentials }, url, { token, headers, ...more }) {
  if (token) headers = { ...headers, authorization: `Bearer ${token}` };
  return fetch(url, { cache: "no-store", credentials, headers, ...more });
}

/** What an answer says that is not the one that was asked for. */
export async function outcomeOf(response) {
  const { status } = response;
  const after = response.headers.get("retry-after");
  const seconds = /^\d+$/.test(after ?? "") ? Number(after) : (Date.parse(after) - Date.now()) / 1_000;
  const retry = Number.isFinite(seconds) ? windowFrom(Math.max(0, seconds * 1_000)) : undefined;
  const isJson = response.headers.get("content-type")?.startsWith("application/json");
  // A page of a proxy says nothing to us.
  const { code, message } = isJson ? await response.json().catch(() => ({})) : (await response.body?.cancel(), {});
  return { reason: "refused", status, code, message, retry };
}

/** An answer that is neither an error nor what it should be: another server, to which nothing more is said. */
export function wrongType(response) {
  const message = `no answer of a Tidings server: ${response.headers.get("content-type")}`;
  return { reason: "refused", code: "wrong_type", message, final: true };
}

/** What it means that a request failed without an answer. */
export function unreachable(error) {
  return { reason: "network", message: `the server cannot be reached (${error.message})` };
}

/** Sends commands up, and gives the answers or why there are none. */
export async function post(context, texts, token) {
  const signal = AbortSignal.timeout(REPLY_TIME);
  const headers = { "content-type": "application/json" };
  try {
    const body = `[${texts.join()}]`;
    const response = await ask(context, `${context.base}/send`, { method: "POST", headers, body, token, signal });
    if (!response.ok) return { outcome: await outcomeOf(response) };
    const answers = await response.json();
    return Array.isArray(answers) ? { answers } : { outcome: wrongType(response) };
  } catch (error) {
    return { outcome: unreachable(error) };
  }
}

/** Milliseconds until an answer is given up. */
const REPLY_TIME = 20_000;
