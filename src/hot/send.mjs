// Sends a model call's request: over HTTP, or through the Workers AI binding. Answers a function of an abort signal, which
// gives a Response; knows no dialect.

/** `{url, headers, body}`; with `ai` (the binding), `url` is the model's name there. */
export const sender = ({ ai = null, url, headers, body }) =>
  ai === null
    ? (signal) => fetch(url, { method: "POST", headers, body, signal, redirect: "manual" })
    : (signal) => run(ai, url, headers, body, signal);

/** The binding takes no signal, so a call given up before its head goes on alone; after it the body is cancelled. */
async function run(ai, model, headers, body, signal) {
  const told = Object.entries(headers).filter(([name]) => name.startsWith("x-") || name.startsWith("cf-"));
  const options = { returnRawResponse: true, extraHeaders: Object.fromEntries(told) };
  const answer = await ai.run(model, JSON.parse(new TextDecoder().decode(body)), options);
  return {
    status: answer.status,
    headers: answer.headers,
    body: answer.body && answer.body.pipeThrough(new IdentityTransformStream(), { signal }),
  };
}
