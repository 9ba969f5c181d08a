// npm's eventsource-parser at `/api/stream`. Usage: node sse.mjs <client> <servers as JSON>

import { EventSourceParserStream } from "eventsource-parser/stream";
import { origin, run } from "./cases.mjs";

async function read(tag, model, message = "count to 5") {
  const response = await fetch(`${origin(model)}/api/stream`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream", "X-Request-ID": tag },
    body: JSON.stringify({ message, model }),
  });
  if (!response.ok) return { status: response.status, error: (await response.json()).error };
  const events = [];
  const parsed = response.body
    .pipeThrough(new TextDecoderStream())
    .pipeThrough(new EventSourceParserStream({ onError: "terminate" }));
  for await (const { id, event, data } of parsed) events.push({ id, event, record: JSON.parse(data) });
  return { status: response.status, events };
}

await run({
  streamed: (tag) => read(tag, "embedded-count"),
  scripts: (tag) => read(tag, "embedded-echo", "one\ntwo\r\nthree\rfour\u2028five\ndata: [DONE]\n\n日本語 👩‍👩‍👧"),
  429: (tag) => read(tag, "fault-status:429"),
  error: (tag) => read(tag, "fault-error-object"),
  dropped: (tag) => read(tag, "fault-drop"),
  truncated: (tag) => read(tag, "fault-no-finish"),
});
