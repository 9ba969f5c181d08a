// The page: sends the conversation, shows the answer as it streams. Text only: nothing a model says becomes markup.
// @ts-check

const log = /** @type {HTMLElement} */ (document.getElementById("log"));
const status = /** @type {HTMLElement} */ (document.getElementById("status"));
const form = /** @type {HTMLFormElement} */ (document.getElementById("form"));
const box = /** @type {HTMLTextAreaElement} */ (document.getElementById("box"));
const send = /** @type {HTMLButtonElement} */ (document.getElementById("send"));
const stop = /** @type {HTMLButtonElement} */ (document.getElementById("stop"));
const model = /** @type {HTMLSelectElement} */ (document.getElementById("model"));

/** @type {{role: string, content: string}[]} */
const messages = [];
/** @type {AbortController | null} */
let asking = null;

/** Adds a block of text to the conversation. @param {string} kind @param {string} text */
function add(kind, text) {
  const article = document.createElement("article");
  article.className = kind;
  article.textContent = text;
  log.append(article);
  article.scrollIntoView({ block: "end" });
  return article;
}

/** The records of an answer, as they come. @param {ReadableStream<Uint8Array>} body */
async function* records(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    const lines = (rest + decoder.decode(value, { stream: !done })).split("\n");
    rest = /** @type {string} */ (lines.pop());
    for (const line of lines) yield JSON.parse(line);
    if (done) return;
  }
}

/** The words for an answer that was refused before it began. @param {Response} response */
async function refusal(response) {
  const said = await response.json().catch(() => ({}));
  const wait = said.error?.retry_after_s;
  return (said.error?.message ?? `The server answered with status ${response.status}.`) + (wait ? ` Wait ${wait} s.` : "");
}

/** Streams one answer into `article`; throws if it does not come whole. @param {HTMLElement} article @param {AbortSignal} signal */
async function answer(article, signal) {
  const response = await fetch("api/stream", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/x-ndjson" },
    body: JSON.stringify({ messages, model: model.value || undefined }),
    signal,
  });
  if (!response.ok || !response.body) throw new Error(await refusal(response));
  for await (const record of records(response.body)) {
    if (record.type === "delta" || record.type === "refusal") article.append(record.text);
    if (record.type === "error") throw new Error(record.message);
    if (record.type === "done") return;
  }
  throw new Error("The connection ended before the answer did.");
}

/** Asks, and tells how it ended. @param {string} question */
async function ask(question) {
  add("question", question);
  messages.push({ role: "user", content: question });
  const article = add("answer", "");
  asking = new AbortController();
  setBusy(true, "Answering…");
  try {
    await answer(article, asking.signal);
    setBusy(false, "Answer finished.");
  } catch (error) {
    const stopped = asking.signal.aborted;
    add(stopped ? "note" : "note error", stopped ? "Stopped." : `The answer is not whole. ${/** @type {Error} */ (error).message}`);
    setBusy(false, stopped ? "Stopped." : "The answer failed.");
  }
  asking = null;
  const text = article.textContent ?? "";
  if (text) messages.push({ role: "assistant", content: text });
  else messages.pop();
}

/** @param {boolean} busy @param {string} words */
function setBusy(busy, words) {
  send.disabled = busy;
  stop.hidden = !busy;
  status.textContent = words;
}

/** Offers the choice where there is one; without it the server's default answers. */
async function offerModels() {
  const response = await fetch("v1/models");
  if (!response.ok) return; // who may not ask for the list may be asked to sign in when they ask a question
  /** @type {{data: {id: string}[]}} */
  const { data } = await response.json();
  const usual = new Option("Usual model", "");
  model.replaceChildren(usual, ...data.map(({ id }) => new Option(id, id)));
  model.hidden = data.length < 2;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const question = box.value.trim();
  if (asking || !question) return;
  box.value = "";
  void ask(question);
});

box.addEventListener("keydown", (event) => {
  // Safari ends a composition before its keydown, which then carries the code 229.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  form.requestSubmit();
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") asking?.abort();
});
stop.addEventListener("click", () => asking?.abort());
addEventListener("pagehide", () => asking?.abort());
offerModels().catch(() => {}); // the box works without it
