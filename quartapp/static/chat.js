// Asks the chat and hands over its answer as it comes; see docs/javascript.md. For browsers of spring 2021 on.

const MESSAGES = {
  network: "The connection failed.",
  idle: "The connection fell silent.",
  truncated: "The connection ended before the answer did.",
  bad_answer: "What came is no answer of the chat.",
};

/** Why there is no whole answer. */
export class ChatError extends Error {
  constructor(said, response, text = "") {
    super(said.message ?? MESSAGES[said.code]);
    const seconds = parseFloat(said.retry_after_s ?? response?.headers.get("Retry-After"));
    this.name = "ChatError";
    this.code = said.code;
    this.status = response?.status;
    this.retryAfterSeconds = seconds >= 0 ? seconds : undefined;
    this.id = said.id ?? response?.headers.get("X-Request-ID") ?? undefined;
    this.path = said.path;
    this.text = text;
  }
}

/** The answer's text. @type {typeof import("./chat.js").ask} */
export async function* ask(messages, options) {
  let record;
  for await (record of records(messages, options)) if (isText(record)) yield record.text;
  return record;
}

/** The answer's records. @type {typeof import("./chat.js").records} */
export async function* records(messages, options = {}) {
  const { signal, retries = 2, maxRetryAfterSeconds = 10 } = options;
  const controller = new AbortController();
  const leave = () => controller.abort();
  signal?.addEventListener("abort", leave);
  if (signal?.aborted) leave();
  try {
    for (let left = retries; ; left--) {
      try {
        return yield* attempt(messages, options, controller.signal);
      } catch (error) {
        const isBusy = [429, 503].includes(error?.status) && error.retryAfterSeconds <= maxRetryAfterSeconds;
        if (!isBusy || left <= 0) throw error;
        await within(error.retryAfterSeconds, controller.signal);
      }
    }
  } catch (error) {
    if (signal?.aborted) throw signal.reason ?? new DOMException("Aborted.", "AbortError");
    throw error;
  } finally {
    signal?.removeEventListener("abort", leave);
    leave();
  }
}

const isText = ({ type }) => type === "delta" || type === "refusal";

/** Asks once. */
async function* attempt(messages, options, signal) {
  const { url = new URL("../api/stream", import.meta.url), body, headers, fetch = globalThis.fetch } = options;
  const { idleSeconds = 45, maxLineChars = 2 ** 20 } = options;
  let response;
  let text = "";
  const error = (code, said) => new ChatError({ ...said, code: said?.code ?? code }, response, text);
  const soon = (promise) => within(idleSeconds, signal, promise, error);

  const asked = typeof messages === "string" ? { message: messages } : { messages };
  const own = typeof headers === "function" ? await headers() : headers;
  response = await soon(
    fetch(url, {
      method: "POST",
      headers: { ...own, "Content-Type": "application/json", Accept: "application/x-ndjson" },
      body: JSON.stringify({ ...body, ...asked }),
      signal,
    }),
  );
  const isAnswer = response.ok && /^application\/x-ndjson/.test(response.headers.get("Content-Type"));

  for await (const [line, isLast] of lines(response.body, soon, maxLineChars, error)) {
    let said = {};
    try {
      said = JSON.parse(line) ?? said;
    } catch {}
    const record = isAnswer ? said : { ...said.error, type: "error" }; // a refusal, or a page of some proxy
    if (record.type === "error") throw error("bad_answer", record);
    const word = isText(record) ? record.text : record.type;
    if (typeof word !== "string") throw error(isLast ? "truncated" : "bad_answer");
    if (signal.aborted) break;
    if (isText(record)) text += record.text;
    yield record;
    if (record.type === "done") return record;
  }
  throw error(isAnswer ? "truncated" : "bad_answer");
}

/** The lines of a body, and whether it ended in them. */
async function* lines(body, soon, maxLineChars, error) {
  if (!body) return;
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await soon(reader.read());
      const lines = decoder.decode(value, { stream: !done }).split("\n");
      lines[0] = rest + lines[0]; // `rest` is not split again and again
      if (lines.some((line) => line.length > maxLineChars)) throw error("bad_answer");
      rest = done ? "" : lines.pop();
      for (const line of lines) if (line.trim()) yield [line, done];
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
    reader.releaseLock();
  }
}

/** What `promise` comes to within `seconds`; without one, just the wait. */
function within(seconds, signal, promise, error) {
  let timer;
  const waiting = new Promise((resolve, reject) => {
    const ring = promise ? () => reject(error("idle")) : resolve;
    timer = setTimeout(ring, Math.min(seconds, 2e6) * 1000); // 2 ** 31 ms are none
    promise?.then(resolve, (cause) => reject(Object.assign(error("network"), { cause })));
    signal.onabort = reject;
    if (signal.aborted) reject();
  });
  return waiting.finally(() => clearTimeout(timer));
}
