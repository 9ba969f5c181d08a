// The types of chat.js. What each thing does is in docs/reference/javascript.md.

/** One message of a conversation, as docs/reference/protocol.md has it. */
export interface Message {
  role?: "user" | "assistant" | "tool" | "system" | "developer" | undefined;
  content?: unknown;
  name?: string | undefined;
  refusal?: string | undefined;
  tool_calls?: readonly object[] | undefined;
  tool_call_id?: string | undefined;
}

export interface Start {
  type: "start";
  id: string;
  model: string;
}

/** The next piece of the answer, of the model's thinking, or of why it will not answer. */
export interface TextRecord {
  type: "delta" | "reasoning" | "refusal";
  text: string;
}

/** A fragment of a call; `id` and `name` are in its first only, `arguments` are to be joined. */
export interface ToolCall {
  type: "tool_call";
  index: number;
  id?: string;
  name?: string;
  arguments?: string;
  /** `custom` for a tool that takes text. */
  kind?: string;
  /** State of the model's server, which goes back with the call. */
  extra?: object;
  /** `server` for a tool in Python, which the server runs. */
  executor?: string;
}

/** The end of a turn with calls of tools in Python; `extra` goes back with the turn. */
export interface Step {
  type: "step";
  extra?: object;
}

/** The result of a call that the server ran. */
export interface ToolResult {
  type: "tool_result";
  id: string;
  name: string;
  content: string;
  is_error?: boolean;
}

/** A call that the server runs only after the approval of the user. */
export interface ToolApproval {
  type: "tool_approval";
  id: string;
  name: string;
}

/** A source that the text before it cites; `url` is an http or https address. */
export interface Annotation {
  type: "annotation";
  /** OpenAI's type, for example `url_citation`. */
  kind: string;
  url?: string;
  title?: string;
  start_index?: number;
  end_index?: number;
  file_id?: string;
  filename?: string;
  container_id?: string;
  index?: number;
}

/** An image of the answer; `url` is a data URL of an image, or an http or https address. */
export interface Image {
  type: "image";
  url: string;
}

export interface Ping {
  type: "ping";
}

export interface Usage {
  input_tokens: number;
  output_tokens: number;
  total_tokens: number;
  /** Input tokens that the server had in its cache. Left out if unknown; 0 is a count. */
  cached_input_tokens?: number;
  /** Output tokens spent on reasoning. Left out if unknown; 0 is a count. */
  reasoning_tokens?: number;
}

/** The answer is whole. `usage` is left out if the model's server did not count. */
export interface Done {
  type: "done";
  finish_reason: string;
  usage?: Usage;
  /** State of the model's server, which goes back with the answer. */
  extra?: object;
}

/** Records of types that are not among these may come: pass over them. */
export type ChatRecord =
  Start | TextRecord | ToolCall | Step | ToolResult | ToolApproval | Annotation | Image | Ping | Done;

/** What `fetch` takes, or nothing; an object may also be one of `{ Authorization: … } : {}`. */
type OwnHeaders = RequestInit["headers"] | Record<string, undefined>;

export interface Options {
  /** The address of `api/stream`. Default: the one beside this module, as the chat serves it. */
  url?: string | URL | undefined;
  /** What else the request says: `model`, `temperature`, `tools`, … */
  body?: object | undefined;
  /** Headers of every request; a function is called anew for each. */
  headers?: OwnHeaders | (() => OwnHeaders | Promise<OwnHeaders>);
  /** Ends the asking, the waiting and the answer. */
  signal?: AbortSignal | undefined;
  /** What is used in place of the global `fetch`. */
  fetch?: ((url: string | URL, init: RequestInit) => Promise<Response>) | undefined;
  /** How often a busy server (429, 503) that says when is asked again. Default 2; 0: never; more than 2 is 2. */
  retries?: number | undefined;
  /** The longest such wait; a server that wants more is not asked again. Default 10. */
  maxRetryAfterSeconds?: number | undefined;
  /** How long no byte may come. Default 45. */
  idleSeconds?: number | undefined;
  /** The longest line that is taken; an image comes in one. Default 8,388,608. */
  maxLineChars?: number | undefined;
}

/** Why there is no whole answer. */
export class ChatError extends Error {
  /** Of `said`, as the chat tells an error, and the response it came with. */
  constructor(
    said: { code: string; message?: string; id?: string; path?: string; retry_after_s?: number },
    response?: Response,
    text?: string,
  );
  /** One of the table in docs/reference/protocol.md, or what only this end can know. */
  code: "network" | "idle" | "truncated" | "bad_answer" | (string & {});
  /** The HTTP status; undefined if no response came. */
  status: number | undefined;
  /** How long the server asks to be left alone. */
  retryAfterSeconds: number | undefined;
  /** The request's id, under which the server's log has it. */
  id: string | undefined;
  /** The field of the request that is at fault. */
  path: string | undefined;
  /** The part of the answer's text that came. */
  text: string;
  /** What was thrown in asking or reading, for `network`. */
  cause?: unknown;
}

/** Asks, and yields the answer's text as it comes; returns the record `done`. Throws if the answer is not whole. */
export function ask(messages: string | readonly Message[], options?: Options): AsyncGenerator<string, Done, undefined>;

/** Asks, and yields the answer's records, of which `done` is the last. Throws if the answer is not whole. */
export function records(
  messages: string | readonly Message[],
  options?: Options,
): AsyncGenerator<ChatRecord, Done, undefined>;
