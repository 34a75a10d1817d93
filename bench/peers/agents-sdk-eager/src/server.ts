// As bench/peers/agents-sdk, but for `ai` 6 (its name for the step limit is another): the pairing that starts tools early.
import { AIChatAgent } from "@cloudflare/ai-chat";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { routeAgentRequest } from "agents";
import { convertToModelMessages, stepCountIs, streamText, tool } from "ai";
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

export class Chat extends AIChatAgent<Env> {
  async onChatMessage() {
    const result = streamText({
      model: model(this.env),
      messages: await convertToModelMessages(this.messages),
      tools: { fetch_url: fetchUrl },
      stopWhen: stepCountIs(5),
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
