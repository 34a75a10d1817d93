// Many sessions with their viewers, all streaming at once. Takes one JSON argument and prints one JSON object:
// latencies from the provider's write to the viewer's receipt, the server's CPU, and whether everything came, once and in order.
//
//   {protocol, url, token, pid, prefix, say, sessions, viewers, spreadMs, settleMs, wake: {sessions, withinMs, prefix}}
//
// `steady` is measured from `settleMs` after every session has shown its first delta to the moment the first ends; that is
// what a paced figure is about. What the starts cost is in `all`.
import { cpuMs } from "./process.mjs";
import { protocolOf } from "./protocols.mjs";
import { eachStamp, now } from "./stamp.mjs";

const PATIENCE_MS = 120_000;
const OPEN_AT_ONCE = 8;
const asked = JSON.parse(process.argv[2]);
const protocol = protocolOf(asked);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

class Viewer {
  constructor(run) {
    this.run = run;
    this.sent = [];
    this.received = [];
    this.socket = null;
    this.ended = new Promise((resolve, reject) => ([this.end, this.fail] = [resolve, reject]));
    this.ended.catch(() => {});
  }

  async open(session) {
    this.socket = await protocol.open(session, (frame, at) => this.#take(frame, at));
  }

  #take(frame, at) {
    try {
      const kind = protocol.read(frame);
      if (kind === "delta") this.#deltas(frame, at);
      if (kind === "end") this.end(this.run.viewerEnds());
    } catch (error) {
      this.fail(error);
    }
  }

  #deltas(frame, at) {
    if (this.sent.length === 0) this.run.viewerBegins();
    eachStamp(frame, (ms) => {
      this.sent.push(ms);
      this.received.push(at);
    });
  }
}

class Run {
  steadyFrom = null;
  steadyTo = null;
  #begun = 0;

  constructor(viewers) {
    this.viewers = viewers;
  }

  viewerBegins() {
    this.#begun += 1;
    // The starts leave a queue behind them: give it a while to go.
    if (this.#begun === this.viewers) setTimeout(() => (this.steadyFrom ??= this.moment()), asked.settleMs);
  }

  viewerEnds() {
    this.steadyTo ??= this.moment();
    this.steadyFrom ??= this.steadyTo;
  }

  moment() {
    return { at: now(), cpu: cpuMs(asked.pid) };
  }
}

function percentiles(values) {
  const sorted = Float64Array.from(values).sort();
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? null;
  return { n: sorted.length, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) };
}

/** Latencies of the deltas that were written within [from, to]. */
function latencies(viewers, from, to) {
  const found = [];
  for (const { sent, received } of viewers) {
    sent.forEach((ms, i) => ms >= from && ms <= to && found.push(received[i] - ms));
  }
  return found.length > 0 ? percentiles(found) : null;
}

function checkOrder(viewers, expected) {
  for (const { sent } of viewers) {
    if (sent.length !== expected) throw new Error(`a viewer received ${sent.length} deltas, expected ${expected}`);
    if (sent.some((ms, i) => i > 0 && ms < sent[i - 1])) throw new Error("deltas came out of order");
  }
}

/** Others that wake meanwhile, evenly over the given time: how long each took to be live. */
async function wakeOthers({ sessions, withinMs, prefix }) {
  const one = async (i) => {
    await pause((i * withinMs) / sessions);
    const from = now();
    const socket = await protocol.open(`${prefix}-${i}`, () => {});
    return { took: now() - from, socket };
  };
  const woken = await Promise.all(Array.from({ length: sessions }, (_, i) => one(i)));
  return { sockets: woken.map(({ socket }) => socket), took: percentiles(woken.map(({ took }) => took)) };
}

/** A few at a time: what is measured begins when all are open. */
async function openAll(run) {
  const sessions = Array.from({ length: asked.sessions }, (_, i) => ({
    name: `${asked.prefix}-${i}`,
    viewers: Array.from({ length: asked.viewers }, () => new Viewer(run)),
  }));
  const left = [...sessions];
  const opener = async () => {
    for (let session = left.pop(); session; session = left.pop()) {
      for (const viewer of session.viewers) await viewer.open(session.name);
    }
  };
  await Promise.all(Array.from({ length: OPEN_AT_ONCE }, opener));
  return sessions;
}

async function main() {
  const run = new Run(asked.sessions * asked.viewers);
  const sessions = await openAll(run);
  const viewers = sessions.flatMap((session) => session.viewers);
  await pause(300);
  const begun = run.moment();
  const asking = sessions.map(async ({ name, viewers }, i) => {
    await pause((i * asked.spreadMs) / asked.sessions);
    await protocol.ask(name, viewers[0].socket, asked.say);
  });
  await Promise.all(asking);
  const waking = asked.wake ? pause(asked.settleMs + 500).then(() => wakeOthers(asked.wake)) : null;
  await Promise.all(viewers.map((viewer) => viewer.ended));
  const over = run.moment();
  const woken = await waking;
  checkOrder(viewers, Number(/\d+$/.exec(asked.say)[0]));
  return summary({ run, viewers, begun, over, woken });
}

function summary({ run, viewers, begun, over, woken }) {
  const { steadyFrom, steadyTo } = run;
  const written = (from, to) =>
    viewers.filter((_, i) => i % asked.viewers === 0).reduce((n, v) => n + v.sent.filter((ms) => ms >= from && ms <= to).length, 0);
  const perDelta = (from, to) => (to.cpu - from.cpu) / Math.max(1, written(from.at, to.at));
  const first = Math.min(...viewers.map((viewer) => viewer.sent[0]));
  const last = Math.max(...viewers.map((viewer) => viewer.received.at(-1)));
  const hasSteady = steadyTo.at > steadyFrom.at;
  return {
    all: latencies(viewers, 0, Infinity),
    steady: hasSteady ? latencies(viewers, steadyFrom.at, steadyTo.at) : null,
    steadyMs: steadyTo.at - steadyFrom.at,
    cpuPerDelta: hasSteady ? perDelta(steadyFrom, steadyTo) : null,
    cpuPerDeltaAll: perDelta(begun, over),
    ownCpuShare: (process.cpuUsage().user + process.cpuUsage().system) / 1000 / (over.at - begun.at),
    cpuShare: (over.cpu - begun.cpu) / (over.at - begun.at),
    rate: (1000 * written(0, Infinity)) / (last - first),
    startMs: steadyFrom.at - begun.at,
    wallMs: over.at - begun.at,
    woken: woken?.took ?? null,
  };
}

setTimeout(() => {
  console.error(`viewers: not over within ${PATIENCE_MS} ms: ${process.argv[2]}`);
  process.exit(1);
}, PATIENCE_MS);
console.log(JSON.stringify(await main()));
process.exit();
