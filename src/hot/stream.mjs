// The pump: a model's answer goes through the Rust decoder to the sockets, and Python is woken only when something is
// complete. Decides what is sent when, and how a stream ends: by its own word, by a refusal, a deadline, a person, a broken
// connection. Knows no provider and no session; plain Node can run it.
//
// Text never wakes Python, and goes out at once; only what comes faster than a person can see, within WINDOW_MS of the
// last frame, waits for the window's end and shares one. A complete call and the end are handed over at once, all that
// one read brought together; what can wait, a finished text too, rides along with the next: a wake is a row of the log.
import { Deadlines } from "./clock.mjs";
import { TAG, URGENCY, eachRecord } from "./decoder.mjs";
import { Recovery } from "./recovery.mjs";
import { Timing } from "./timing.mjs";

/** A read of a fast stream brings one delta, and a frame costs more than all else: share it. */
const WINDOW_MS = 2;
/** Bytes asked for per read. */
const READ_BYTES = 64 << 10;
/** How long to go on reading after the end: a body read to its last byte leaves the connection usable. */
const DRAIN_MS = 1000;
/** Of a refusal's body. */
const REFUSAL_BYTES = 64 << 10;
const REFUSAL_MS = 10_000;

/** One streamed answer. Options:
 *  `send` (takes an AbortSignal, gives the Response), `onHead` (told `{status, headers}` as JSON), `dialect`, `step` and `attempt`
 *  for the frames, `live` (live.mjs), `sql` (optional), `firstMs`, `idleMs`, `totalMs` (0: none; the clock starts here).
 */
export class Pump {
  #decoder;
  #live;
  #abort = new AbortController();
  #frame;
  #deadlines;
  #recovery;
  #timing = new Timing();
  #grown = 0;
  #shownAt = -Infinity;
  #window = null;
  #batch = [];
  #finished = [];
  #inHand = [];
  #due = false;
  #waiting = null;
  #ended = false;
  #handedOver = false;
  #rest = null;

  constructor(decoders, { send, onHead, dialect, step, attempt, live, sql, firstMs, idleMs, totalMs }) {
    this.#decoder = decoders.open(dialect);
    this.#live = live;
    this.#frame = `"step":${step},"attempt":${attempt},"block":`;
    const limits = { first: firstMs, idle: idleMs, total: totalMs };
    this.#deadlines = new Deadlines(limits, (message) => this.#timedOut(message));
    this.#recovery = new Recovery({ sql, step, attempt }, () => this.partial());
    this.#run(send, onHead);
  }

  /** The next operations due, as a JSON array; null after those with the last one. One call at a time; asking again
   *  says that what was handed over before is in the log. */
  async next() {
    this.#inHand = [];
    if (this.#handedOver) return null;
    if (!this.#due) await new Promise((resolve) => (this.#waiting = resolve));
    const batch = `[${this.#batch.join(",")}]`;
    this.#inHand = this.#finished;
    this.#batch = [];
    this.#finished = [];
    this.#due = false;
    this.#handedOver = this.#ended;
    this.#timing.wakes += 1;
    return batch;
  }

  /** The text and reasoning shown so far that the log does not know, as a JSON array of blocks. A socket added at once
   *  after this call gets exactly what follows. What was handed over counts as unknown until `next` is called again:
   *  between a promise and the Python that awaits it, other handlers run. */
  partial() {
    if (this.#window !== null) this.#onWindow();
    const finished = [...this.#inHand, ...this.#finished];
    if (finished.length === 0) return this.rest();
    const shown = [...finished.map(asShown), ...JSON.parse(this.rest())].filter(({ text }) => text !== "");
    return JSON.stringify(shown.sort((a, b) => a.block - b.block));
  }

  /** The text and reasoning of the blocks that are not complete, as a JSON array; after the end, those that never will be. */
  rest() {
    return this.#rest ?? this.#decoder.partial();
  }

  /** A person stopped it. */
  abort(reason) {
    this.#endWith("aborted", String(reason), { retryable: false, always: true });
  }

  /** What `Timing.summary` says, as JSON. */
  stats() {
    return JSON.stringify(this.#timing.summary());
  }

  async #run(send, onHead) {
    let reader = null;
    try {
      const { status, headers, body } = await send(this.#abort.signal);
      if (this.#ended) return body?.cancel().catch(() => {});
      onHead(JSON.stringify({ status, headers: Object.fromEntries(headers) }));
      if (status !== 200) return await this.#refused(status, body);
      if (!body) return this.#endWith("truncated", "the answer has no body", { retryable: true });
      reader = new BodyReader(body);
      await this.#read(reader);
    } catch (error) {
      // Our own abort makes the read fail too; then the end is known already.
      const cls = error.name === "DecoderLost" ? "interrupted" : "connection";
      this.#endWith(cls, error.message, { retryable: true });
    }
    reader?.cancel();
  }

  /** What a refusal says is for Python to judge: `{op: "refused", status, body}` stands for the end. */
  async #refused(status, body) {
    this.#deadlines.clear();
    const text = body ? await beginning(body, REFUSAL_BYTES, REFUSAL_MS) : "";
    this.#abort.abort();
    if (this.#ended) return;
    this.#end(JSON.stringify({ op: "refused", status, body: text }));
    this.#wake();
  }

  async #read(reader) {
    while (!this.#ended) {
      const { done, value } = await reader.read();
      if (this.#ended) return;
      if (done) {
        this.#decoder.finish();
        this.#take();
        return;
      }
      if (value.length > 0) this.#feed(value);
      reader.reuse(value);
    }
    await drain(reader);
  }

  #feed(bytes) {
    const now = performance.now();
    this.#deadlines.touch(now);
    this.#timing.read(bytes.length, now);
    const urgency = this.#decoder.feed(bytes);
    if (urgency === URGENCY.IDLE) return;
    if (urgency === URGENCY.DUE || now - this.#shownAt >= WINDOW_MS) {
      this.#shownAt = now;
      this.#take();
    } else {
      this.#window ??= setTimeout(() => this.#onWindow(), WINDOW_MS);
    }
  }

  #onWindow() {
    this.#shownAt = performance.now();
    try {
      this.#take();
    } catch (error) {
      this.#endWith("interrupted", error.message, { retryable: true });
    }
  }

  /** Show what is to be shown, keep what is to be handed over; `last` may put another end in place of the stream's. */
  #take(last = (op) => op) {
    clearTimeout(this.#window);
    this.#window = null;
    eachRecord(this.#decoder.take(), (tag, block, off, text, deltas) => {
      switch (tag) {
        case TAG.TEXT:
          return this.#show("text", block, off, text, deltas);
        case TAG.REASONING:
          return this.#show("reasoning", block, off, text, deltas);
        case TAG.CALL:
          this.#announce(block, text);
          return this.#batch.push(text);
        case TAG.OP:
          return this.#batch.push(text);
        case TAG.BLOCK:
          this.#finished.push(text);
          return this.#batch.push(text);
        case TAG.DUE:
          this.#due = true;
          return this.#batch.push(text);
        case TAG.END:
          return this.#end(last(text));
      }
    });
    this.#keep();
    this.#wake();
  }

  /** Only when all records are taken in: in between, a block that just finished is neither open nor known as finished. */
  #keep() {
    const grown = this.#grown;
    this.#grown = 0;
    if (grown > 0 && !this.#ended) this.#recovery.grew(grown);
  }

  /** `text` is escaped already, so a frame is put together without encoding anything. */
  #show(kind, block, off, text, deltas) {
    this.#timing.content();
    this.#timing.deltas += deltas;
    this.#grown += text.length;
    if (this.#live.size === 0) return;
    this.#timing.frames += 1;
    this.#live.send(`{"t":"delta",${this.#frame}${block},"kind":"${kind}","off":${off},"text":"${text}"}`);
  }

  #announce(block, op) {
    this.#timing.content();
    if (this.#live.size === 0) return;
    const name = JSON.stringify(JSON.parse(op).name);
    this.#live.send(`{"t":"call",${this.#frame}${block},"name":${name}}`);
  }

  #wake() {
    if (this.#due && this.#waiting !== null) {
      this.#waiting();
      this.#waiting = null;
    }
  }

  #end(op) {
    this.#batch.push(op);
    this.#due = true;
    this.#ended = true;
    this.#deadlines.clear();
    this.#recovery.stop();
    clearTimeout(this.#window);
    this.#close();
  }

  #close() {
    try {
      this.#rest = this.#decoder.partial();
      this.#decoder.free();
    } catch {
      this.#rest = "[]";
    }
  }

  #timedOut(message) {
    this.#endWith("timeout", message, { retryable: true });
  }

  /** End it by a word of ours. What was complete before is handed over with it, and what usage was said. Some servers
   *  say all they have to say and then leave the connection open, or reset it: then their word stands. */
  #endWith(cls, message, { retryable, always = false }) {
    if (this.#ended) return;
    const ours = JSON.stringify({ op: "error", class: cls, code: "", message, retryable });
    try {
      this.#decoder.finish();
      this.#take((last) => (!always && last.startsWith('{"op":"stop"') ? last : ours));
    } catch {
      this.#end(ours);
    }
    this.#abort.abort();
    this.#wake();
  }
}

/** A finished block as one of those that were shown. */
function asShown(op) {
  const { block, kind, text } = JSON.parse(op);
  return { block, kind, complete: true, bytes: new TextEncoder().encode(text).length, text };
}

/** A reader of whatever kind the body allows; one that fills our own buffer spares an allocation per read. */
class BodyReader {
  #reader;
  #buffer = null;

  constructor(body) {
    try {
      this.#reader = body.getReader({ mode: "byob" });
      this.#buffer = new ArrayBuffer(READ_BYTES);
    } catch {
      this.#reader = body.getReader();
    }
  }

  /** As a stream's `read`; give the value back with `reuse` before the next one. */
  read() {
    return this.#buffer === null ? this.#reader.read() : this.#reader.read(new Uint8Array(this.#buffer));
  }

  /** The buffer went into the read and came back, under another name, with its result. */
  reuse(value) {
    if (this.#buffer !== null) this.#buffer = value.buffer;
  }

  cancel() {
    this.#reader.cancel().catch(() => {});
  }
}

/** The text at the beginning of a body, as far as it comes in time. */
async function beginning(body, most, ms) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let [text, size] = ["", 0];
  const timer = setTimeout(() => reader.cancel().catch(() => {}), ms);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      text += decoder.decode(value, { stream: true });
      if ((size += value.length) > most) break;
    }
  } catch {
    // The status alone tells enough.
  }
  clearTimeout(timer);
  reader.cancel().catch(() => {});
  return text;
}

/** Read on to the end of the bytes, for a while. */
async function drain(reader) {
  let timer;
  const enough = new Promise((resolve) => (timer = setTimeout(resolve, DRAIN_MS)));
  const rest = (async () => {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      reader.reuse(value);
    }
  })();
  await Promise.race([rest.catch(() => {}), enough]);
  clearTimeout(timer);
}
