// A conversation with tools in Python: the records of answers become the messages of the next request.
export class Conversation {
  messages = [];
  #turn;
  #calls; // the calls of the answer, by their numbers

  ask(question) {
    this.messages.push({ role: "user", content: question });
  }

  // Yields the records of the next answer. Throws if it is not complete, and keeps what has arrived.
  async *answer(signal) {
    this.#calls = new Map();
    this.#begin();
    try {
      for await (const record of records(this.messages, signal)) {
        this.#add(record);
        yield record;
      }
    } finally {
      this.#end();
      if (this.messages.at(-1).role === "user") this.messages.pop(); // or the next request would ask both questions
    }
  }

  // Returns the call with a number, as it is in the messages.
  call(index) {
    return this.#calls.get(index);
  }

  // Adds the decision of the user. The next answer begins with the result of an approved call.
  decide(call, approved, reason) {
    Object.assign(call, { approved }, reason && { reason });
  }

  #begin() {
    this.#turn = { role: "assistant", content: "", tool_calls: [] };
  }

  #end(extra) {
    if (extra) this.#turn.extra = extra;
    if (this.#turn.content || this.#turn.refusal || this.#turn.tool_calls.length) this.messages.push(this.#turn);
    this.#begin();
  }

  #add(record) {
    const { type, text, extra, id, content } = record;
    if (type === "delta") this.#turn.content += text;
    if (type === "reasoning" || type === "refusal") this.#turn[type] = (this.#turn[type] ?? "") + text;
    if (type === "tool_call") this.#addCall(record);
    if (type === "step" || type === "done") this.#end(extra);
    if (type === "tool_result") this.messages.push({ role: "tool", tool_call_id: id, content });
  }

  #addCall({ index, id, name, arguments: text = "", kind, extra }) {
    let call = this.#calls.get(index);
    if (!call) {
      call = { id, name, arguments: "", kind };
      this.#calls.set(index, call);
      this.#turn.tool_calls.push(call);
    }
    call.arguments += text;
    if (extra) call.extra = { ...call.extra, ...extra };
  }
}

// Yields the records of an answer. Returns if the answer is complete, and throws if it is not.
async function* records(messages, signal) {
  const response = await fetch("/ai/api/stream", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/x-ndjson" },
    body: JSON.stringify({ messages }),
    signal,
  });
  if (!response.ok) {
    const refusal = await response.json().catch(() => null); // a proxy may have answered in HTML
    throw new Error(refusal?.error?.message ?? `status ${response.status}`);
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("The connection ended early.");
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const record of lines.map((line) => JSON.parse(line))) {
      if (record.type === "error") throw new Error(record.message);
      yield record;
      if (record.type === "done") return;
    }
  }
}
