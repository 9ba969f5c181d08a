// Conversations that go on after an answer that ended in each way at each event.
// Usage: node histories.mjs openai|ai5|ai6|ai7 <origin> [<events of an answer>, "<second question>"]
// Prints a line of JSON for each: {"name", "text"}, the text of the second answer.

const [client, origin, [events, again]] = [process.argv[2], process.argv[3], JSON.parse(process.argv[4])];

// Delivers the first events of a body, and then aborts as a person who presses Stop; with `Infinity`, counts them.
function stopping(most, stop) {
  const counted = { events: 0 };
  counted.fetch = async (url, options) => {
    const response = await fetch(url, options);
    if (!response.ok) return response;
    const all = (await response.text()).split(/(?<=\n\n)/);
    counted.events = all.length;
    if (all.length <= most) return new Response(all.join(""), response);
    const stream = new ReadableStream(
      {
        start(controller) {
          for (const event of all.slice(0, most)) controller.enqueue(new TextEncoder().encode(event));
        },
        pull(controller) {
          stop();
          controller.error(new DOMException("Aborted.", "AbortError"));
        },
      },
      { highWaterMark: most },
    );
    return new Response(stream, response);
  };
  return counted;
}

const isAnswered = (name) => name.endsWith("answered");

async function openai() {
  const { default: OpenAI } = await import("openai");
  const asking = (fetch) => new OpenAI({ baseURL: `${origin}/v1`, apiKey: "none", maxRetries: 0, fetch });
  return async (name, most = Infinity) => {
    let runner;
    const counted = stopping(most, () => runner.abort());
    const messages = [{ role: "user", content: name }];
    runner = asking(counted.fetch).chat.completions.stream({ model: "the-model", messages });
    await runner.done().catch(() => {});
    const message = runner.currentChatCompletionSnapshot?.choices[0]?.message ?? runner.messages.at(-1);
    if (message?.role === "assistant") messages.push(message);
    if (isAnswered(name)) {
      for (const { id } of message.tool_calls) messages.push({ role: "tool", tool_call_id: id, content: "sunny" });
    }
    messages.push({ role: "user", content: again });
    const answer = await asking(fetch).chat.completions.create({ model: "the-model", messages });
    return { text: answer.choices[0].message.content, events: counted.events };
  };
}

async function aiSdk() {
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
  class Chat extends AbstractChat {}
  return async (name, most = Infinity) => {
    let chat;
    const counted = stopping(most, () => void chat.stop());
    const first = { fetch: counted.fetch };
    const transport = new DefaultChatTransport({
      api: `${origin}/api/ui`,
      fetch: (url, options) => (first.fetch ?? fetch)(url, options),
    });
    chat = new Chat({ transport, state: new State() });
    await chat.sendMessage({ text: name });
    first.fetch = undefined;
    if (isAnswered(name)) {
      const add = (chat.addToolOutput ?? chat.addToolResult).bind(chat);
      const calls = chat.lastMessage.parts.filter(({ type }) => type.startsWith("tool-"));
      for (const { type, toolCallId } of calls) await add({ tool: type.slice(5), toolCallId, output: "sunny" });
    }
    await chat.sendMessage({ text: again });
    const text = chat.error?.message ?? chat.lastMessage.parts.filter(({ type }) => type === "text").at(-1)?.text;
    return { text, events: counted.events };
  };
}

const ask = await (client === "openai" ? openai() : aiSdk());
const told = async (name, most) => {
  const { text } = await ask(name, most).catch((error) => ({ text: String(error) }));
  console.log(JSON.stringify({ name, text }));
};

const { events: most } = await ask("complete 0");
const cases = ["truncated", "failed"].flatMap((ending) =>
  Array.from({ length: events + 1 }, (_, index) => [`${ending} ${index}`]),
);
cases.push(["complete 0"], ["complete 0 answered"]);
for (let index = 0; index < most; index++) cases.push([`complete ${index} stopped`, index]);
await Promise.all(cases.map((each) => told(...each)));
