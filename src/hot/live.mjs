// The attached sockets of one agent. Decides who is sent a live frame and who is too far behind to be sent any more;
// knows nothing of what the frames say. A socket that is dropped loses nothing: its client comes back with its cursor.

/** Unsent bytes that a socket may have for a moment (a snapshot for who just came), and those it may never have. */
const MAX_BEHIND = 1 << 20;
const MAX_EVER = 16 << 20;
/** Characters sent between two looks at `bufferedAmount`, which is a call out of JS. */
const LOOK_EVERY = 64 << 10;
/** "Try again later": the code that tells a client to reconnect. */
const TRY_AGAIN = 1013;

export class Live {
  #sockets = new Map();
  #patienceMs;

  /** A socket may be MAX_BEHIND for `patienceMs`. */
  constructor({ patienceMs = 5000 } = {}) {
    this.#patienceMs = patienceMs;
  }

  get size() {
    return this.#sockets.size;
  }

  add(ws, key) {
    this.#sockets.set(ws, { key, unseen: 0, behindSince: null });
  }

  drop(ws) {
    this.#sockets.delete(ws);
  }

  has(ws) {
    return this.#sockets.has(ws);
  }

  /** Send one frame, encoded by the caller once for all, to every socket but `except`. */
  send(frame, except = null) {
    for (const [ws, state] of this.#sockets) {
      if (ws !== except) this.#sendOne(ws, state, frame);
    }
  }

  /** Send a frame to one socket, if it is attached. */
  sendTo(ws, frame) {
    const state = this.#sockets.get(ws);
    if (state) this.#sendOne(ws, state, frame);
  }

  #sendOne(ws, state, frame) {
    try {
      ws.send(frame);
    } catch {
      return this.#giveUp(ws, "gone");
    }
    state.unseen += frame.length;
    if (state.unseen >= LOOK_EVERY) {
      state.unseen = 0;
      if (this.#isTooFarBehind(ws.bufferedAmount, state)) this.#giveUp(ws, "too far behind");
    }
  }

  #isTooFarBehind(unsent, state) {
    if (unsent <= MAX_BEHIND) {
      state.behindSince = null;
      return false;
    }
    const now = performance.now();
    state.behindSince ??= now;
    return unsent > MAX_EVER || now - state.behindSince > this.#patienceMs;
  }

  #giveUp(ws, reason) {
    this.#sockets.delete(ws);
    try {
      ws.close(TRY_AGAIN, reason);
    } catch {
      // Closed already.
    }
  }
}
