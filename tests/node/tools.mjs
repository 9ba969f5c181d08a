// Questions to a chat with tools in Python, as pages with `useChat` ask them. Usage:
// node tools.mjs ai5|ai6|ai7 <origin> <JSON: {"name": [decision about each approval, ...], ...}>
// Prints a line of JSON for each: {"name", "messages", "requests", "finishReasons", "error"}.

const [client, origin, conversations] = [process.argv[2], process.argv[3], JSON.parse(process.argv[4])];
const ai = await import(client);

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

const isComplete = ({ messages }) =>
  ai.lastAssistantMessageIsCompleteWithToolCalls({ messages }) ||
  Boolean(ai.lastAssistantMessageIsCompleteWithApprovalResponses?.({ messages }));

async function converse(name, decisions) {
  let requests = 0;
  let settle;
  const counted = (...fetched) => {
    requests += 1;
    if (requests > 8) throw new Error("too many requests");
    return fetch(...fetched);
  };
  const chat = new Chat({
    transport: new ai.DefaultChatTransport({ api: `${origin}/api/ui`, fetch: counted }),
    state: new State(),
    sendAutomaticallyWhen: isComplete,
    onFinish: ({ message }) => settle(message),
    onError: () => settle(),
  });
  const finished = () => new Promise((resolve) => (settle = resolve));
  let answer = finished();
  await chat.sendMessage({ text: name });
  await answer;
  for (const approved of decisions) {
    const waiting = chat.lastMessage.parts.filter(({ state }) => state === "approval-requested");
    answer = finished();
    for (const { approval } of waiting)
      await chat.addToolApprovalResponse({ id: approval.id, approved, reason: approved ? undefined : "too dear" });
    await answer;
  }
  await new Promise((resolve) => setTimeout(resolve, 100)); // a request that follows by mistake
  return { messages: chat.messages, requests, status: chat.status, error: chat.error?.message };
}

for (const [name, decisions] of Object.entries(conversations)) {
  const result = await converse(name, decisions).catch((error) => ({ error: String(error) }));
  console.log(JSON.stringify({ name, ...result }));
}
