// npm's eventsource-parser and fetch-event-source at `/api/stream`. Usage: node sse.mjs <client> <servers as JSON>

import { fetchEventSource } from "@microsoft/fetch-event-source";
import { EventSourceParserStream } from "eventsource-parser/stream";
import { client, origin, run } from "./cases.mjs";

// fetch-event-source is made for pages: it ends by these two.
globalThis.window = globalThis;
globalThis.document = { removeEventListener() {} };

const options = (tag, model, message) => ({
  method: "POST",
  headers: { "Content-Type": "application/json", accept: "text/event-stream", "X-Request-ID": tag },
  body: JSON.stringify({ message, model }),
});

// What is "" here is undefined for the other parser.
async function fetched(tag, model, message = "count to 5") {
  const told = { events: [] };
  await fetchEventSource(`${origin(model)}/api/stream`, {
    ...options(tag, model, message),
    openWhenHidden: true,
    async onopen(response) {
      told.status = response.status;
      if (!response.ok) told.error = (await response.json()).error;
    },
    onmessage: ({ id, event, data }) =>
      told.events.push({ id: id || undefined, event: event || undefined, record: JSON.parse(data) }),
    onerror(error) {
      throw error;
    },
  }).catch((error) => {
    if (!told.error) throw error;
  });
  return told;
}

async function parsed(tag, model, message = "count to 5") {
  const response = await fetch(`${origin(model)}/api/stream`, options(tag, model, message));
  if (!response.ok) return { status: response.status, error: (await response.json()).error };
  const events = [];
  const stream = response.body
    .pipeThrough(new TextDecoderStream())
    .pipeThrough(new EventSourceParserStream({ onError: "terminate" }));
  for await (const { id, event, data } of stream) events.push({ id, event, record: JSON.parse(data) });
  return { status: response.status, events };
}

const read = client.endsWith("fetch-event-source") ? fetched : parsed;

await run({
  streamed: (tag) => read(tag, "mock-count"),
  scripts: (tag) => read(tag, "mock-echo", "one\ntwo\r\nthree\rfour\u2028five\ndata: [DONE]\n\n日本語 👩‍👩‍👧"),
  429: (tag) => read(tag, "fault-status:429"),
  error: (tag) => read(tag, "fault-error-object"),
  dropped: (tag) => read(tag, "fault-drop"),
  truncated: (tag) => read(tag, "fault-no-finish"),
});
