// Conversations of five questions with tools that the page runs. Usage:
// node conversations.mjs ai5|ai6|ai7|chat.js <origin> <JSON: {"name": ["model of each question", ...], ...}>
// Prints a line of JSON for each: {"name", "texts", "roles", "steps", "error"}.

const [client, origin, conversations] = [process.argv[2], process.argv[3], JSON.parse(process.argv[4])];

const resultOf = (id) => `sunny for ${id}`;

async function aiSdk(name, models) {
  const ai = await import(client);
  let model;
  let settle;
  class State {
    status = "ready";
    error = undefined;
    messages = [];
    pushMessage = (message) => this.messages.push(message);
    popMessage = () => this.messages.pop();
    replaceMessage = (index, message) => (this.messages[index] = message);
    snapshot = (thing) => structuredClone(thing);
  }
  class Chat extends ai.AbstractChat {}
  const chat = new Chat({
    transport: new ai.DefaultChatTransport({ api: `${origin}/api/ui`, body: () => ({ model }) }),
    state: new State(),
    sendAutomaticallyWhen: ai.lastAssistantMessageIsCompleteWithToolCalls,
    onToolCall: ({ toolCall: { toolName, toolCallId } }) => {
      const add = (chat.addToolOutput ?? chat.addToolResult).bind(chat);
      add({ tool: toolName, toolCallId, output: resultOf(toolCallId) });
    },
    onFinish: ({ message, isError }) => (isError || message.parts.at(-1)?.type === "text") && settle(),
    onError: () => settle(),
  });
  for (const [number, each] of models.entries()) {
    model = each;
    const settled = new Promise((resolve) => (settle = resolve));
    await chat.sendMessage({ text: `${name} ${number}` });
    await settled;
    if (chat.error) break;
  }
  const answers = chat.messages.filter(({ role }) => role === "assistant");
  return {
    roles: chat.messages.map(({ role }) => role),
    texts: answers.map(({ parts }) => parts.at(-1).text),
    steps: answers.map(({ parts }) => parts.filter(({ type }) => type === "step-start").length),
    error: chat.error?.message,
  };
}

async function chatJs(name, models) {
  const { records } = await import("../../quartapp/static/chat.js");
  const messages = [];
  const texts = [];
  for (const [number, model] of models.entries()) {
    messages.push({ role: "user", content: `${name} ${number}` });
    for (let turn; !turn || turn.tool_calls.length;) {
      turn = { role: "assistant", content: "", reasoning: "", tool_calls: [] };
      for await (const record of records(messages, { url: `${origin}/api/stream`, body: { model } })) {
        if (record.type === "delta") turn.content += record.text;
        if (record.type === "reasoning") turn.reasoning += record.text;
        if (record.type === "done" && record.extra) turn.extra = record.extra;
        if (record.type !== "tool_call") continue;
        const { type, index, arguments: more = "", extra, ...first } = record;
        const call = (turn.tool_calls[index] ??= { ...first, arguments: "", extra: {} });
        call.arguments += more;
        Object.assign(call.extra, extra);
      }
      messages.push(turn);
      for (const { id } of turn.tool_calls) messages.push({ role: "tool", tool_call_id: id, content: resultOf(id) });
    }
    texts.push(messages.at(-1).content);
  }
  return { texts };
}

const converse = client === "chat.js" ? chatJs : aiSdk;
const told = async ([name, models]) => {
  const told = await converse(name, models).catch((error) => ({ error: String(error) }));
  console.log(JSON.stringify({ name, ...told }));
};
await Promise.all(Object.entries(conversations).map(told));
