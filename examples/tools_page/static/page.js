import { CallCard } from "./call.js";
import { Conversation } from "./conversation.js";

// The answer is complete for the server, but the model has not said all of it.
const SHORTENED = {
  length: "The answer has reached its longest length.",
  content_filter: "A filter of the model's server has ended the answer.",
};

const form = document.forms[0];
const status = document.querySelector("[role=status]");
const conversation = new Conversation();
let controller;
let cards = new Map(); // of the last question, by the ids of the calls

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (form.send.hidden) return; // Enter, during an answer
  for (const card of cards.values()) card.end("Not decided");
  cards = new Map();
  const question = form.question.value;
  form.reset();
  conversation.ask(question);
  addTurn("question", question);
  show(addTurn("answer", ""));
});
form.stop.addEventListener("click", () => controller.abort());

// Shows the next answer in `article`. If calls wait for the user, their decision continues it there.
async function show(article) {
  controller = new AbortController();
  setBusy(article, true, "Answering…");
  const before = article.childElementCount;
  let text; // the element for the text of this turn
  let note = "";
  let isComplete = false;
  try {
    for await (const record of conversation.answer(controller.signal)) {
      if (record.type === "delta" || record.type === "refusal") {
        text ??= article.appendChild(Object.assign(document.createElement("p"), { className: "text" }));
        text.append(text.textContent ? record.text : record.text.trimStart());
      } else if (record.type === "tool_call") {
        addCall(article, record);
        text = undefined;
      } else if (record.type === "step") {
        for (const card of cards.values()) card.run();
      } else if (record.type === "tool_approval") {
        cards.get(record.id).wait(() => decided(article));
      } else if (record.type === "tool_result") {
        cards.get(record.id).finish(record);
      } else if (record.type === "done") {
        note = noteOf(record);
        isComplete = true;
      }
    }
  } catch (error) {
    const fault = article.childElementCount > before ? "This answer is incomplete. " : "There is no answer. ";
    note = controller.signal.aborted ? "Stopped." : fault + error.message;
  }
  for (const card of cards.values()) card.close(isComplete);
  const waiting = waitingCard();
  setBusy(article, false, waiting ? "Approve or deny the call." : note ? "" : "Done.");
  if (note) article.append(Object.assign(document.createElement("p"), { className: "note", textContent: note }));
  if (waiting && !form.question.value) waiting.focus();
}

function addCall(article, { index }) {
  const call = conversation.call(index);
  if (cards.get(call.id)?.call === call) return; // a later fragment
  const card = new CallCard(call, conversation);
  cards.set(call.id, card);
  article.append(card.element);
}

// Continues the answer once each call is approved or denied.
function decided(article) {
  const waiting = waitingCard();
  if (waiting) waiting.focus();
  else {
    form.question.focus(); // because the buttons of the card are gone
    show(article);
  }
}

function waitingCard() {
  return [...cards.values()].find((card) => card.isWaiting);
}

function noteOf({ finish_reason }) {
  const isOdd = finish_reason === "tool_calls" && !waitingCard();
  return isOdd ? "The model has called a tool that does not exist." : (SHORTENED[finish_reason] ?? "");
}

function addTurn(className, textContent) {
  const turn = Object.assign(document.createElement("article"), { className, textContent });
  document.getElementById("turns").append(turn);
  return turn;
}

function setBusy(article, busy, words) {
  const hadFocus = form.contains(document.activeElement);
  article.ariaBusy = busy;
  form.send.hidden = busy;
  form.stop.hidden = !busy;
  if (hadFocus) form.question.focus(); // the button with the focus may be hidden now
  status.textContent = words;
}
