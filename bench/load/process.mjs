// What a process has used, from /proc; and an end for a tool that would wait for ever.
import { readFileSync, readdirSync } from "node:fs";

const NS_PER_MS = 1e6;

/** CPU so far, in ms, to the nanosecond: all threads, user and system. A thread that ended is not in it. */
export function cpuMs(pid) {
  let total = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      total += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "latin1").split(" ")[0]);
    } catch {
      continue; // it ended meanwhile
    }
  }
  return total / NS_PER_MS;
}

/** Resident memory now, in MiB. */
export function residentMiB(pid) {
  const [, kib] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "latin1"));
  return Number(kib) / 1024;
}

const PATIENCE_MS = 20 * 60_000;

/** Fail if this tool is not over in time. */
export function beOverInTime() {
  setTimeout(() => {
    console.error(`not over within ${PATIENCE_MS} ms: ${process.argv.slice(1).join(" ")}`);
    process.exit(1);
  }, PATIENCE_MS).unref();
}
