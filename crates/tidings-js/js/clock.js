// A clock for timers: it goes on through a sleep and never back.

/**
 * Milliseconds since it was made. Monotonic clocks stand still while some systems sleep, and clocks on the wall are
 * set; of the two, this goes with the one that went further.
 */
export class Clock {
  #now = 0;
  #steady = performance.now();
  #wall = Date.now();

  now() {
    const [steady, wall] = [performance.now(), Date.now()];
    this.#now += Math.max(0, steady - this.#steady, wall - this.#wall);
    [this.#steady, this.#wall] = [steady, wall];
    return this.#now;
  }
}
