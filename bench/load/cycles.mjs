// Sessions that are opened, used and abandoned, over and over; the Worker's door must be scripts/evictable_edge.py's. Takes one
// JSON argument {protocol, url, token, prefix, say, sessions, cycles}. In each cycle every session is opened and has a turn, all
// are evicted with their sockets hibernating, all clients go away, which wakes every session once more, and all are evicted again.
import { beOverInTime } from "./process.mjs";
import { call } from "./protocols.mjs";
import { talk } from "./talkers.mjs";

const AT_ONCE = 8;
const SETTLE_MS = 500;
const asked = JSON.parse(process.argv[2]);
beOverInTime();
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function evict() {
  await pause(SETTLE_MS);
  await call("GET", `${asked.url}/evict`);
}

async function cycle(talkers) {
  let next = 0;
  const user = async () => {
    while (next < asked.sessions) {
      const i = next++;
      await (talkers[i]?.reconnect() ?? talk(asked, `${asked.prefix}-${i}`).then((talker) => (talkers[i] = talker)));
      await talkers[i].turn(asked.say);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, user));
  await evict();
  for (const talker of talkers) talker.close();
  await evict();
}

const talkers = [];
for (let i = 0; i < asked.cycles; i += 1) await cycle(talkers);
console.log(JSON.stringify({ sessions: asked.sessions, cycles: asked.cycles }));
process.exit();
