import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { useState } from "react";

const transport = new DefaultChatTransport({ api: "/ai/api/ui" });

export function Chat() {
  const [notes, setNotes] = useState({}); // by the id of the answer
  const { messages, sendMessage, regenerate, stop, status, error } = useChat({
    transport,
    onFinish: (end) => setNotes((before) => ({ ...before, [end.message.id]: noteOf(end) })),
  });
  const isBusy = status === "submitted" || status === "streaming";
  const last = messages.at(-1);
  const hasAnswer = last?.role === "assistant";

  return (
    <>
      <h1>Ask with React</h1>
      <div role="log" aria-label="Conversation" tabIndex={0}>
        <div id="turns">
          {messages.map((message) => (
            <Turn key={message.id} message={message} isBusy={isBusy && message === last} note={notes[message.id]} />
          ))}
          {error && (
            <p className="note">
              {hasAnswer ? "This answer is incomplete. " : "There is no answer. "}
              {error.message} <button onClick={() => regenerate()}>Try again</button>
            </p>
          )}
        </div>
      </div>
      <Question isBusy={isBusy} onAsk={(text) => sendMessage({ text })} onStop={stop} />
    </>
  );
}

// Why the answer is not the whole of it. The page shows an error by itself, with a button.
function noteOf({ isAbort, isError, finishReason }) {
  if (isError) return "";
  if (isAbort) return "Stopped.";
  if (finishReason === "length") return "The answer has reached its longest length.";
  if (finishReason === "content-filter") return "A filter of the model's server has ended the answer.";
  // useChat takes a stream that merely ends for a complete one. The chat sends `finish` last.
  return finishReason ? "" : "This answer is incomplete. The connection ended early.";
}

function Turn({ message, isBusy, note }) {
  const texts = message.parts.filter((part) => part.type === "text").map((part) => part.text);
  return (
    <article className={message.role === "user" ? "question" : "answer"} aria-busy={isBusy}>
      {texts.join("")}
      {note && <p className="note">{note}</p>}
    </article>
  );
}

function Question({ isBusy, onAsk, onStop }) {
  function submit(event) {
    event.preventDefault();
    if (isBusy) return; // Enter, during an answer
    onAsk(event.target.question.value);
    event.target.reset();
  }
  return (
    <form onSubmit={submit}>
      <label htmlFor="question">Your question</label>
      <input id="question" required autoComplete="off" placeholder="Count to 20" autoFocus />
      {isBusy ? (
        <button key="stop" type="button" name="stop" onClick={onStop}>
          Stop
        </button>
      ) : (
        <button key="ask" name="send">
          Ask
        </button>
      )}
      <p role="status">{isBusy && "Answering…"}</p>
    </form>
  );
}
