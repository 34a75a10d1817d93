// The loop of the bare pump: fetch body -> SSE lines -> JSON.parse -> one frame per delta. One provider, nothing kept, nothing checked.

export async function pump(url, said, viewers) {
  const body = JSON.stringify({ model: "bench", stream: true, messages: [{ role: "user", content: said }] });
  const headers = { "content-type": "application/json" };
  const answer = await fetch(`${url}/v1/chat/completions`, { method: "POST", headers, body });
  const utf8 = new TextDecoder();
  let rest = "";
  for await (const bytes of answer.body) {
    const lines = (rest + utf8.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop();
    for (const line of lines) take(line, viewers);
  }
  for (const viewer of viewers) viewer.send('{"done":true}');
}

function take(line, viewers) {
  if (!line.startsWith("data: ") || line === "data: [DONE]") return;
  const text = JSON.parse(line.slice(6)).choices[0]?.delta.content;
  if (!text) return;
  const frame = JSON.stringify({ text });
  for (const viewer of viewers) viewer.send(frame);
}
