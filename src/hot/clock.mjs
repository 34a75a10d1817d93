// The deadlines of one stream: first byte, idle between two reads, total. Decides when one has passed; what then
// happens is its owner's. One timer for all of them, re-armed only when it fires, so that a read costs no timer.

const NAMES = { first: "no first byte", idle: "no byte", total: "not finished" };

export class Deadlines {
  #limits;
  #begun = performance.now();
  #last = null;
  #timer = null;
  #onPassed;

  /** Limits in ms; 0 means none. `onPassed(message)` is called once. */
  constructor({ first = 0, idle = 0, total = 0 }, onPassed) {
    this.#limits = { first, idle, total };
    this.#onPassed = onPassed;
    this.#arm();
  }

  /** Bytes came, at `now`. */
  touch(now) {
    const first = this.#last === null;
    this.#last = now;
    // The timer waits for the first byte's deadline; the idle one may be nearer.
    if (first) this.#arm();
  }

  /** A pending timer would keep the object from hibernating. */
  clear() {
    clearTimeout(this.#timer);
    this.#timer = null;
  }

  #next() {
    const { first, idle, total } = this.#limits;
    const due = [];
    if (this.#last === null && first > 0) due.push({ name: "first", limit: first, at: this.#begun + first });
    if (this.#last !== null && idle > 0) due.push({ name: "idle", limit: idle, at: this.#last + idle });
    if (total > 0) due.push({ name: "total", limit: total, at: this.#begun + total });
    return due.sort((a, b) => a.at - b.at)[0] ?? null;
  }

  #arm() {
    this.clear();
    const next = this.#next();
    if (next === null) return;
    const wait = next.at - performance.now();
    if (wait > 0) {
      // A timer may fire a little early by the clock that judges it; the check above then arms a short one.
      this.#timer = setTimeout(() => this.#arm(), Math.ceil(wait));
      return;
    }
    this.#onPassed(`${NAMES[next.name]} within ${next.limit} ms`);
  }
}
