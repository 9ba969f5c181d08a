// What is told beside the conversation: to those who hear it, to everyone, and beneath an answer that is not whole.
// @ts-check

import { button, h } from "./dom.js";

/** @typedef {import("./types").ChatError} ChatError */

const OFFLINE = "You are offline. What you write stays here until you are back.";
const NO_ROOM = "This browser has no room to keep the chat; it is gone when the page is closed.";

export class Notices {
  #hasRoom = true;
  #spoken = h("p", { className: "spoken", role: "status" });
  #seen = h("p", { className: "notice", part: "notice", hidden: true });

  constructor() {
    this.element = h("div", { className: "notices" }, this.#seen, this.#spoken);
  }

  /** @param {string} words */
  say(words) {
    this.#spoken.textContent = words;
  }

  /** Whether the browser keeps what is asked. @param {boolean} hasRoom */
  set hasRoom(hasRoom) {
    this.#hasRoom = hasRoom;
    this.#show();
  }

  /** @param {AbortSignal} signal ends the watch */
  watch(signal) {
    for (const change of ["online", "offline"]) addEventListener(change, () => this.#show(), { signal });
    this.#show();
  }

  #show() {
    const words = this.#hasRoom ? "" : NO_ROOM;
    this.#seen.textContent = navigator.onLine ? words : OFFLINE;
    this.#seen.hidden = !this.#seen.textContent;
  }
}

const CONNECTION = "Check your connection, then try again.";
const LATER = "Try again in a moment.";

/** By an error's code; for those that say it themselves, nothing. */
const ADVICE = new Map(Object.entries({
  network: CONNECTION,
  idle: CONNECTION,
  truncated: CONNECTION,
  bad_answer: "If you are asked to sign in elsewhere, do, and reload the page.",
  context_too_long: "Begin a new chat, or ask with fewer words.",
  too_large: "Begin a new chat, or ask with fewer words.",
  content_filtered: "Put the question in other words.",
  model_not_found: "Choose another model.",
  unauthorized: "Sign in, then try again.",
  forbidden: "Whoever runs this chat can say who may ask.",
  rate_limited: "",
  budget_exceeded: "",
  upstream_busy: "",
  overloaded: "",
  shutting_down: "",
  upstream_overloaded: "",
  deadline_exceeded: "Ask for a shorter answer, or try again.",
}));

/**
 * A button says "Try again"; nothing is ever asked again by itself. Where the server named a wait, it counts down first.
 * @param {ChatError} error @param {() => void} again
 */
export function errorCard(error, again) {
  const advice = ADVICE.get(error.code) ?? LATER;
  return h(
    "div",
    { className: "card error", part: "error" },
    h("p", { className: "what" }, error.message),
    advice ? h("p", {}, advice) : null,
    againButton(error.retryAfterSeconds ?? 0, again),
    error.id ? h("p", { className: "id" }, `For whoever runs this chat: ${error.id}`) : null,
  );
}

/** @param {number} waitSeconds @param {() => void} again */
function againButton(waitSeconds, again) {
  const face = button("Try again", { className: "primary", onclick: again });
  const readyMs = Date.now() + waitSeconds * 1000;
  const tell = () => {
    const left = Math.ceil((readyMs - Date.now()) / 1000);
    face.disabled = left > 0;
    face.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
    return left > 0;
  };
  const timer = setInterval(() => (tell() && face.isConnected) || clearInterval(timer), 250);
  tell();
  return face;
}

/** Asks for a token, which is kept in memory alone. @param {boolean} isRefused whether one was given already
 * @param {(token: string) => void} signIn */
export function signInCard(isRefused, signIn) {
  const token = h("input", { type: "password", required: true, autocomplete: "off", className: "field", dir: "ltr" });
  const words = isRefused ? "This token was not accepted." : "Sign in to ask.";
  const form = h(
    "form",
    { className: "card", part: "sign-in" },
    h("p", { className: "what" }, words),
    h("label", {}, "Access token", token),
    h("button", { type: "submit", className: "primary", part: "button" }, "Sign in"),
    h("p", { className: "id" }, "It is forgotten when this page is closed."),
  );
  form.addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    signIn(token.value.trim());
  });
  return form;
}
