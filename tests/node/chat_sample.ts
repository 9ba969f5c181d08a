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
    if (record.type === "done") return record.usage?.cached_input_tokens ?? record.usage?.total_tokens;
  }
  return thoughts.length;
}

export async function last(): Promise<Done> {
  const answer = ask([
    { role: "user", content: "a" },
    { role: "tool", tool_call_id: "1", content: "b" },
  ]);
  for (;;) {
    const next = await answer.next();
    if (next.done) return next.value;
  }
}

export const kinds = (record: ChatRecord): string => record.type;

// Headers in every form that `fetch` takes, or none.
declare const token: string | undefined;
export const headers: Options[] = [
  { headers: () => undefined },
  { headers: undefined },
  { headers: new Headers() },
  { headers: async () => new Headers() },
  { headers: [["X-Auth", "a-token"]] },
  { headers: () => (token ? { Authorization: `Bearer ${token}` } : {}) },
  { headers: async () => (token ? { Authorization: `Bearer ${token}` } : {}) },
  { headers: token ? { Authorization: `Bearer ${token}` } : {} },
];

// Options that may be undefined.
export const perhaps = (signal: AbortSignal | undefined, retries: number | undefined): Options => ({ signal, retries });

// Conversations that are kept in a host's own types.
interface Turn {
  role: "user" | "assistant";
  content: string;
  readonly seen: Date;
}
export const conversations = (kept: readonly Message[], turns: readonly Turn[], own: Turn[]) => [
  ask(kept),
  records(turns),
  ask(own.map(({ role, content }) => ({ role, content }))),
  ask(own),
];

// @ts-expect-error: a question is text or messages
ask(5);
// @ts-expect-error: seconds are a number
ask("a", { idleSeconds: "5" });
// @ts-expect-error: there is no such option
ask("a", { timeout: 5 });
// @ts-expect-error: a header is text
ask("a", { headers: { "X-Count": 5 } });
// @ts-expect-error: a message has no such field
ask([{ role: "user", content: "a", contents: "b" }]);
// @ts-expect-error: a role is one of five
ask([{ role: "robot", content: "a" }]);
// @ts-expect-error: text is no record
export const wrong: AsyncGenerator<ChatRecord> = ask("a");
