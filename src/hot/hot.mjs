// The edge's kernels, as Python sees them (src/edge/hot.py is the only caller from there).
import module from "./edgeloop.wasm";
import table from "./o200k.bin";
import { Kernels, withTable } from "./kernels.mjs";

const kernels = new Kernels(module, withTable(table));

/** Run a kernel over bytes; answers its number. */
export const call = (name, bytes, ...numbers) => kernels.call(name, bytes, ...numbers);

/** Run a kernel over bytes; answers its bytes. */
export const callBytes = (name, bytes, ...numbers) => kernels.callBytes(name, bytes, ...numbers);
