// openai-node at `/v1`. Usage: node openai.mjs <client> <servers as JSON> <image>

import OpenAI from "openai";
import { image, origin, run } from "./cases.mjs";

const messages = [{ role: "user", content: "count to 5" }];

const TOOL = {
  type: "function",
  function: {
    name: "weather",
    description: "The weather of a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

function completions(tag, model, options = { maxRetries: 0 }) {
  const defaultHeaders = { "X-Request-ID": tag };
  return new OpenAI({ baseURL: `${origin(model)}/v1`, apiKey: "none", defaultHeaders, ...options }).chat.completions;
}

const withImage = [
  {
    role: "user",
    content: [
      { type: "text", text: "count to 5" },
      { type: "image_url", image_url: { url: image } },
    ],
  },
];

async function streamed(tag, model, options, asking = messages) {
  const told = { text: "" };
  const asked = { model, messages: asking, stream: true, stream_options: { include_usage: true } };
  try {
    for await (const chunk of await completions(tag, model, options).create(asked)) {
      told.text += chunk.choices[0]?.delta.content ?? "";
      told.finish = chunk.choices[0]?.finish_reason ?? told.finish;
      told.tokens = chunk.usage?.total_tokens ?? told.tokens;
    }
  } catch (error) {
    told.error = describe(error);
  }
  return told;
}

async function whole(tag, model, options) {
  try {
    const answer = await completions(tag, model, options).create({ model, messages });
    const [choice] = answer.choices;
    return { text: choice.message.content, finish: choice.finish_reason, tokens: answer.usage?.total_tokens };
  } catch (error) {
    return { error: describe(error) };
  }
}

const describe = (error) => ({
  kind: error.constructor.name,
  status: error.status,
  code: error.code,
  type: error.type,
  retryAfter: error.headers?.get("retry-after"),
});

// The client itself calls the function and hands its result back, so what it sends is what it made of our answer.
async function tools(tag, { stream }) {
  const model = "mock-tool-call";
  const calls = [];
  const weather = (given) => {
    calls.push(given);
    return "sunny";
  };
  const tool = { ...TOOL, function: { ...TOOL.function, parse: JSON.parse, function: weather } };
  const runner = completions(tag, model).runTools({ model, messages, tools: [tool], stream });
  return { calls, text: await runner.finalContent() };
}

async function left(tag) {
  const model = "fault-stall:3";
  for await (const chunk of await completions(tag, model).create({ model, messages, stream: true })) {
    if (chunk.choices[0]?.delta.content) break;
  }
  return {};
}

async function models(tag) {
  const client = new OpenAI({ baseURL: `${origin("mock")}/v1`, apiKey: "none" });
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  return { names, one: (await client.models.retrieve("mock")).id };
}

await run({
  streamed: (tag) => streamed(tag, "mock-count"),
  whole: (tag) => whole(tag, "mock-count"),
  image: (tag) => streamed(tag, "mock", undefined, withImage),
  tools: (tag) => tools(tag, { stream: true }),
  "tools-whole": (tag) => tools(tag, { stream: false }),
  429: (tag) => streamed(tag, "fault-status:429"),
  "429-retried": (tag) => streamed(tag, "busy", {}),
  500: (tag) => streamed(tag, "fault-status:500", {}),
  error: (tag) => streamed(tag, "fault-error-object", {}),
  dropped: (tag) => streamed(tag, "fault-drop", {}),
  truncated: (tag) => streamed(tag, "fault-no-finish", {}),
  "dropped-whole": (tag) => whole(tag, "fault-drop", {}),
  "truncated-whole": (tag) => whole(tag, "fault-no-finish", {}),
  left,
  models,
});
