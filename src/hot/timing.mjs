// When the bytes of one stream came, and the first of its content. Counts and gaps only; plain numbers out.

const GAPS = 4096;

export class Timing {
  #begun = performance.now();
  #first = null;
  #last = null;
  #gaps = [];
  #longest = null;
  bytes = 0;
  reads = 0;
  deltas = 0;
  frames = 0;
  wakes = 0;

  /** A read brought so many bytes, at `now`. */
  read(bytes, now) {
    this.bytes += bytes;
    this.reads += 1;
    if (this.#last !== null) this.#gap(now - this.#last);
    this.#last = now;
  }

  /** Some of what the model says was shown. A head, a ping or a role is no content. */
  content() {
    this.#first ??= performance.now() - this.#begun;
  }

  #gap(gap) {
    this.#longest = Math.max(this.#longest ?? 0, gap);
    // The median of the latest few thousand is as good as that of all, and bounded.
    this.#gaps[(this.reads - 2) % GAPS] = gap;
  }

  /** `gap_*` are between reads; null where there were too few. */
  summary() {
    const gaps = this.#gaps.toSorted((a, b) => a - b);
    const { bytes, reads, deltas, frames, wakes } = this;
    return {
      first_ms: round(this.#first),
      bytes,
      reads,
      deltas,
      frames,
      gap_p50_ms: round(gaps[gaps.length >> 1] ?? null),
      gap_max_ms: round(this.#longest),
      wakes,
    };
  }
}

const round = (ms) => (ms === null ? null : Math.round(ms * 1000) / 1000);
