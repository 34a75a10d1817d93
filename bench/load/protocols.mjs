// How each contestant is spoken to: where a session's socket is, how it is greeted, asked, and how its frames read.
// A protocol: `open(session, onFrame)` resolves once the socket is live; `ask(session, socket, text)`; `read(frame)` answers
// "delta" (its text holds stamps), "end" (of the turn) or null.
import { Agent, request } from "node:http";
import { connect } from "./socket.mjs";
import { now } from "./stamp.mjs";

// Connections that stay: what is measured is not TCP's handshake.
const kept = new Agent({ keepAlive: true, maxSockets: 64 });

export function call(method, url, { headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const asked = request(url, { method, headers, agent: kept }, async (answer) => {
      let text = "";
      for await (const piece of answer) text += piece;
      if (answer.statusCode < 300) resolve(text);
      else reject(new Error(`${method} ${url}: HTTP ${answer.statusCode}: ${text.slice(0, 300)}`));
    });
    asked.on("error", reject);
    asked.end(body);
  });
}

class Edgeloop {
  constructor({ url, token }) {
    this.url = url;
    this.headers = { authorization: `Bearer ${token}` };
    this.clients = 0;
  }

  open(session, onFrame) {
    const received = (frame, at) => frame.startsWith('{"t":"synced"') || onFrame(frame, at);
    return this.openAs(session, { client: `viewer-${this.clients++}` }, { sent: () => {}, received });
  }

  /** Connect as a client with its cursor; both are told of every frame. */
  async openAs(session, who, { sent, received }) {
    const { promise: isLive, resolve: synced } = Promise.withResolvers();
    const say = (message) => {
      const frame = JSON.stringify(message);
      sent(frame);
      socket.send(frame);
    };
    const onText = (frame, at) => {
      received(frame, at);
      if (frame.startsWith('{"t":"more"')) say({ t: "next", after: JSON.parse(frame).seq });
      if (frame.startsWith('{"t":"synced"')) synced();
    };
    const url = `${this.url}/v1/agents/${session}/ws`;
    const socket = await connect(url, { headers: this.headers, onText, clock: now });
    say({ t: "hello", v: 1, ...who });
    await isLive;
    return socket;
  }

  /** A person's message as a client sends it on its socket. */
  message(id, text) {
    return JSON.stringify({ t: "message", id, text });
  }

  async ask(session, _socket, text) {
    const headers = { ...this.headers, "content-type": "application/json" };
    const body = JSON.stringify({ id: `m-${now()}`, text });
    await call("POST", `${this.url}/v1/agents/${session}/messages`, { headers, body });
  }

  /** `eager`: whether tools may start while the model still speaks. */
  async setEager(session, eager) {
    const headers = { ...this.headers, "content-type": "application/json" };
    const body = JSON.stringify({ t: "autonomy", mode: "auto", eager });
    await call("PUT", `${this.url}/v1/agents/${session}/autonomy`, { headers, body });
  }

  read(frame) {
    if (frame.startsWith('{"t":"delta"')) return "delta";
    if (!frame.startsWith('{"t":"events"')) return null;
    if (frame.includes('"kind":"step_failed"')) throw new Error(`a step failed: ${frame.slice(0, 600)}`);
    return frame.includes('"kind":"turn_finished"') ? "end" : null;
  }

  /** The moments of a step that a frame tells: tools finished, and the model's message ended. */
  moments(frame) {
    const finished = frame.startsWith('{"t":"events"') ? frame.split('"kind":"tool_finished"').length - 1 : 0;
    return { tools: finished, streamEnds: frame.includes('"kind":"step_finished"') };
  }
}

/** The two minimal Workers: a path is a session, a frame from the client is a question. */
class Plain {
  constructor({ url }) {
    this.url = url;
  }

  open(session, onFrame) {
    return connect(`${this.url}/${session}`, { onText: onFrame, clock: now });
  }

  async ask(_session, socket, text) {
    socket.send(text);
  }

  read(frame) {
    if (frame.startsWith('{"text"')) return "delta";
    return frame.startsWith('{"done"') ? "end" : null;
  }
}

class AgentsSdk {
  constructor({ url }) {
    this.url = url;
    this.asked = 0;
  }

  open(session, onFrame) {
    return connect(`${this.url}/agents/chat/${session}`, { onText: onFrame, clock: now });
  }

  async ask(_session, socket, text) {
    this.asked += 1;
    const message = { id: `m${this.asked}`, role: "user", parts: [{ type: "text", text }] };
    const body = JSON.stringify({ messages: [message], trigger: "submit-message" });
    const init = { method: "POST", headers: {}, body };
    socket.send(JSON.stringify({ type: "cf_agent_use_chat_request", id: `r${this.asked}`, init }));
  }

  read(frame) {
    if (!frame.includes('"type":"cf_agent_use_chat_response"')) return null;
    if (frame.includes('"error":true')) throw new Error(`an answer failed: ${frame.slice(0, 600)}`);
    if (frame.includes('\\"type\\":\\"text-delta\\"')) return "delta";
    return frame.includes('"done":true') ? "end" : null;
  }

  moments(frame) {
    const says = (type) => frame.includes(`\\"type\\":\\"${type}\\"`);
    return { tools: says("tool-output-available") ? 1 : 0, streamEnds: says("finish-step") };
  }
}

const PROTOCOLS = { edgeloop: Edgeloop, plain: Plain, "agents-sdk": AgentsSdk };

export const protocolOf = (options) => new PROTOCOLS[options.protocol](options);
