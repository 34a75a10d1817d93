// The stream decoders of edgeloop.wasm, as JS objects. Decides when their instance is made and when it is given up;
// what the bytes mean is rust-wasm/core/src/decode. They have an instance of their own: a trap elsewhere must not end
// the streams of all agents. A decoder is named by a number that is never used again, so a stale one meets no other agent's.
import { instantiate } from "./kernels.mjs";

/** Names by number, as in `Dialect` in Rust. */
export const DIALECTS = [
  "anthropic",
  "openai-chat",
  "openai-responses",
  "gemini",
  "workers-ai",
  "gemini-interactions",
];

/** What a record is (`Tag` in Rust). */
export const TAG = { OP: 0, TEXT: 1, REASONING: 2, ARGS: 3, PING: 4, CALL: 5, DUE: 6, END: 7, BLOCK: 8 };

const RECORD = 6;
/** Arguments of `decode_open` and `decode_partial`: pieces of arguments are for tools that look into a stream. */
const WITHOUT_ARGS = 0;
const OPEN_ONLY = 1;
const REFUSED = 0xffffffff;
/** A result larger than this leaves a buffer behind that is worth giving back. */
const LARGE = 1 << 20;
let lastKey = 0;
const NOTHING = { count: 0, numbers: new Uint32Array(0), text: "" };

/** The decoder's instance died, and this stream's state with it. */
export class DecoderLost extends Error {
  name = "DecoderLost";
}

/** All decoders of this isolate. */
export class Decoders {
  #module;
  #instance = null;

  constructor(module) {
    this.#module = module;
  }

  /** A decoder for one response; `free` it when done. Throws a RangeError for an unknown dialect. */
  open(dialect) {
    const number = DIALECTS.indexOf(dialect);
    if (number < 0) throw new RangeError(`dialect ${dialect} is none of ${DIALECTS.join(", ")}`);
    if (!this.#instance?.alive) this.#instance = new Instance(this.#module);
    return new Decoder(this.#instance, number);
  }
}

class Instance {
  alive = true;
  #wasm;
  #bytes = new Uint8Array(0);
  // Without ignoreBOM a text that begins with U+FEFF would lose it.
  #utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

  constructor(module) {
    this.#wasm = instantiate(module);
  }

  #memory() {
    // Growth detaches every older view.
    const { buffer } = this.#wasm.memory;
    if (this.#bytes.buffer !== buffer) this.#bytes = new Uint8Array(buffer);
    return this.#bytes;
  }

  /** Run an export over `bytes` and the numbers before their length. */
  call(name, bytes, ...numbers) {
    if (!this.alive) throw new DecoderLost(`${name}: the decoder's instance is gone`);
    try {
      const length = bytes === null ? 0 : bytes.length;
      if (length > 0) {
        const address = this.#wasm.input(length) >>> 0;
        this.#memory().set(bytes, address);
      }
      return this.#wasm[name](...numbers, length) >>> 0;
    } catch (error) {
      this.alive = false;
      throw new DecoderLost(`${name}: ${error.message}`, { cause: error });
    }
  }

  /** The records that `decode_take` left in the output: their numbers, and their texts as one string. */
  records(length) {
    if (length === 0) return NOTHING;
    const start = this.#wasm.output() >>> 0;
    const memory = this.#memory();
    const count = new Uint32Array(memory.buffer, start, 1)[0];
    const numbers = new Uint32Array(memory.buffer, start + 4, count * RECORD).slice();
    const text = this.#utf8.decode(memory.subarray(start + 4 + 4 * RECORD * count, start + length));
    this.#trim(length);
    return { count, numbers, text };
  }

  /** The output as text. */
  text(length) {
    const start = this.#wasm.output() >>> 0;
    const text = this.#utf8.decode(this.#memory().subarray(start, start + length));
    this.#trim(length);
    return text;
  }

  #trim(length) {
    if (length > LARGE) this.#wasm.trim();
  }
}

/** How soon a decoder's records want to be taken (`Urgency` in Rust). */
export const URGENCY = { IDLE: 0, LIVE: 1, DUE: 2 };

/** Decodes one response: `feed` and `finish` say how urgent it is to `take` what they brought. */
export class Decoder {
  #instance;
  #key = (lastKey += 1);

  constructor(instance, dialect) {
    this.#instance = instance;
    this.#run("decode_open", null, dialect, WITHOUT_ARGS);
  }

  #run(name, bytes, ...numbers) {
    const answer = this.#instance.call(name, bytes, this.#key, ...numbers);
    if (answer === REFUSED) throw new DecoderLost(`${name}: no such decoder`);
    return answer;
  }

  feed(bytes) {
    return this.#run("decode_feed", bytes);
  }

  finish() {
    return this.#run("decode_finish", null);
  }

  /** The records since the last time: `count`, per record RECORD numbers `tag, block, off, bytes, units, deltas`, and
   *  their texts as one string. */
  take() {
    return this.#instance.records(this.#run("decode_take", null));
  }

  /** The text and reasoning of the blocks that are not complete, as a JSON array. */
  partial() {
    return this.#instance.text(this.#run("decode_partial", null, OPEN_ONLY));
  }

  free() {
    if (this.#instance.alive) this.#run("decode_close", null);
  }
}

/** Call `on(tag, block, off, text, deltas)` for each record. */
export function eachRecord({ count, numbers, text }, on) {
  let at = 0;
  for (let i = 0; i < count * RECORD; i += RECORD) {
    const units = numbers[i + 4];
    const own = units === text.length ? text : text.slice(at, at + units);
    at += units;
    on(numbers[i], numbers[i + 1], numbers[i + 2], own, numbers[i + 5]);
  }
}
