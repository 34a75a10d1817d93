// The model server of the benches: real SSE over HTTP/1.1, one HTTP chunk per event, paced as the person's message says.
// Every delta's text is the time it was written at. Also the host that the benched tool fetches from, which sleeps and
// notes when it was asked. Prints `{"port": N}` once it listens; ends with its standard input.
//
//   paced:RATExCOUNT     COUNT deltas, RATE a second
//   full:COUNT           COUNT deltas, as fast as the connection takes them
//   reply:COUNTxSIZE     COUNT deltas of SIZE characters, written at once; no times in them
//   tools:RUN            a 5 s answer with calls complete at 1.5, 3.0 and 4.5 s, each to sleep 1 s; text once there are results
import { createServer } from "node:http";
import { dialectOf } from "./dialects.mjs";
import { now, stamp } from "./stamp.mjs";

const PLAN = /\b(?:(paced):([\d.]+)x(\d+)|(full):(\d+)|(reply):(\d+)x(\d+)|(tools):([\w-]+))/g;
const HAS_RESULTS = /"tool_result"|"role":\s*"tool"|"function_call_output"|"functionResponse"/;
const TAIL = 8 << 10;
const GOLDEN = 0.618034;
const TOOLS_AT_MS = [1500, 3000, 4500];
const TOOLS_END_MS = 5000;
const TOOL_MS = 1000;
const PIECE_EVERY_MS = 50;

const tools = new Map(); // run -> {completed: ms[], arrived: ms[], asked: ms[], ended}
let answers = 0;

/** One answer being written, straight to the socket: node's own chunking would put several writes into one. */
class Answer {
  constructor(request) {
    this.socket = request.socket;
    this.socket.setNoDelay(true);
    this.dialect = dialectOf(request.url);
    this.left = false;
    this.socket.on("close", () => (this.left = true));
    this.socket.on("error", () => (this.left = true));
    const head = ["HTTP/1.1 200 OK", "content-type: text/event-stream", "transfer-encoding: chunked", "connection: close"];
    this.socket.write(`${head.join("\r\n")}\r\n\r\n`);
    this.write(this.dialect.begin());
  }

  write(events) {
    return events.length === 0 || this.socket.write(events.map(chunk).join(""));
  }

  end() {
    this.write(this.dialect.end());
    this.socket.end("0\r\n\r\n");
  }
}

const chunk = (text) => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;

/** Deltas at a steady rate. Phases are spread evenly: real sessions do not beat in step. */
function paced(answer, rate, count) {
  const every = 1000 / rate;
  const begun = now() + every * ((answers++ * GOLDEN) % 1);
  let sent = 0;
  const step = () => {
    if (answer.left) return;
    // A timer that fires late sends what is due, each with the time at which it really goes.
    while (sent < count && begun + sent * every <= now()) {
      answer.write(answer.dialect.text(stamp(now())));
      sent += 1;
    }
    if (sent === count) return answer.end();
    setTimeout(step, Math.max(0, begun + sent * every - now()));
  };
  step();
}

function full(answer, count) {
  let sent = 0;
  const step = () => {
    let more = true;
    while (more && sent < count && !answer.left) {
      more = answer.write(answer.dialect.text(stamp(now())));
      sent += 1;
    }
    if (sent === count) answer.end();
    else if (!answer.left) answer.socket.once("drain", step);
  };
  step();
}

/** All in one piece: in how many it is read must not depend on who else is at work, for the frames of it are counted. */
function reply(answer, count, size) {
  const deltas = Array.from({ length: count }, () => answer.dialect.text("y".repeat(size)));
  answer.write([deltas.flat().join("")]);
  answer.end();
}

async function callTools(answer, run, host) {
  const begun = now();
  const noted = noteOf(run);
  const until = (ms) => new Promise((resolve) => setTimeout(resolve, Math.max(0, begun + ms - now())));
  await until(PIECE_EVERY_MS);
  answer.write(answer.dialect.text("Three pages to read. "));
  for (const [n, at] of TOOLS_AT_MS.entries()) {
    const url = `http://${host}/sleep?run=${run}&n=${n}&ms=${TOOL_MS}`;
    await callTool(answer, n, JSON.stringify({ url }), until, at);
    noted.completed[n] = now();
    const isLast = n === TOOLS_AT_MS.length - 1;
    answer.write(answer.dialect.callEnd(n, "fetch_url", JSON.stringify({ url }), isLast));
  }
  await until(TOOLS_END_MS);
  noted.ended = now();
  answer.end();
}

/** The arguments trickle until `at`, then a moment's pause: the last byte is that of what completes the call. */
async function callTool(answer, n, json, until, at) {
  answer.write(answer.dialect.callBegin(n, "fetch_url"));
  const pieces = Math.floor((at - (TOOLS_AT_MS[n - 1] ?? 0)) / PIECE_EVERY_MS) - 2;
  const size = Math.ceil(json.length / pieces);
  const begun = at - pieces * PIECE_EVERY_MS;
  for (let i = 0; i * size < json.length; i += 1) {
    await until(begun + i * PIECE_EVERY_MS);
    answer.write(answer.dialect.callPiece(n, json.slice(i * size, (i + 1) * size)));
  }
  await until(at);
}

function noteOf(run) {
  if (!tools.has(run)) tools.set(run, { asked: [], completed: [], arrived: [], ended: null });
  return tools.get(run);
}

async function bodyOf(request) {
  let body = "";
  for await (const piece of request) body += piece;
  return body;
}

/** The last plan in a request, which is near its end: that a conversation is long must cost the measured Worker, not us. */
function planOf(body) {
  return [...body.slice(-TAIL).matchAll(PLAN)].at(-1) ?? [...body.matchAll(PLAN)].at(-1);
}

async function answerModel(request, response) {
  const body = await bodyOf(request);
  const plan = planOf(body);
  if (plan === undefined) return response.writeHead(400).end(`no plan in the messages; expected one of ${PLAN.source}`);
  const [, isPaced, rate, pacedCount, isFull, fullCount, isReply, pieces, size, , run] = plan;
  if (isPaced) return paced(new Answer(request), Number(rate), Number(pacedCount));
  if (isFull) return full(new Answer(request), Number(fullCount));
  if (isReply) return reply(new Answer(request), Number(pieces), Number(size));
  noteOf(run).asked.push(now());
  if (!HAS_RESULTS.test(body)) return callTools(new Answer(request), run, request.headers.host);
  const last = new Answer(request);
  last.write(last.dialect.text("Read."));
  last.end();
}

function sleep(query, response) {
  const n = Number(query.get("n"));
  noteOf(query.get("run")).arrived[n] ??= now();
  setTimeout(() => response.end(`page ${n}`), Number(query.get("ms")));
}

const server = createServer((request, response) => {
  const url = new URL(request.url, "http://localhost");
  if (request.method === "POST") return void answerModel(request, response);
  if (url.pathname === "/sleep") return sleep(url.searchParams, response);
  if (url.pathname === "/tools") return response.end(JSON.stringify(tools.get(url.searchParams.get("run")) ?? null));
  response.writeHead(404).end();
});
server.listen(0, "127.0.0.1", 2048, () => console.log(JSON.stringify({ port: server.address().port })));
process.stdin.on("end", () => process.exit()).resume();
