// An instance of edgeloop.wasm and what it takes to call it safely. Decides when an instance is made and when it is
// given up; knows no kernel by meaning and nothing of Python or of Workers, so plain Node can run it.

/** A fresh instance's exports. The exports take and return numbers only, so whatever wasm-bindgen imports for JS
 *  values is never called with any, and empty functions satisfy it. */
export function instantiate(module) {
  const imports = {};
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    (imports[from] ??= {})[name] = () => {};
  }
  const { exports } = new WebAssembly.Instance(module, imports);
  exports.__wbindgen_start?.();
  return exports;
}

/** The instance died while it ran the call: its state is gone, the next call gets a fresh one. */
export class KernelTrapped extends Error {
  name = "KernelTrapped";
}

/** The kernel refused its arguments; the instance is unharmed. */
export class KernelRefused extends Error {
  name = "KernelRefused";
}

const REFUSED = 0xffffffff;
const KEEP = 1 << 20;

/** One lazily made instance; `setUp(kernels)` runs on each fresh one, before its first call. */
export class Kernels {
  #module;
  #setUp;
  #exports = null;

  constructor(module, setUp = () => {}) {
    this.#module = module;
    this.#setUp = setUp;
  }

  /** Run the export `name` over `bytes` (Uint8Array) and the numbers before their length; returns its number. */
  call(name, bytes, ...numbers) {
    try {
      const wasm = this.#exports ?? this.#start();
      const address = wasm.input(bytes.length);
      // A view per call: growth detaches every older one.
      new Uint8Array(wasm.memory.buffer, address, bytes.length).set(bytes);
      const answer = wasm[name](...numbers, bytes.length) >>> 0;
      if (bytes.length > KEEP) wasm.trim();
      if (answer === REFUSED) throw new KernelRefused(`${name} refused ${bytes.length} bytes of input`);
      return answer;
    } catch (error) {
      throw this.#judge(name, error);
    }
  }

  /** The same for a kernel with a bytes result; returns a copy of it. */
  callBytes(name, bytes, ...numbers) {
    const length = this.call(name, bytes, ...numbers);
    const wasm = this.#exports;
    const result = new Uint8Array(wasm.memory.buffer, wasm.output(), length).slice();
    if (length > KEEP) wasm.trim();
    return result;
  }

  #start() {
    this.#exports = instantiate(this.#module);
    this.#setUp(this);
    return this.#exports;
  }

  // A trap or a failed allocation leaves an instance in pieces (wasm-bindgen #4523): drop it.
  #judge(name, error) {
    if (error instanceof KernelRefused || error instanceof KernelTrapped) return error;
    this.#exports = null;
    return new KernelTrapped(`${name}: ${error.message}`, { cause: error });
  }
}

/** `setUp` that loads the o200k table (ArrayBuffer). */
export const withTable = (table) => (kernels) => {
  const answer = kernels.call("count_load", new Uint8Array(table), 0);
  if (answer !== 0) throw new KernelRefused(`token table refused with ${answer}`);
};
