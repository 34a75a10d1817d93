// The door to the pump: the one place that knows where the decoders' module comes from (src/edge/pump.py calls it).
import module from "./edgeloop.wasm";
import { Decoders } from "./decoder.mjs";
import { Pump } from "./stream.mjs";

const decoders = new Decoders(module);

/** Start reading a model's streamed answer; the options and the result are described at `Pump`. */
export const startStep = (options) => new Pump(decoders, options);
