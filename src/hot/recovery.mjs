// The packed recovery row of one stream: what was shown and is not in the log yet, so that an eviction loses a second
// of it at most. Decides when to write; the table is the store's (src/edge/store.py). Never written per delta: the
// output gate would hold every frame behind the write.

const EVERY_MS = 1000;
/** Per stream of this isolate. A local write blocks the one thread for the disk (1 to 5 ms measured), so many streams
 *  share a budget of 25 writes a second. */
const EVERY_MS_PER_STREAM = 40;
const EVERY_MS_AT_MOST = 20_000;
const EVERY_BYTES = 8 << 10;
const WRITE = "INSERT OR REPLACE INTO recovery (id, step, attempt, blocks) VALUES (1, ?, ?, ?)";
/** A row may hold 2 MB: a longer text is more rows of the same step and attempt. */
const MORE = "INSERT OR REPLACE INTO recovery (id, step, attempt, blocks) VALUES (?, ?, ?, ?)";
const FEWER = "DELETE FROM recovery WHERE id > ?";
const PART_CHARS = 400_000;

let streams = 0;

/** How many streams of this isolate run now. */
export const streaming = () => streams;

export class Recovery {
  #sql;
  #step;
  #attempt;
  #blocks;
  #unsaved = 0;
  #savedBytes = 0;
  #saved = null;
  #rows = 1;
  #timer = null;

  /** `blocks()` is the JSON to keep. Without `sql` nothing is kept. */
  constructor({ sql, step, attempt }, blocks) {
    this.#sql = sql ?? null;
    this.#step = step;
    this.#attempt = attempt;
    this.#blocks = blocks;
    streams += 1;
  }

  /** So many bytes more were shown. */
  grew(bytes) {
    if (this.#sql === null) return;
    this.#unsaved += bytes;
    // A row holds whole blocks, so it is rewritten by share as they grow: the total stays linear in the text.
    if (this.#unsaved >= Math.max(EVERY_BYTES, this.#savedBytes / 4)) return this.#save();
    this.#timer ??= setTimeout(() => this.#save(), pace());
  }

  /** The stream is over. To be called once. */
  stop() {
    streams -= 1;
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#sql = null;
  }

  #save() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#unsaved = 0;
    const blocks = this.#blocks();
    if (blocks === this.#saved) return;
    this.#saved = blocks;
    this.#savedBytes = blocks.length;
    try {
      const [first, ...rest] = parts(blocks);
      this.#sql.exec(WRITE, this.#step, this.#attempt, first);
      rest.forEach((part, n) => this.#sql.exec(MORE, n + 2, this.#step, this.#attempt, part));
      if (rest.length + 1 < this.#rows) this.#sql.exec(FEWER, rest.length + 1);
      this.#rows = rest.length + 1;
    } catch (error) {
      // The stream is worth more than its safety net.
      console.error(`recovery row not written: ${error.message}`);
      this.#sql = null;
    }
  }
}

/** Pieces of a text, none of which ends in half a character. */
function parts(text) {
  const found = [];
  for (let from = 0, to; from === 0 || from < text.length; from = to) {
    to = from + PART_CHARS;
    if (to < text.length && (text.charCodeAt(to - 1) & 0xfc00) === 0xd800) to -= 1;
    found.push(text.slice(from, to));
  }
  return found;
}

const pace = () => Math.min(Math.max(EVERY_MS, streams * EVERY_MS_PER_STREAM), EVERY_MS_AT_MOST);
