// What the client shows to be let in: a token today; a ticket for a WebSocket would have its place here.

/** The token: given once, or asked for when it is needed and again when it is refused. */
export class Credentials {
  /** What to show: a text, or nothing. */
  token;
  /** Whether the application is being asked. */
  asking = false;
  #renewable;
  #known;
  /** The token is new because the last one was refused, and nobody has taken it yet. */
  #fresh = false;

  constructor(token, renewable) {
    this.token = token;
    this.#renewable = renewable;
    this.#known = !renewable;
  }

  /** Whether there is something to show, be it nothing. */
  get known() {
    return this.#known;
  }

  /** What the application has answered. */
  set(token) {
    this.asking = false;
    this.#known = true;
    this.token = token ?? undefined;
  }

  /** They were taken. */
  accepted() {
    this.#fresh = false;
  }

  /** They were refused. Says whether others can be had: once, until some are taken. */
  refused() {
    if (!this.#renewable || this.#fresh) return false;
    this.#fresh = true;
    this.#known = false;
    return true;
  }
}
