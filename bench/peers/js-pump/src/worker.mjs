// The bare JavaScript pump in a Worker of its own: what workerd can do at best.
import { DurableObject } from "cloudflare:workers";
import { pump } from "./pump.mjs";

export class Pump extends DurableObject {
  fetch() {
    const [client, server] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(server);
    return new Response(null, { status: 101, webSocket: client });
  }

  webSocketMessage(_ws, said) {
    return pump(this.env.MODEL_URL, said, this.ctx.getWebSockets());
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
