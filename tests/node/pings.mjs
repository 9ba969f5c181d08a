// What JavaScript's parsers make of pings: npm's fetch-event-source and eventsource-parser at each endpoint with events,
// openai-node, and Vercel's ai in three major versions. Usage: node pings.mjs <origin> <model>

import { fetchEventSource } from "@microsoft/fetch-event-source";
import { EventSourceParserStream } from "eventsource-parser/stream";
import OpenAI from "openai";

const [origin, model] = process.argv.slice(2);
const text = "count to 3";
const messages = [{ role: "user", content: text }];

// fetch-event-source is made for pages: it ends by these two.
globalThis.window = globalThis;
globalThis.document = { removeEventListener() {} };

const ASKED = {
  "/api/stream": { message: text, model },
  "/v1/chat/completions": { messages, model, stream: true },
  "/api/ui": { id: "c", messages: [{ id: "1", role: "user", parts: [{ type: "text", text }] }], model },
};

const options = (path) => ({
  method: "POST",
  headers: { "Content-Type": "application/json", accept: "text/event-stream" },
  body: JSON.stringify(ASKED[path]),
});

async function fetched(path) {
  const events = [];
  await fetchEventSource(`${origin}${path}`, {
    ...options(path),
    openWhenHidden: true,
    onmessage: ({ event, data }) => events.push({ event, data }),
    onerror(error) {
      throw error;
    },
  });
  return events;
}

async function parsed(path) {
  const { body } = await fetch(`${origin}${path}`, options(path));
  const events = [];
  for await (const event of body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream())) {
    events.push({ event: event.event ?? "", data: event.data });
  }
  return events;
}

async function openaiNode() {
  const completions = new OpenAI({ baseURL: `${origin}/v1`, apiKey: "none" }).chat.completions;
  let pings = 0;
  const stream = completions.stream({ model, messages });
  stream.on("chunk", ({ choices: [{ delta, finish_reason }] }) => {
    if (!Object.keys(delta).length && finish_reason === null) pings += 1;
  });
  const { message, finish_reason } = (await stream.finalChatCompletion()).choices[0];
  return { pings, text: message.content, role: message.role, finish: finish_reason };
}

async function aiSdk(name) {
  const { AbstractChat, DefaultChatTransport } = await import(name);
  const state = {
    status: "ready",
    error: undefined,
    messages: [],
    pushMessage: (message) => state.messages.push(message),
    popMessage: () => state.messages.pop(),
    replaceMessage: (index, message) => (state.messages[index] = message),
    snapshot: (thing) => structuredClone(thing),
  };
  let pings = 0;
  const transport = new DefaultChatTransport({ api: `${origin}/api/ui`, body: { model } });
  const chat = new (class extends AbstractChat {})({
    transport,
    state,
    onData: ({ type }) => (pings += type === "data-ping"),
  });
  await chat.sendMessage({ text });
  const parts = chat.lastMessage.parts.filter((part) => part.type !== "step-start");
  return {
    pings,
    status: chat.status,
    kinds: parts.map((part) => part.type),
    text: parts.map((part) => part.text).join(""),
  };
}

const told = {};
const jobs = [["openai-node", openaiNode()], ...["ai5", "ai6", "ai7"].map((name) => [name, aiSdk(name)])];
for (const path of Object.keys(ASKED))
  jobs.push([`fetch-event-source ${path}`, fetched(path)], [`eventsource-parser ${path}`, parsed(path)]);
await Promise.all(jobs.map(async ([name, job]) => (told[name] = await job)));
console.log(JSON.stringify(told));
