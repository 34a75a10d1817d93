// A prompt's messages as bytes, in one buffer that grows: kept on this side because a request takes them from here with
// one copy, and because Python's memory never shrinks. Knows nothing of what they say.

const COMMA = 0x2c;
/** Beside a quarter of what is there: most sessions of an isolate are idle, and each keeps this. */
const SPARE = 1 << 10;

export class PromptBytes {
  #bytes = new Uint8Array(0);
  size = 0;
  /** How many of them are in sealed segments; the rest is the open tail. */
  sealed = 0;

  /** Add messages; a comma goes between. */
  append(messages) {
    if (messages.length === 0) return;
    this.#reserve(messages.length + 1);
    if (this.size > 0) this.#bytes[this.size++] = COMMA;
    this.#put(messages);
  }

  /** Take up what was stored: rows of one segment each, in order, and the tail (ArrayBuffers). */
  restore(segments, tail) {
    const pieces = segments.map(([body]) => new Uint8Array(body));
    this.#reserve(pieces.reduce((sum, { length }) => sum + length, tail.byteLength));
    for (const piece of pieces) this.#put(piece);
    this.sealed = this.size;
    this.#put(new Uint8Array(tail));
  }

  /** The next segment of the tail, of at most so many bytes; from now on it counts as sealed. */
  seal(most) {
    const from = this.sealed;
    this.sealed = Math.min(this.size, from + most);
    return this.#bytes.slice(from, this.sealed);
  }

  tail() {
    return this.#bytes.slice(this.sealed, this.size);
  }

  /** A request's body: the messages between what goes before and after them. */
  between(before, after) {
    const body = new Uint8Array(before.length + this.size + after.length);
    body.set(before);
    body.set(this.#bytes.subarray(0, this.size), before.length);
    body.set(after, before.length + this.size);
    return body;
  }

  #put(bytes) {
    this.#bytes.set(bytes, this.size);
    this.size += bytes.length;
  }

  #reserve(more) {
    if (this.size + more <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.ceil((this.size + more) * 1.25) + SPARE);
    grown.set(this.#bytes.subarray(0, this.size));
    this.#bytes = grown;
  }
}
