// Asks the chat, in browsers of spring 2021 and later; see docs/reference/.

const MESSAGES = {
  network: "The connection failed.",
  idle: "The connection fell silent.",
  truncated: "The connection ended before the answer did.",
  bad_answer: "What came is no answer of the chat.",
};

/** Why there is no whole answer. */
export class ChatError extends Error {
  constructor(said, response, text = "") {
    super(said.message ?? MESSAGES[said.code ?? "bad_answer"]);
    const seconds = parseFloat(said.retry_after_s ?? response?.headers.get("Retry-After"));
    this.name = "ChatError";
    this.code = said.code ?? "bad_answer";
    this.status = response?.status;
    this.retryAfterSeconds = seconds >= 0 ? seconds : undefined;
    this.id = said.id ?? response?.headers.get("X-Request-ID") ?? undefined;
    this.path = said.path;
    this.cause = said.cause;
    this.text = text;
  }
}

/** The answer's text. */
export async function* ask(messages, options) {
  let record;
  for await (record of records(messages, options)) if (isText(record)) yield record.text;
  return record;
}

/** The answer's records. */
export async function* records(messages, options = {}) {
  const { signal, retries = 2, maxRetryAfterSeconds = 10 } = options;
  const controller = new AbortController();
  const leave = () => controller.abort();
  signal?.addEventListener("abort", leave);
  if (signal?.aborted) leave();
  try {
    for (let left = Math.min(retries, 2); ; left--) {
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
  let response;
  let text = "";
  const error = (said) => new ChatError(said, response, text);

  const asked = JSON.stringify({ ...body, [typeof messages === "string" ? "message" : "messages"]: messages });
  const own = (typeof headers === "function" ? await headers() : headers) ?? {};
  const send = async () => {
    const sent = new Headers(own);
    sent.set("Content-Type", "application/json");
    sent.set("Accept", "application/x-ndjson");
    response = await fetch(url, { method: "POST", headers: Object.fromEntries(sent), body: asked, signal });
    return (response.body ?? new Response("").body).getReader();
  };

  for await (const [line, isLast] of lines(send(), options, signal, error)) {
    let said = {};
    try {
      said = JSON.parse(line) ?? said;
    } catch {}
    const isAnswer = response.ok && response.headers.get("Content-Type")?.startsWith("application/x-ndjson");
    const record = isAnswer ? said : { ...said.error, type: "error" }; // a refusal, or a page of some proxy
    if (record.type === "error") throw error(record);
    const word = isText(record) ? record.text : record.type;
    if (typeof word !== "string" || signal.aborted) throw error({ code: isLast ? "truncated" : "bad_answer" });
    if (isText(record)) text += word;
    yield record;
    if (record.type === "done") return record;
  }
}

/** The lines of a body, an empty one last, and whether it ended in them. */
async function* lines(coming, options, signal, error) {
  const { idleSeconds = 45, maxLineChars = 2 ** 23 } = options;
  const decoder = new TextDecoder();
  let rest = "";
  try {
    const reader = await within(idleSeconds, signal, coming);
    for (;;) {
      const { done, value } = await within(idleSeconds, signal, reader.read());
      const lines = decoder.decode(value, { stream: !done }).split("\n");
      lines[0] = rest + lines[0]; // `rest` is not split again and again
      if (lines.some((line) => line.length > maxLineChars)) throw { code: "bad_answer" };
      rest = done ? "" : lines.pop();
      for (const line of lines) if (line.trim()) yield [line, done];
      if (done) yield ["", done];
    }
  } catch (cause) {
    throw error(MESSAGES[cause?.code] ? cause : { code: "network", cause });
  } finally {
    coming.then((reader) => reader.cancel()).catch(() => {}); // even one that comes too late
  }
}

/** What `promise` comes to within `seconds`, or why not; without one, just the wait. */
function within(seconds, signal, promise) {
  let timer;
  const waiting = new Promise((resolve, reject) => {
    const ms = Math.min(seconds, 2e6) * 1000; // 2 ** 31 are none
    timer = setTimeout(promise ? reject : resolve, ms, { code: "idle" });
    promise?.then(resolve, reject);
    signal.onabort = reject;
    if (signal.aborted) reject();
  });
  return waiting.finally(() => clearTimeout(timer));
}
