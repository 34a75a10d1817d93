// Runs src/hot/stream.mjs in plain Node: real streams and timers, sockets and SQL that only remember. Scenarios come as
// a JSON array on standard input (fields below), their outcomes go as a JSON array to standard output.
//   dialect, chunks [base64], pauseMs before each chunk, end "close" | "error" | "hang", limits {firstMs, idleMs, totalMs},
//   sockets [{throwsAfter, behindAfter, behind (bytes)}], patienceMs, abortAfterMs, status, headers, bodiless, unreachable (why), joinAfter (chunks), plain (no byte stream), trapAfter (feeds), slowNextMs (Python is slow to ask)
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { DecoderLost, Decoders } from "../../src/hot/decoder.mjs";
import { Live } from "../../src/hot/live.mjs";
import { Pump } from "../../src/hot/stream.mjs";

const wasm = new URL("../../src/hot/edgeloop.wasm", import.meta.url);
const decoders = new Decoders(new WebAssembly.Module(readFileSync(wasm)));

class Socket {
  frames = [];
  closed = null;
  bufferedAmount = 0;
  constructor({ throwsAfter = Infinity, behindAfter = Infinity, behind = 1 << 30 } = {}) {
    Object.assign(this, { throwsAfter, behindAfter, behind });
  }
  send(frame) {
    if (this.frames.length >= this.throwsAfter) throw new Error("closed");
    this.frames.push(frame);
    if (this.frames.length >= this.behindAfter) this.bufferedAmount = this.behind;
  }
  close(code) {
    this.closed = code;
  }
}

function bodyOf({ chunks, pauseMs = 0, end = "close", plain = false }, onChunk, cancelled) {
  let at = 0;
  return new ReadableStream(
    {
      // As in workerd, unless asked otherwise: our own buffer is filled.
      type: plain ? undefined : "bytes",
      async pull(controller) {
        if (at === chunks.length) {
          if (end === "hang") return new Promise(() => {});
          if (end === "error") return controller.error(new Error("Network connection lost."));
          controller.close();
          controller.byobRequest?.respond(0);
          return;
        }
        if (pauseMs > 0) await sleep(pauseMs);
        onChunk(at);
        controller.enqueue(new Uint8Array(Buffer.from(chunks[at++], "base64")));
      },
      cancel: cancelled,
    },
    { highWaterMark: 0 },
  );
}

// Decoders whose instance dies at the nth feed, as after a trap.
const dying = (after) => ({
  open(dialect) {
    const decoder = decoders.open(dialect);
    const feed = decoder.feed.bind(decoder);
    decoder.feed = (bytes) => {
      if (after-- === 0) throw new DecoderLost("decode_feed: unreachable");
      return feed(bytes);
    };
    return decoder;
  },
});

async function run(scenario) {
  const live = new Live({ patienceMs: scenario.patienceMs });
  const sockets = (scenario.sockets ?? [{}]).map((options) => new Socket(options));
  const joiner = new Socket();
  sockets.forEach((ws, i) => live.add(ws, `c${i}`));
  const rows = [];
  const batches = [];
  let signal = null;
  const outcome = { cancelled: false, joined: null, logged: null, unknown: [] };
  const onChunk = (at) => {
    if (at !== scenario.joinAfter) return;
    outcome.joined = pump.partial();
    outcome.logged = JSON.stringify(batches.flat());
    live.add(joiner, "joiner");
  };
  const pump = new Pump(scenario.trapAfter === undefined ? decoders : dying(scenario.trapAfter), {
    send: async (given) => {
      signal = given;
      if (scenario.unreachable) throw new Error(scenario.unreachable);
      const { status = 200, headers = {} } = scenario;
      const body = scenario.bodiless ? null : bodyOf(scenario, onChunk, () => (outcome.cancelled = true));
      return { status, headers: new Map(Object.entries(headers)), body };
    },
    onHead: (head) => (outcome.head = JSON.parse(head)),
    dialect: scenario.dialect,
    step: 3,
    attempt: 1,
    live,
    sql: { exec: (statement, ...values) => rows.push([statement, ...values]) },
    firstMs: 0,
    idleMs: 0,
    totalMs: 0,
    ...scenario.limits,
  });
  if (scenario.abortAfterMs !== undefined) setTimeout(() => pump.abort("stopped"), scenario.abortAfterMs);
  for (;;) {
    if (scenario.slowNextMs) await sleep(scenario.slowNextMs);
    const batch = await pump.next();
    if (batch === null) break;
    batches.push(JSON.parse(batch));
    outcome.unknown.push(JSON.parse(pump.partial()));
  }
  await sleep(0);
  return {
    ...outcome,
    batches,
    partial: JSON.parse(pump.partial()),
    rest: JSON.parse(pump.rest()),
    stats: JSON.parse(pump.stats()),
    rows,
    sockets: sockets.map((ws) => ({ frames: ws.frames, closed: ws.closed })),
    joiner: joiner.frames,
    attached: live.size,
    fetchAborted: signal.aborted,
    timers: process.getActiveResourcesInfo().filter((name) => name === "Timeout").length,
    again: await pump.next(),
  };
}

const outcomes = [];
for (const scenario of JSON.parse(readFileSync(0, "utf8"))) outcomes.push(await run(scenario));
process.stdout.write(JSON.stringify(outcomes));
