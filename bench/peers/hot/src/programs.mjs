// The programs in JavaScript: ours through wasm, and the npm packages beside it (rivals.mjs, bundled by bench/hot.py).
import module from "./hot/edgeloop.wasm";
import table from "./hot/o200k.bin";
import { instantiate, Kernels, withTable } from "./hot/kernels.mjs";

const kernels = new Kernels(module, withTable(table));
const texts = new Map();
const NOTHING = new Uint8Array(0);
const encoder = new TextEncoder();

/** Keep texts (Uint8Array each), as bytes, as strings and as the frames that kernels take. */
export function put(name, bytes) {
  const copies = Array.from(bytes, (text) => Uint8Array.from(text));
  const decoder = new TextDecoder();
  texts.set(name, {
    bytes: copies,
    strings: copies.map((text) => decoder.decode(text)),
    frames: frames(copies),
  });
}

function frames(parts) {
  const size = parts.reduce((sum, part) => sum + part.length, 4 * parts.length);
  const out = new Uint8Array(size);
  const view = new DataView(out.buffer);
  let at = 4 * parts.length;
  parts.forEach((part, i) => {
    view.setUint32(4 * i, part.length, true);
    out.set(part, at);
    at += part.length;
  });
  return out;
}

const total = (items, f) => items.reduce((sum, item) => sum + f(item), 0);
const lines = (text) => text.split("\n");

const framed = new Map();

/** A conversation of these blocks, one call each; every fifth is about the same file. Answers its plans' bytes. */
function judge(bytes, role) {
  const key = `${role}`;
  if (framed.get(key)?.bytes !== bytes) {
    const path = (i) => encoder.encode(`file ${i % 5}`);
    const block = (text, i) => frames([Uint8Array.of(role), NOTHING, NOTHING, path(i), NOTHING, text]);
    framed.set(key, { bytes, blocks: bytes.map(block) });
  }
  kernels.call("analysis_open", NOTHING, 1, 6 << 20);
  return total(framed.get(key).blocks, (block) => kernels.call("analysis_enter", block, 1, 1));
}

const programs = {
  nothing: () => 0,
  "count-load": () => kernels.call("count_tokens", NOTHING),
  // What counting holds after a pass over the texts: wasm memory and the table's own bytes.
  memory: ({ bytes }) => {
    const wasm = instantiate(module);
    const give = (data) => {
      const address = wasm.input(data.length);
      new Uint8Array(wasm.memory.buffer, address, data.length).set(data);
    };
    give(new Uint8Array(table));
    wasm.count_load(0, table.byteLength);
    for (const text of bytes) {
      give(text);
      wasm.count_tokens(text.length);
    }
    return wasm.memory.buffer.byteLength + table.byteLength;
  },
  count: ({ bytes }) => total(bytes, (text) => kernels.call("count_tokens", text)),
  "gpt-tokenizer": ({ strings }, rivals) => total(strings, rivals.gptCount),
  "ai-tokenizer": ({ strings }, rivals) => total(strings, rivals.aiCount),
  unified: ({ frames }) => kernels.call("diff_unified", frames, 3, 0),
  "fast-myers": ({ strings }, rivals) => [...rivals.myers(lines(strings[0]), lines(strings[1]))].length,
  merge: ({ frames }) => kernels.call("merge3", frames, 0, 0),
  "node-diff3": ({ strings: [base, ours, theirs] }, rivals) =>
    rivals.merge(lines(ours), lines(base), lines(theirs)).result.length,
  claims: ({ bytes: [changes] }) => {
    kernels.call("claims_open", NOTHING, 1);
    const clashes = kernels.call("claims_add", changes, 1) / 20;
    kernels.call("claims_close", NOTHING, 1);
    return clashes;
  },
  // Texts are only looked up, results are also put in shapes and sketched; all are counted where they fold.
  "judge-texts": ({ bytes }) => judge(bytes, 0),
  "judge-results": ({ bytes }) => judge(bytes, 2),
  templates: ({ bytes }) => total(bytes, (text) => kernels.call("analysis_templates", text)),
  sketch: ({ bytes }) => total(bytes, (text) => kernels.call("analysis_sketch", text)),
  growing: ({ bytes }) => {
    kernels.call("growing_open", NOTHING, 1);
    const answer = bytes.reduce((_, text) => kernels.call("growing_append", text, 1), 0);
    kernels.call("growing_close", NOTHING, 1);
    return answer;
  },
};
const RIVALS = new Set(["gpt-tokenizer", "ai-tokenizer", "fast-myers", "node-diff3"]);

/** Run a program `times` over; answers what it answered last. */
export async function run(program, name, times) {
  const rivals = RIVALS.has(program) ? await import("./rivals.mjs") : null;
  let answer = 0;
  for (let i = 0; i < times; i += 1) answer = programs[program](texts.get(name), rivals);
  return answer;
}
