// A call of a tool on the page: its arguments, its state, its result, and the buttons of an approval.
export class CallCard {
  isWaiting = false;
  isComplete = false;
  #isOpen = true;

  constructor(call, conversation) {
    this.call = call;
    this.conversation = conversation;
    this.element = document.getElementById("call").content.firstElementChild.cloneNode(true);
    this.element.querySelector("h2").textContent = call.name;
    this.form = this.element.querySelector("form");
    this.#setState("Waiting for its arguments…", "running");
  }

  // The call is complete, and runs.
  run() {
    if (this.isComplete) return;
    this.isComplete = true;
    this.#showArguments();
    this.#setState("Running…", "running");
  }

  // The call runs only after the approval of the user. `onDecision` is called after the decision.
  wait(onDecision) {
    this.isWaiting = true;
    this.#setState("Needs your approval", "asking");
    const decide = (approved) => {
      const reason = approved ? "" : this.form.reason.value.trim();
      this.conversation.decide(this.call, approved, reason);
      if (approved) this.#setWaiting("Running…", "running");
      else this.end(reason ? `Denied: ${reason}` : "Denied", "denied");
      onDecision();
    };
    this.form.approve.addEventListener("click", () => decide(true));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault(); // Enter in the reason denies
      decide(false);
    });
  }

  finish({ content, is_error }) {
    const result = this.element.querySelector("pre");
    result.textContent = content;
    result.hidden = !content;
    this.end(is_error ? "Failed" : "Done", is_error ? "failed" : "done");
  }

  // The answer has ended. The user decides now. Of a call without a result, only the server knows whether it ran.
  close(isAnswerComplete) {
    if (this.isWaiting && isAnswerComplete) this.form.hidden = false;
    else if (this.isWaiting) this.end("Not decided");
    else if (this.isComplete) this.end("No result: it may have run");
    else {
      this.#showArguments();
      this.end("Not run");
    }
  }

  end(words, kind = "ended") {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#setWaiting(words, kind);
  }

  focus() {
    this.element.focus();
  }

  #setWaiting(words, kind) {
    this.isWaiting = false;
    this.form.hidden = true;
    this.#setState(words, kind);
  }

  #setState(words, kind) {
    this.element.dataset.state = kind;
    this.element.ariaLabel = `Call of ${this.call.name}: ${words}`;
    this.element.querySelector(".state").textContent = words;
  }

  #showArguments() {
    const list = this.element.querySelector("dl");
    for (const [name, value] of Object.entries(parsed(this.call.arguments))) {
      const words = typeof value === "string" ? value : JSON.stringify(value);
      for (const [tag, textContent] of [
        ["dt", name],
        ["dd", words],
      ])
        list.append(Object.assign(document.createElement(tag), { textContent }));
    }
  }
}

// Returns the arguments by their names. A model may write any text.
function parsed(text) {
  try {
    const value = JSON.parse(text || "{}");
    if (value && typeof value === "object") return value;
  } catch {
    // the text is shown unchanged
  }
  return { arguments: text };
}
