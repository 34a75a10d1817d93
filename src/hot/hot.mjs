// The edge's kernels, as Python sees them (src/edge/hot.py is the only caller from there).
import module from "./edgeloop.wasm";
import table from "./o200k.bin";
import { Kernels, withTable } from "./kernels.mjs";

const kernels = new Kernels(module, withTable(table));

/** Tokens of UTF-8 text. */
export const countTokens = (bytes) => kernels.call("count_tokens", bytes);

/** Tokens of `n` texts: `n` lengths (u32, little-endian), then the bytes; answers `n` counts (u32, little-endian). */
export const countBatch = (n, bytes) => kernels.callBytes("count_batch", bytes, n);
