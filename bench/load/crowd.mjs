// Many sessions that stay: each is opened, has one turn and keeps its socket. Takes one JSON argument
// {protocol, url, token, pid, prefix, say, warm: turns, sizes: [n]} and prints a JSON array, per size
// {sessions, turned, awake}: the Worker's resident MiB when so many have had their turn, and when none of them sleeps. The first
// session has `warm` turns, so that what a process needs once is not taken for what its sessions need. All stay until its
// standard input ends.
import { beOverInTime, residentMiB } from "./process.mjs";
import { talk } from "./talkers.mjs";

const OPEN_AT_ONCE = 4;
const SETTLE_MS = 1_000;
const NUDGE_MS = 5;
const asked = JSON.parse(process.argv[2]);
beOverInTime();
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const talkers = [];

async function open() {
  const at = talkers.push(null) - 1;
  talkers[at] = await talk(asked, `${asked.prefix}-${at}`);
  await talkers[at].turn(asked.say);
}

async function grow(size) {
  const opener = async () => {
    while (talkers.length < size) await open();
  };
  await Promise.all(Array.from({ length: OPEN_AT_ONCE }, opener));
  await pause(SETTLE_MS);
  const turned = residentMiB(asked.pid);
  for (const talker of talkers) talker.nudge();
  await pause(SETTLE_MS + NUDGE_MS * size);
  return { sessions: size, turned, awake: residentMiB(asked.pid) };
}

await open();
for (let turn = 1; turn < asked.warm; turn += 1) await talkers[0].turn(asked.say);
const found = [];
for (const size of [1, ...asked.sizes]) found.push(await grow(size));
console.log(JSON.stringify(found));
process.stdin.on("end", () => process.exit()).resume();
