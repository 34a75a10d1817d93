// What it costs to wake sessions that were evicted; the Worker's door must be scripts/evictable_edge.py's. Takes one JSON argument
// {protocol, url, token, pid, events: [n], rounds, storm: {sessions, withinMs}} and prints one JSON object:
// `wakes`, per number of events in the log a list of {events, cpu, wall, statements, rowsRead} from evicted to synced with the
// cursor at the head, and `storm`, the time from the first of many wakes to the last that is ready, per round.
import { beOverInTime, cpuMs } from "./process.mjs";
import { call } from "./protocols.mjs";
import { now } from "./stamp.mjs";
import { talk } from "./talkers.mjs";

const SETTLE_MS = 100;
const STORM_ROUNDS = 3;
const OPEN_AT_ONCE = 8;
const asked = JSON.parse(process.argv[2]);
beOverInTime();
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const evict = () => call("GET", `${asked.url}/evict`);

async function withEvents(events) {
  const talker = await talk(asked, `sleeper-${events}`);
  while (talker.seq < events) await talker.turn("reply:1x20");
  talker.close();
  return talker;
}

/** What brings a session back, from asleep to `synced`. */
async function wake(talker) {
  await evict();
  const evicted = Date.now();
  await pause(SETTLE_MS);
  const [cpu, begun] = [cpuMs(asked.pid), now()];
  await talker.reconnect();
  const wall = now() - begun;
  await pause(SETTLE_MS);
  const used = cpuMs(asked.pid) - cpu;
  const state = await talker.state();
  if (state.awake_since < evicted) throw new Error("the session was not asleep");
  talker.close();
  await pause(SETTLE_MS);
  return { events: state.head, cpu: used, wall, statements: state.statements, rowsRead: state.rows_read };
}

async function storm(names) {
  await evict();
  await pause(1000);
  const begun = now();
  const one = async (name, i) => {
    await pause((i * asked.storm.withinMs) / names.length);
    const talker = await talk(asked, name);
    return { talker, at: now() - begun };
  };
  const woken = await Promise.all(names.map(one));
  for (const { talker } of woken) talker.close();
  await pause(1000);
  return Math.max(...woken.map(({ at }) => at));
}

/** Sessions that have had a turn, for the storm. */
async function crowd() {
  const names = Array.from({ length: asked.storm.sessions }, (_, i) => `crowd-${i}`);
  const left = [...names];
  const open = async () => {
    for (let name = left.pop(); name; name = left.pop()) {
      const talker = await talk(asked, name);
      await talker.turn("reply:1x20");
      talker.close();
    }
  };
  await Promise.all(Array.from({ length: OPEN_AT_ONCE }, open));
  return names;
}

async function main() {
  const talkers = [];
  for (const events of asked.events) talkers.push(await withEvents(events));
  const wakes = Object.fromEntries(asked.events.map((events) => [events, []]));
  for (let round = 0; round < asked.rounds; round += 1) {
    for (const [i, talker] of talkers.entries()) wakes[asked.events[i]].push(await wake(talker));
  }
  const names = await crowd();
  const storms = [];
  for (let round = 0; round < STORM_ROUNDS; round += 1) storms.push(await storm(names));
  return { wakes, storm: storms };
}

console.log(JSON.stringify(await main()));
process.exit();
