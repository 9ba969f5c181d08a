// htmx sends the question and shows the answer. This is for what the server cannot send: the end of its connection.

const form = document.forms[0];
let isComplete, isStopped;

form.addEventListener("htmx:before:request", () => {
  isComplete = isStopped = false;
  form.reset();
});

form.stop.addEventListener("click", () => {
  isStopped = true;
  htmx.trigger(form, "htmx:abort");
});

form.addEventListener("end", () => (isComplete = true));

form.addEventListener("htmx:finally:request", () => {
  const answer = document.querySelector("[aria-busy=true]");
  const status = document.querySelector("[role=status]");
  if (answer) answer.ariaBusy = false;
  if (isComplete) return;
  const fault = answer?.textContent ? "This answer is incomplete. " : "There is no answer. ";
  const textContent = isStopped ? "Stopped." : fault + "The connection ended early.";
  if (answer) answer.append(Object.assign(document.createElement("p"), { className: "note", textContent }));
  status.textContent = answer ? "" : textContent;
});
