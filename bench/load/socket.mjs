// A WebSocket client of the least cost, so that what is measured is the server: text frames in, text frames out, pings
// answered. No extensions; a peer that fragments is refused, because none of the benched ones does.
import { randomBytes } from "node:crypto";
import { request } from "node:http";

const OP = { TEXT: 1, CLOSE: 8, PING: 9, PONG: 10 };

/** Connect; `onText(text, at)` is called per frame, `at` being `clock()` when its bytes came. Resolves with {send, close}. */
export function connect(url, { headers = {}, onText, onEnd = () => {}, clock }) {
  return new Promise((resolve, reject) => {
    const upgrade = request(url.replace(/^ws/, "http"), {
      headers: {
        ...headers,
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": randomBytes(16).toString("base64"),
      },
    });
    upgrade.on("error", reject);
    upgrade.on("response", (answer) => reject(new Error(`${url}: HTTP ${answer.statusCode}, expected 101`)));
    upgrade.on("upgrade", (_answer, socket, head) => {
      socket.setNoDelay(true);
      const frames = new Frames({ onText, onPing: (body) => socket.write(frame(OP.PONG, body)) });
      socket.on("data", (bytes) => frames.feed(bytes, clock()));
      socket.on("error", () => {});
      socket.on("close", onEnd);
      if (head.length > 0) frames.feed(head, clock());
      resolve({
        send: (text) => socket.write(frame(OP.TEXT, Buffer.from(text))),
        close: () => socket.destroy(),
      });
    });
    upgrade.end();
  });
}

/** A client's frame; the mask is zero, which is a mask. */
function frame(op, body) {
  const length = body.length;
  const wide = length < 126 ? 0 : length < 65536 ? 2 : 8;
  const head = Buffer.alloc(2 + wide + 4);
  head[0] = 0x80 | op;
  head[1] = 0x80 | (wide === 0 ? length : wide === 2 ? 126 : 127);
  if (wide === 2) head.writeUInt16BE(length, 2);
  if (wide === 8) head.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([head, body]);
}

class Frames {
  #rest = Buffer.alloc(0);
  #onText;
  #onPing;

  constructor({ onText, onPing }) {
    this.#onText = onText;
    this.#onPing = onPing;
  }

  feed(bytes, at) {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    let from = 0;
    for (let next = this.#one(all, from, at); next > 0; next = this.#one(all, from, at)) from = next;
    this.#rest = all.subarray(from);
  }

  /** Handle the frame at `from` and answer where the next one begins; 0 if it is not all there. */
  #one(all, from, at) {
    if (all.length < from + 2) return 0;
    const short = all[from + 1] & 0x7f;
    const body = from + (short < 126 ? 2 : short === 126 ? 4 : 10);
    if (all.length < body) return 0;
    const length = short < 126 ? short : short === 126 ? all.readUInt16BE(from + 2) : Number(all.readBigUInt64BE(from + 2));
    const end = body + length;
    if (all.length < end) return 0;
    if ((all[from] & 0x80) === 0) throw new Error("a fragmented frame");
    const op = all[from] & 0x0f;
    if (op === OP.TEXT) this.#onText(all.toString("utf8", body, end), at);
    else if (op === OP.PING) this.#onPing(all.subarray(body, end));
    return end;
  }
}
