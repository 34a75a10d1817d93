// A client of a long conversation goes away and comes back. Takes one JSON argument
// {protocol, url, token, session, say, chars, turns, missed: [turns]} and prints what coming back costs in bytes:
// `load` (with nothing kept), and `missed`: per entry {turns, events, stored, down, up}, `stored` being the missed events' own bytes.
// The Agents SDK's client has no cursor: for it `load` is what its page loads, and `missed` is what its socket is sent by itself.
import { beOverInTime } from "./process.mjs";
import { talk } from "./talkers.mjs";

const asked = JSON.parse(process.argv[2]);
beOverInTime();
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const text = `${"".padEnd(asked.chars - asked.say.length - 1, "x")} ${asked.say}`;

async function until(condition) {
  while (!(await condition())) await pause(20);
}

async function away(talker, turns) {
  const { seq } = talker;
  talker.close();
  for (let turn = 0; turn < turns; turn += 1) {
    const { turns: had } = await talker.state();
    await talker.elsewhere(text);
    await until(async () => (await talker.state()).turns > had);
  }
  const { count, bytes } = await talker.stored(seq);
  const [sent, received, events] = [talker.sent.bytes, talker.received.bytes, talker.events];
  await talker.reconnect();
  const [up, down] = [talker.sent.bytes - sent, talker.received.bytes - received];
  return { turns, events: count, followed: talker.events - events, stored: bytes, up, down };
}

async function edgeloop(talker) {
  const missed = [];
  for (const turns of asked.missed) missed.push(await away(talker, turns));
  talker.close();
  const fresh = await talk(asked, asked.session);
  fresh.close();
  return { load: fresh.received.bytes, missed };
}

async function agentsSdk(talker) {
  talker.close();
  const received = talker.received.bytes;
  await talker.reconnect();
  await pause(500);
  const missed = [{ turns: 0, events: 0, followed: 0, stored: 0, up: 0, down: talker.received.bytes - received }];
  return { load: await talker.load(), missed };
}

const talker = await talk(asked, asked.session);
for (let turn = 0; turn < asked.turns; turn += 1) await talker.turn(text);
console.log(JSON.stringify(await { edgeloop, "agents-sdk": agentsSdk }[asked.protocol](talker)));
process.exit();
