// The edge's kernels, as Python sees them (src/edge/hot.py is the only caller from there).
import module from "./edgeloop.wasm";
import table from "./o200k.bin";
import { Kernels, withTable } from "./kernels.mjs";

const kernels = new Kernels(module, withTable(table));
let shared = null;
let view = null;

/** Share a bytearray of Python's (a proxy that lives on): what fits goes through it and needs no object of its own. */
export function share(bytearray) {
  shared = bytearray;
  view = shared.getBuffer("u8");
}

// The bytearray stays where it is, but Python's memory may have grown, and growth detaches every view of it.
function sharedBytes() {
  if (view.data.length === 0) {
    view.release();
    view = shared.getBuffer("u8");
  }
  return view.data;
}

/** A function that runs a kernel over the first `length` shared bytes; it answers the kernel's number. */
export const sharedCall = (name) => (length, ...numbers) =>
  kernels.call(name, sharedBytes().subarray(0, length), ...numbers);

/** Run a kernel over bytes; answers its number. */
export const call = (name, bytes, ...numbers) => kernels.call(name, bytes, ...numbers);

/** Run a kernel over bytes; answers its bytes. */
export const callBytes = (name, bytes, ...numbers) => kernels.callBytes(name, bytes, ...numbers);
