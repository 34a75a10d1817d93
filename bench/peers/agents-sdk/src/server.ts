// The plain agent of the Agents SDK's own quick start, with the bench's model server and one tool behind it.
import { AIChatAgent } from "@cloudflare/ai-chat";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { routeAgentRequest } from "agents";
import { convertToModelMessages, isStepCount, streamText, tool } from "ai";
import { z } from "zod";

interface Env {
  MODEL_URL: string;
  MODEL: string;
  DIALECT: string;
}

const model = (env: Env) =>
  env.DIALECT === "anthropic"
    ? createAnthropic({ baseURL: `${env.MODEL_URL}/v1`, apiKey: "bench" })(env.MODEL)
    : createOpenAICompatible({ name: "bench", baseURL: `${env.MODEL_URL}/v1`, apiKey: "bench" })(env.MODEL);

const fetchUrl = tool({
  description: "Fetch a URL with GET.",
  inputSchema: z.object({ url: z.string() }),
  execute: async ({ url }: { url: string }) => (await fetch(url)).text(),
});

/** What an object's SQL has cost, by the platform's own count. A cursor counts as it goes, so each is asked a while later. */
class Meter {
  #cursors: SqlStorageCursor<any>[] = [];
  #total = { statements: 0, rowsRead: 0, rowsWritten: 0 };

  constructor(sql: SqlStorage) {
    const exec = sql.exec.bind(sql);
    sql.exec = (query: string, ...bindings: any[]) => {
      const cursor = exec<any>(query, ...bindings);
      if (this.#cursors.push(cursor) > 100) this.read();
      return cursor;
    };
  }

  read() {
    for (const cursor of this.#cursors) {
      this.#total.statements += 1;
      this.#total.rowsRead += cursor.rowsRead;
      this.#total.rowsWritten += cursor.rowsWritten;
    }
    this.#cursors = [];
    return this.#total;
  }
}

export class Chat extends AIChatAgent<Env> {
  #meter: Meter;

  constructor(ctx: DurableObjectState, env: Env) {
    const meter = new Meter(ctx.storage.sql);
    super(ctx, env);
    this.#meter = meter;
  }

  async onRequest(request: Request) {
    if (request.url.endsWith("/counters")) return Response.json(this.#meter.read());
    return super.onRequest(request);
  }

  async onChatMessage() {
    const result = streamText({
      model: model(this.env),
      messages: await convertToModelMessages(this.messages),
      tools: { fetch_url: fetchUrl },
      stopWhen: isStepCount(5),
    });
    return result.toUIMessageStreamResponse();
  }
}

export default {
  async fetch(request: Request, env: Env) {
    if (new URL(request.url).pathname === "/healthz") return new Response("ok");
    return (await routeAgentRequest(request, env)) ?? new Response("not found", { status: 404 });
  },
};
