// One conversation, turn by turn, and what single turns of it cost. Takes one JSON argument
// {protocol, url, token, pid, session, say, chars, turns, points: [turn], window} and prints a JSON array: for each turn measured
// ({point, turn}, `window` turns about each point) bytes and frames both ways, rows, statements, CPU of the Worker and wall.
import { beOverInTime, cpuMs } from "./process.mjs";
import { now } from "./stamp.mjs";
import { talk } from "./talkers.mjs";

const SETTLE_MS = 15; // what a Worker does after its last frame is the turn's cost too
const asked = JSON.parse(process.argv[2]);
beOverInTime();
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const text = (turn) => `${`turn ${turn} `.padEnd(asked.chars - asked.say.length - 1, "x")} ${asked.say}`;

/** The point that a turn is measured for, if any. */
const pointOf = (turn) => asked.points.find((point) => Math.abs(turn - point) <= (asked.window - 1) / 2);

async function measured(talker, turn) {
  const before = await talker.counters();
  // To ask costs something as well: ask twice, and take that off.
  const base = await talker.counters();
  await pause(SETTLE_MS);
  const [sent, received] = [talker.sent.copy(), talker.received.copy()];
  const [cpu, begun] = [cpuMs(asked.pid), now()];
  await talker.turn(text(turn));
  const wall = now() - begun;
  await pause(SETTLE_MS);
  const used = cpuMs(asked.pid) - cpu;
  const after = await talker.counters();
  const cost = (name) => after[name] - base[name] - (base[name] - before[name]);
  return {
    up: talker.sent.bytes - sent.bytes,
    down: talker.received.bytes - received.bytes,
    framesUp: talker.sent.frames - sent.frames,
    framesDown: talker.received.frames - received.frames,
    rowsWritten: cost("rowsWritten"),
    rowsRead: cost("rowsRead"),
    statements: cost("statements"),
    cpu: used,
    wall,
  };
}

async function main() {
  const talker = await talk(asked, asked.session);
  const found = [];
  for (let turn = 1; turn <= asked.turns; turn += 1) {
    const point = pointOf(turn);
    if (point === undefined) await talker.turn(text(turn));
    else found.push({ point, turn, ...(await measured(talker, turn)) });
  }
  talker.close();
  return found;
}

console.log(JSON.stringify(await main()));
process.exit();
