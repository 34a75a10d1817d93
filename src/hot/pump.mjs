// The door to the pump: the one place that knows where the decoders' module comes from (src/edge/pump.py calls it).
import module from "./edgeloop.wasm";
import { Decoders } from "./decoder.mjs";
import { sender } from "./send.mjs";
import { Pump } from "./stream.mjs";

export { streaming } from "./recovery.mjs";

const decoders = new Decoders(module);

/** Make a model call; the options are `Pump`'s and `sender`'s. `take(what, json)`, a function of Python's, is called with
 *  what there is to know: "head" (the answer's status and headers), then "ops" (operations that are due) until the end. It is called
 *  from here, not awaited for there: a task and its promises cost Python a millisecond per turn. */
export function startCall(options, take) {
  const pump = new Pump(decoders, { ...options, send: sender(options), onHead: (head) => take("head", head) });
  deliver(pump, take);
  return pump;
}

async function deliver(pump, take) {
  try {
    for (let batch = await pump.next(); batch !== null; batch = await pump.next()) take("ops", batch);
  } finally {
    take.destroy();
  }
}
