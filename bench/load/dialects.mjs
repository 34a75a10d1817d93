// How each provider's API words a streamed answer. Decides the bytes of events and nothing of when they are sent.
// A dialect: `begin()`, `text(text)`, `callBegin(n, name)`, `callPiece(n, json)`, `callEnd(n, name, arguments, isLast)`, `end()`, each
// answering the SSE events (strings, perhaps none) that say it. A call is complete with what `callEnd` answers
// (docs/design/stream.md, "When a call is complete"): its last byte is what a tool's start is measured from.

const data = (value) => `data: ${JSON.stringify(value)}\n\n`;
const event = (value) => `event: ${value.type}\ndata: ${JSON.stringify(value)}\n\n`;
const callId = (n) => `call_${n}`;

class Chat {
  #head = { id: "chatcmpl-1", object: "chat.completion.chunk", created: 1763720000, model: "bench" };
  #called = false;

  #chunk(delta, finish_reason = null) {
    return data({ ...this.#head, choices: [{ index: 0, delta, finish_reason }] });
  }

  #call(n, fields) {
    return this.#chunk({ tool_calls: [{ index: n, ...fields }] });
  }

  begin() {
    return [this.#chunk({ role: "assistant", content: "" })];
  }

  text(text) {
    return [this.#chunk({ content: text })];
  }

  callBegin(n, name) {
    // The next call's first fragment is what completes the one before: it went out with `callEnd`.
    this.#called = true;
    return n === 0 ? [this.#opening(n, name)] : [];
  }

  #opening(n, name) {
    return this.#call(n, { id: callId(n), type: "function", function: { name, arguments: "" } });
  }

  callPiece(n, json) {
    return [this.#call(n, { function: { arguments: json } })];
  }

  callEnd(n, name, _arguments, isLast) {
    return [isLast ? this.#chunk({}, "tool_calls") : this.#opening(n + 1, name)];
  }

  end() {
    const usage = { prompt_tokens: 10, completion_tokens: 10, total_tokens: 20 };
    const finish = this.#called ? [] : [this.#chunk({}, "stop")];
    return [...finish, data({ ...this.#head, choices: [], usage }), "data: [DONE]\n\n"];
  }
}

class Anthropic {
  #index = -1;
  #isTextOpen = false;
  #called = false;

  #open(content_block) {
    const before = this.#closeText();
    this.#index += 1;
    return [...before, event({ type: "content_block_start", index: this.#index, content_block })];
  }

  #delta(delta) {
    return event({ type: "content_block_delta", index: this.#index, delta });
  }

  #stop() {
    return event({ type: "content_block_stop", index: this.#index });
  }

  #closeText() {
    if (!this.#isTextOpen) return [];
    this.#isTextOpen = false;
    return [this.#stop()];
  }

  begin() {
    const usage = { input_tokens: 10, output_tokens: 1 };
    const message = { id: "msg_1", type: "message", role: "assistant", model: "bench", content: [], usage };
    return [event({ type: "message_start", message })];
  }

  text(text) {
    const before = this.#isTextOpen ? [] : this.#open({ type: "text", text: "" });
    this.#isTextOpen = true;
    return [...before, this.#delta({ type: "text_delta", text })];
  }

  callBegin(n, name) {
    this.#called = true;
    return this.#open({ type: "tool_use", id: `toolu_${n}`, name, input: {} });
  }

  callPiece(_n, json) {
    return [this.#delta({ type: "input_json_delta", partial_json: json })];
  }

  callEnd() {
    return [this.#stop()];
  }

  end() {
    const delta = { stop_reason: this.#called ? "tool_use" : "end_turn", stop_sequence: null };
    const last = event({ type: "message_delta", delta, usage: { output_tokens: 10 } });
    return [...this.#closeText(), last, event({ type: "message_stop" })];
  }
}

class Responses {
  #sequence = 0;
  #index = -1;
  #text = null;
  #items = [];

  #event(type, fields) {
    return event({ type, sequence_number: this.#sequence++, ...fields });
  }

  #response(status) {
    const usage = { input_tokens: 10, output_tokens: 10, total_tokens: 20 };
    const common = { id: "resp_1", object: "response", model: "bench", created_at: 1763720000 };
    const isOver = status === "completed";
    return { response: { ...common, status, output: this.#items, usage: isOver ? usage : null } };
  }

  #add(item) {
    this.#index += 1;
    return this.#event("response.output_item.added", { output_index: this.#index, item });
  }

  #done(item) {
    this.#items.push(item);
    return this.#event("response.output_item.done", { output_index: this.#index, item });
  }

  #message(status, content) {
    return { id: `msg_${this.#index}`, type: "message", role: "assistant", status, content };
  }

  #part(text) {
    return { type: "output_text", text, annotations: [] };
  }

  #where() {
    return { item_id: `msg_${this.#index}`, output_index: this.#index, content_index: 0 };
  }

  #openText() {
    if (this.#text !== null) return [];
    this.#text = "";
    const added = this.#add(this.#message("in_progress", []));
    return [added, this.#event("response.content_part.added", { ...this.#where(), part: this.#part("") })];
  }

  #closeText() {
    if (this.#text === null) return [];
    const [text, where] = [this.#text, this.#where()];
    this.#text = null;
    return [
      this.#event("response.output_text.done", { ...where, text }),
      this.#event("response.content_part.done", { ...where, part: this.#part(text) }),
      this.#done(this.#message("completed", [this.#part(text)])),
    ];
  }

  #call(n, name, status, json) {
    return { id: `fc_${n}`, type: "function_call", status, arguments: json, call_id: callId(n), name };
  }

  begin() {
    const [created, running] = [this.#response("in_progress"), this.#response("in_progress")];
    return [this.#event("response.created", created), this.#event("response.in_progress", running)];
  }

  text(text) {
    const before = this.#openText();
    this.#text += text;
    return [...before, this.#event("response.output_text.delta", { ...this.#where(), delta: text })];
  }

  callBegin(n, name) {
    return [...this.#closeText(), this.#add(this.#call(n, name, "in_progress", ""))];
  }

  callPiece(n, json) {
    const where = { item_id: `fc_${n}`, output_index: this.#index };
    return [this.#event("response.function_call_arguments.delta", { ...where, delta: json })];
  }

  callEnd(n, name, json) {
    const where = { item_id: `fc_${n}`, output_index: this.#index };
    const said = this.#event("response.function_call_arguments.done", { ...where, arguments: json });
    return [said, this.#done(this.#call(n, name, "completed", json))];
  }

  end() {
    return [...this.#closeText(), this.#event("response.completed", this.#response("completed"))];
  }
}

class Gemini {
  #said(parts, more = {}) {
    const candidate = { content: { parts, role: "model" }, index: 0, ...more };
    const usageMetadata = { promptTokenCount: 10, candidatesTokenCount: 10, totalTokenCount: 20 };
    const whole = { candidates: [candidate], usageMetadata, modelVersion: "bench", responseId: "r1" };
    return `data: ${JSON.stringify(whole)}\r\n\r\n`;
  }

  begin() {
    return [];
  }

  text(text) {
    return [this.#said([{ text }])];
  }

  callBegin() {
    return [];
  }

  callPiece() {
    // Arguments come whole, with the call.
    return [];
  }

  callEnd(n, name, json) {
    const functionCall = { id: callId(n), name, args: JSON.parse(json) };
    return [this.#said([{ functionCall, thoughtSignature: "AAAA" }])];
  }

  end() {
    return [this.#said([{ text: "" }], { finishReason: "STOP" })];
  }
}

/** The dialect that a request's path asks for. */
export function dialectOf(path) {
  if (path.includes("/messages")) return new Anthropic();
  if (path.includes("/responses")) return new Responses();
  if (path.includes("streamGenerateContent")) return new Gemini();
  return new Chat();
}
