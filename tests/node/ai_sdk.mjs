// Vercel's AI SDK at `/api/ui`, as `useChat` uses it. Usage: node ai_sdk.mjs ai5|ai6|ai7 <servers as JSON> <image>

import { client, image, origin, run } from "./cases.mjs";

const { AbstractChat, DefaultChatTransport } = await import(client);

class State {
  status = "ready";
  error = undefined;
  messages = [];
  pushMessage = (message) => this.messages.push(message);
  popMessage = () => this.messages.pop();
  replaceMessage = (index, message) => (this.messages[index] = message);
  snapshot = (thing) => structuredClone(thing);
}

class Chat extends AbstractChat {
  constructor(tag, model, more = {}) {
    const headers = { "X-Request-ID": tag };
    const body = model === "weather" ? {} : { model };
    const transport = new DefaultChatTransport({ api: `${origin(model)}/api/ui`, headers, body });
    super({ transport, state: new State(), ...more });
  }
}

// A text part says whether it is "done"; a part that is left "streaming" would look alive for ever.
const tell = (chat) => ({
  status: chat.status,
  error: chat.error?.message,
  parts: chat.lastMessage?.role === "assistant" ? chat.lastMessage.parts : [],
  usage: chat.lastMessage?.metadata?.usage,
});

async function ask(tag, model, more = {}) {
  const chat = new Chat(tag, model);
  await chat.sendMessage({ text: "count to 5", ...more });
  return tell(chat);
}

const files = [{ type: "file", mediaType: "image/png", filename: "a.png", url: image }];

// The page answers the call, and asks again with the result: what it sends is what it made of our answer.
async function tool(tag) {
  const addResult = (chat, part) =>
    (chat.addToolOutput ?? chat.addToolResult)({ tool: "weather", toolCallId: part.toolCallId, output: "sunny" });
  const chat = new Chat(tag, "weather");
  await chat.sendMessage({ text: "What is the weather in Oslo?" });
  const first = tell(chat);
  await addResult(chat, first.parts.at(-1));
  await chat.sendMessage();
  return { ...tell(chat), first };
}

// The second question comes with the first answer, reasoning and all, as the page keeps it.
async function again(tag) {
  const chat = new Chat(tag, "mock-reasoning");
  await chat.sendMessage({ text: "first" });
  await chat.sendMessage({ text: "second" });
  const second = tell(chat);
  await chat.regenerate();
  return { ...tell(chat), second };
}

async function stopped(tag) {
  const chat = new Chat(tag, "fault-stall:3");
  const sent = chat.sendMessage({ text: "count to 5" });
  while (!chat.lastMessage?.parts.some((part) => part.type === "text" && part.text.startsWith("1 2 3"))) {
    await new Promise(setImmediate);
  }
  await chat.stop();
  await sent;
  return tell(chat);
}

async function resumed(tag) {
  const chat = new Chat(tag, "mock");
  await chat.resumeStream();
  return tell(chat);
}

await run({
  answer: (tag) => ask(tag, "mock-count"),
  reasoning: (tag) => ask(tag, "mock-reasoning"),
  refusal: (tag) => ask(tag, "mock-refusal"),
  again,
  tool,
  image: (tag) => ask(tag, "mock", { files }),
  429: (tag) => ask(tag, "fault-status:429"),
  500: (tag) => ask(tag, "fault-status:500"),
  error: (tag) => ask(tag, "fault-error-object"),
  dropped: (tag) => ask(tag, "fault-drop"),
  truncated: (tag) => ask(tag, "fault-no-finish"),
  left: stopped,
  resumed,
});
