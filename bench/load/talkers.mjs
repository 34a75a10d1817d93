// One conversation with a contestant as its own client holds it, every byte and frame counted.
// `talk(options, session)` resolves to a talker: `turn(text)` resolves when the turn is over, `counters()` to what its
// SQL has cost so far, `sent` and `received` are {bytes, frames} of the sockets' payloads; `nudge()` wakes the session and asks
// nothing of it; `reconnect()` and `load()` are below.
import { createRequire } from "node:module";
import { call, protocolOf } from "./protocols.mjs";
import { connect } from "./socket.mjs";
import { now } from "./stamp.mjs";

const SDK = createRequire(new URL("../peers/agents-sdk/package.json", import.meta.url));

export class Tally {
  bytes = 0;
  frames = 0;

  add(text) {
    this.bytes += Buffer.byteLength(text);
    this.frames += 1;
  }

  copy() {
    return { bytes: this.bytes, frames: this.frames };
  }
}

class Edgeloop {
  sent = new Tally();
  received = new Tally();
  #protocol;
  #options;
  #session;
  #socket = null;
  #over = null;
  #asked = 0;
  /** The cursor: what a client keeps. */
  seq = 0;
  log = null;
  /** Events that came, so that one that comes twice shows. */
  events = 0;

  constructor(options, session) {
    this.#options = options;
    this.#protocol = protocolOf(options);
    this.#session = session;
  }

  get #agent() {
    return `${this.#options.url}/v1/agents/${this.#session}`;
  }

  /** Connect from the cursor; resolves when all that was missed is here. */
  async reconnect() {
    const hello = { client: "talker", after: this.seq, ...(this.log ? { log: this.log } : {}) };
    this.#socket = await this.#protocol.openAs(this.#session, hello, {
      sent: (frame) => this.sent.add(frame),
      received: (frame) => this.#take(frame),
    });
  }

  #take(frame) {
    this.received.add(frame);
    if (frame.startsWith('{"t":"welcome"')) this.log = JSON.parse(frame).log;
    if (frame.startsWith('{"t":"events"')) this.#follow(JSON.parse(frame).events);
  }

  #follow(events) {
    this.events += events.length;
    for (const { seq, event } of events) {
      this.seq = seq;
      if (event.kind === "step_failed") this.#over?.reject(new Error(`a step failed: ${JSON.stringify(event)}`));
      if (event.kind === "turn_finished") this.#over?.resolve();
    }
  }

  async turn(text) {
    this.#over = Promise.withResolvers();
    this.#asked += 1;
    const frame = this.#protocol.message(`${this.#session}-${this.#asked}-${now()}`, text, this.#asked);
    this.sent.add(frame);
    this.#socket.send(frame);
    await this.#over.promise;
  }

  /** A turn that somebody else has, over HTTP. */
  elsewhere(text) {
    return this.#protocol.ask(this.#session, null, text);
  }

  async counters() {
    const state = await this.#get("state");
    return { rowsRead: state.rows_read, rowsWritten: state.rows_written, statements: state.statements };
  }

  /** The stored form of the events after `seq`: their number and their bytes. */
  async stored(seq) {
    const { events } = await this.#get(`events?after=${seq}`);
    return { count: events.length, bytes: Buffer.byteLength(JSON.stringify(events)) };
  }

  async state() {
    return this.#get("state");
  }

  async #get(what) {
    const headers = { authorization: `Bearer ${this.#options.token}` };
    return JSON.parse(await call("GET", `${this.#agent}/${what}`, { headers }));
  }

  nudge() {
    this.#socket.send('{"t":"hello","v":1,"client":"talker"}'); // a second one is passed over
  }

  close() {
    this.#socket.close();
  }
}

/** The SDK's own chat and its own transport, over a socket of ours that counts. `history` "new" sends the last message only. */
class AgentsSdk {
  sent = new Tally();
  received = new Tally();
  #options;
  #session;
  #chat = null;
  #socket = null;

  constructor(options, session) {
    this.#options = options;
    this.#session = session;
  }

  get #agent() {
    return `${this.#options.url}/agents/chat/${this.#session}`;
  }

  async reconnect() {
    const agent = new EventTarget();
    const onText = (data) => {
      this.received.add(data);
      agent.dispatchEvent(new MessageEvent("message", { data }));
    };
    this.#socket = await connect(this.#agent, { onText, clock: now });
    agent.send = (data) => {
      this.sent.add(data);
      this.#socket.send(data);
    };
    this.#chat ??= await newChat(agent);
  }

  async turn(text) {
    await this.#chat.sendMessage({ text });
    if (this.#chat.error) throw this.#chat.error;
  }

  async counters() {
    return JSON.parse(await call("GET", `${this.#agent}/counters`));
  }

  /** What its client loads when its page opens: all messages. */
  async load() {
    return Buffer.byteLength(await call("GET", `${this.#agent}/get-messages`));
  }

  nudge() {
    this.#socket.send('{"type":"nudge"}');
  }

  close() {
    this.#socket.close();
  }
}

/** A minimal Worker: a path is a session, and its last frame says so. */
class Plain {
  received = new Tally();
  #url;
  #socket = null;
  #over = null;

  constructor({ url }, session) {
    this.#url = `${url}/${session}`;
  }

  async reconnect() {
    const onText = (frame) => {
      this.received.add(frame);
      if (frame.startsWith('{"done"')) this.#over?.resolve();
    };
    this.#socket = await connect(this.#url, { onText, clock: now });
  }

  async turn(text) {
    this.#over = Promise.withResolvers();
    this.#socket.send(text);
    await this.#over.promise;
  }

  nudge() {
    this.#socket.send("nudge");
  }
}

async function newChat(agent) {
  const { AbstractChat } = await import(SDK.resolve("ai"));
  const { WebSocketChatTransport } = await import(SDK.resolve("agents/chat/transport"));
  class State {
    messages = [];
    status = "ready";
    error = undefined;
    pushMessage = (message) => void (this.messages = [...this.messages, message]);
    popMessage = () => void (this.messages = this.messages.slice(0, -1));
    replaceMessage = (index, message) => void (this.messages = this.messages.with(index, message));
    snapshot = (thing) => structuredClone(thing);
  }
  class Chat extends AbstractChat {}
  return new Chat({ transport: new WebSocketChatTransport({ agent }), state: new State() });
}

const TALKERS = { edgeloop: Edgeloop, plain: Plain, "agents-sdk": AgentsSdk };

/** A conversation, connected. */
export async function talk(options, session) {
  const talker = new TALKERS[options.protocol](options, session);
  await talker.reconnect();
  return talker;
}
