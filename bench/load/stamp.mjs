// The time a delta was written at, as text that survives any protocol: 19 ASCII characters that need no escaping.
// Both ends run on one machine, so they share a clock.

/** Milliseconds since the epoch, with three decimals that mean something. */
export const now = () => performance.timeOrigin + performance.now();

const MARK = "~";
const LENGTH = 17;

export const stamp = (ms) => `${MARK}${ms.toFixed(3)} `;

/** Call `on(ms)` for each stamp in a text, in order. */
export function eachStamp(text, on) {
  for (let at = text.indexOf(MARK); at >= 0; at = text.indexOf(MARK, at + LENGTH)) {
    on(Number(text.substr(at + 1, LENGTH)));
  }
}
