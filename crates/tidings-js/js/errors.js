// What goes wrong, with a code for programs: those of the protocol, and the client's own.

/**
 * Why something was not done. `code` is one of the protocol's, or one of the client's own: `queue_full`, `closed`,
 * `wrong_type`, and `refused` where the answer has no code, but a `status`.
 */
export class TidingsError extends Error {
  /**
   * @param {string} code for programs
   * @param {string} message for people
   * @param {number} [status] the HTTP status that said so
   */
  constructor(code, message, status) {
    super(message);
    this.name = "TidingsError";
    this.code = code;
    if (status) this.status = status;
  }
}

/** An error from the outcome of a link or of a request. */
export function errorOf({ code, message, status, reason, closeCode }) {
  // A proxy or another server gives no code of the protocol.
  return new TidingsError(code ?? "refused", message ?? `the server answered ${status ?? closeCode ?? reason}`, status);
}

/** Whether asking again would only be told the same. */
export function isFinal({ status, final }) {
  return final === true || (status >= 400 && status < 500 && !PASSING.includes(status));
}

/** Refusals that pass: new credentials, time, a smaller body. */
const PASSING = [401, 408, 413, 421, 425, 429];

/**
 * What the end of a link means.
 * @returns {{means: "renew" | "stop" | "wait", retry?: [number, number], blameless?: boolean}}
 */
export function verdict(outcome) {
  const { status, code, closeCode, told } = outcome;
  if (status === 401 || code === "unauthorized" || code === "expired" || closeCode === 1008) return { means: "renew" };
  const retry = Array.isArray(outcome.retry) ? outcome.retry : CLOSE_CODES[closeCode];
  if (isFinal(outcome) || (told && !retry)) return { means: "stop" };
  // A server that says when to come back, or that refuses a message, is no failure of the transport.
  return { means: "wait", retry, blameless: retry !== undefined || closeCode === TOO_LARGE };
}

/** The close code for a message that the server does not take. */
export const TOO_LARGE = 1009;
/** What close codes mean without a word before them (PROTOCOL.md section 4). */
const CLOSE_CODES = { 1012: [500, 5_000], 1013: [5_000, 15_000] };
