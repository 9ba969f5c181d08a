// A host's code in TypeScript: what is right compiles, and what is wrong does not.

import { ask, ChatError, records } from "../../quartapp/static/chat.js";
import type { ChatRecord, Done, Message, Options } from "../../quartapp/static/chat.js";

const options: Options = {
  url: new URL("https://example.com/ai/api/stream"),
  body: { model: "fast", temperature: 0.2 },
  headers: async () => ({ Authorization: "Bearer a-token" }),
  signal: new AbortController().signal,
  fetch: (url, init) => fetch(url, { ...init, credentials: "include" }),
  retries: 0,
  maxRetryAfterSeconds: 5,
  idleSeconds: 60,
  maxLineChars: 2 ** 20,
};

export async function text(question: string): Promise<string> {
  let said = "";
  try {
    for await (const piece of ask(question, options)) said += piece.toUpperCase();
  } catch (error) {
    if (!(error instanceof ChatError)) throw error;
    const status: number | undefined = error.status;
    const wait: number = error.retryAfterSeconds ?? 0;
    if (error.code === "truncated" || error.code === "rate_limited") return error.text;
    throw new Error(`${error.message} ${status} ${wait} ${error.id?.length} ${error.path?.length}`);
  }
  return said;
}

export async function tokens(messages: Message[]): Promise<number | undefined> {
  let thoughts = "";
  for await (const record of records(messages)) {
    if (record.type === "reasoning") thoughts += record.text;
    if (record.type === "tool_call") thoughts += `${record.index} ${record.name?.length} ${record.arguments}`;
    if (record.type === "done") return record.usage?.total_tokens;
  }
  return thoughts.length;
}

export async function last(): Promise<Done> {
  const answer = ask([{ role: "user", content: "a" }, { role: "tool", tool_call_id: "1", content: "b" }]);
  for (;;) {
    const next = await answer.next();
    if (next.done) return next.value;
  }
}

export const kinds = (record: ChatRecord): string => record.type;
export const headers: Options = { headers: () => undefined };

// @ts-expect-error: a question is text or messages
ask(5);
// @ts-expect-error: seconds are a number
ask("a", { idleSeconds: "5" });
// @ts-expect-error: there is no such option
ask("a", { timeout: 5 });
// @ts-expect-error: Headers would be spread into nothing
ask("a", { headers: new Headers() });
// @ts-expect-error: a role is one of five
ask([{ role: "robot", content: "a" }]);
// @ts-expect-error: text is no record
export const wrong: AsyncGenerator<ChatRecord> = ask("a");
