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

// The answer is complete for the server, but the model has not said all of it.
const SHORTENED = {
  length: "The answer has reached its longest length.",
  content_filter: "A filter of the model's server has ended the answer.",
};

const form = document.forms[0];
const status = document.querySelector("[role=status]");
const messages = []; // the conversation, which each request sends
let controller;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (form.send.hidden) return; // Enter, during an answer
  const question = form.question.value;
  form.reset();
  ask(question);
});
form.stop.addEventListener("click", () => controller.abort());

async function ask(question) {
  controller = new AbortController();
  messages.push({ role: "user", content: question });
  addTurn("question", question);
  const answer = addTurn("answer", "");
  setBusy(answer, true, "Answering…");
  let note = "";
  try {
    for await (const { type, text, finish_reason } of records(messages, controller.signal)) {
      if (type === "delta" || type === "refusal") answer.append(text);
      if (type === "done") note = SHORTENED[finish_reason] ?? "";
    }
  } catch (error) {
    const fault = answer.textContent ? "This answer is incomplete. " : "There is no answer. ";
    note = controller.signal.aborted ? "Stopped." : fault + error.message;
  }
  if (answer.textContent) messages.push({ role: "assistant", content: answer.textContent });
  else messages.pop(); // or the next request would ask both questions
  setBusy(answer, false, note ? "" : "Done.");
  if (note) answer.append(Object.assign(document.createElement("p"), { className: "note", textContent: note }));
}

function addTurn(className, textContent) {
  const turn = Object.assign(document.createElement("article"), { className, textContent });
  document.getElementById("turns").append(turn);
  return turn;
}

function setBusy(answer, busy, words) {
  answer.ariaBusy = busy;
  form.send.hidden = busy;
  form.stop.hidden = !busy;
  status.textContent = words;
}
