// One step with three tool calls, for several contestants at once, a little apart so that their moments do not meet.
// Takes one JSON argument, {everyMs, runs: [{protocol, url, token, session, run, eager, dialect}]}, and prints a JSON array:
// per run `sentAt`, when each tool's result and the stream's end were known to the client (ms after that), and `wall`, the last of them.
import { call, protocolOf } from "./protocols.mjs";
import { now } from "./stamp.mjs";

const PATIENCE_MS = 60_000;
const TOOLS = 3;
const asked = JSON.parse(process.argv[2]);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

class Step {
  tools = [];
  streamEnd = null;
  sentAt = 0;

  constructor() {
    this.over = new Promise((resolve) => (this.end = resolve));
  }

  take({ tools, streamEnds }, at) {
    for (let i = 0; i < tools && this.tools.length < TOOLS; i += 1) this.tools.push(at - this.sentAt);
    if (streamEnds) this.streamEnd ??= at - this.sentAt;
    if (this.tools.length === TOOLS && this.streamEnd !== null) this.end();
  }

  summary() {
    const { sentAt, tools, streamEnd } = this;
    return { sentAt, tools, streamEnd, wall: Math.max(...tools, streamEnd) };
  }
}

async function through(options) {
  const protocol = protocolOf(options);
  const step = new Step();
  const socket = await protocol.open(options.session, (frame, at) => {
    protocol.read(frame);
    step.take(protocol.moments(frame), at);
  });
  if (options.eager === false) await protocol.setEager(options.session, false);
  await pause(100);
  step.sentAt = now();
  await protocol.ask(options.session, socket, `tools:${options.run}`);
  await step.over;
  await pause(500); // the closing answer
  socket.close();
  return step.summary();
}

/** The plain loop: read the answer to its end, then run the calls one after the other. */
async function sequential({ url, run }) {
  const step = new Step();
  step.sentAt = now();
  const body = JSON.stringify({ model: "bench", stream: true, messages: [{ role: "user", content: `tools:${run}` }] });
  const said = await call("POST", `${url}/v1/chat/completions`, { body });
  step.take({ tools: 0, streamEnds: true }, now());
  for (const address of addressesOf(said)) {
    await call("GET", address);
    step.take({ tools: 1, streamEnds: false }, now());
  }
  return step.summary();
}

function addressesOf(said) {
  const calls = [];
  for (const line of said.split("\n")) {
    if (!line.startsWith("data: {")) continue;
    for (const piece of JSON.parse(line.slice(6)).choices[0]?.delta.tool_calls ?? []) {
      calls[piece.index] = (calls[piece.index] ?? "") + piece.function.arguments;
    }
  }
  return calls.map((json) => JSON.parse(json).url);
}

async function one(options, i) {
  await pause(i * asked.everyMs);
  return options.protocol === "loop" ? sequential(options) : through(options);
}

setTimeout(() => {
  console.error(`steps: not over within ${PATIENCE_MS} ms`);
  process.exit(1);
}, PATIENCE_MS);
console.log(JSON.stringify(await Promise.all(asked.runs.map(one))));
process.exit();
