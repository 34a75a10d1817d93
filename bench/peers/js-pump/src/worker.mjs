// The bare JavaScript pump: what this runtime can do at best, one provider, nothing kept, nothing checked.
// fetch body -> SSE lines -> JSON.parse -> one frame per delta.
import { DurableObject } from "cloudflare:workers";

export class Pump extends DurableObject {
  fetch() {
    const [client, server] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(server);
    return new Response(null, { status: 101, webSocket: client });
  }

  async webSocketMessage(_ws, said) {
    const body = JSON.stringify({ model: "bench", stream: true, messages: [{ role: "user", content: said }] });
    const headers = { "content-type": "application/json" };
    const answer = await fetch(`${this.env.MODEL_URL}/v1/chat/completions`, { method: "POST", headers, body });
    const viewers = this.ctx.getWebSockets();
    const utf8 = new TextDecoder();
    let rest = "";
    for await (const bytes of answer.body) {
      const lines = (rest + utf8.decode(bytes, { stream: true })).split("\n");
      rest = lines.pop();
      for (const line of lines) this.#take(line, viewers);
    }
    for (const viewer of viewers) viewer.send('{"done":true}');
  }

  #take(line, viewers) {
    if (!line.startsWith("data: ") || line === "data: [DONE]") return;
    const text = JSON.parse(line.slice(6)).choices[0]?.delta.content;
    if (!text) return;
    const frame = JSON.stringify({ text });
    for (const viewer of viewers) viewer.send(frame);
  }

  webSocketClose(ws) {
    ws.close(1000, "bye");
  }
}

export default {
  fetch(request, env) {
    const { pathname } = new URL(request.url);
    return pathname === "/healthz" ? new Response("ok") : env.PUMPS.getByName(pathname).fetch(request);
  },
};
