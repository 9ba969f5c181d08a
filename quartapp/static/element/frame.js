// Around the conversation: suggestions, the bar with the choice of a model, notices, and cards that say what to do.
// @ts-check

import { button, h, icon, onSubmit } from "./dom.js";

/** @import { ChatError } from "./types" */

const DOWN = "M6 9.5l6 6 6-6";
const LINES = "M4 7h16M4 12h16M4 17h10";
const PLUS = "M12 5v14M5 12h14";

// The embedded model has a good answer to each of them.
export const SUGGESTIONS = [
  "Show me Markdown: a list, some code and a table",
  "Write a long explanation of how an answer streams",
  "Greet me in many languages and scripts",
  "Count to 20",
];

/**
 * @param {Record<"models" | "conversation" | "notices" | "composer", {element: HTMLElement}>} parts
 * @param {HTMLElement} jump @param {{list: () => void, begin: () => void}} acts
 */
export function frame({ models, conversation, notices, composer }, jump, acts) {
  const heading = h("h2", { part: "heading" });
  const tool = { className: "plain" };
  const list = button(icon(LINES), { ...tool, "aria-label": "Chats", title: "Chats", onclick: acts.list });
  const begin = button(icon(PLUS), { ...tool, "aria-label": "New chat", title: "New chat", onclick: acts.begin });
  const bar = h("header", { className: "bar", part: "bar" }, list, heading, models.element, begin);
  const foot = h("div", { className: "column" }, jump, notices.element, composer.element);
  const element = h("div", { className: "chat", hidden: true }, bar, conversation.element, foot);
  return { element, heading, list };
}

/** The style sheet as a link, which a policy allows that allows nothing inline. @param {() => void} ready */
export function styleSheet(ready) {
  const href = new URL("../quart-chat.css", import.meta.url).href;
  return h("link", { rel: "stylesheet", href, onload: ready, onerror: ready });
}

export class Models {
  #list = h("select", { "aria-label": "Model", part: "model" });

  constructor() {
    this.element = h("div", { className: "models", hidden: true }, this.#list, icon(DOWN));
    this.choice = "";
    this.#list.addEventListener("change", () => (this.choice = this.#list.value));
  }

  /** @returns {string | undefined} without one the server asks its usual model */
  get name() {
    return this.choice || undefined;
  }

  get isEmpty() {
    return !this.#list.length;
  }

  /**
   * Asks for the list. Without one there is no choice, and all else works: it may need a sign-in first.
   * @param {URL} url @param {() => Promise<HeadersInit>} headers
   */
  async load(url, headers) {
    try {
      const response = await fetch(url, { headers: await headers() });
      const { data } = await response.json();
      this.#offer(data.map((/** @type {{id: unknown}} */ { id }) => String(id)));
    } catch {} // a refusal has no data
  }

  /** @param {string[]} names */
  #offer(names) {
    this.#list.replaceChildren(new Option("Default model", ""), ...names.map((name) => new Option(name, name)));
    this.choose(this.choice);
    this.element.hidden = names.length < 2;
  }

  /** Where the list does not have it, it is asked for all the same. @param {string} name */
  choose(name) {
    this.choice = name;
    const isListed = Array.from(this.#list.options, ({ value }) => value).includes(name);
    if (!isListed && this.#list.options.length) this.#list.append(new Option(name, name));
    this.#list.value = name;
  }
}

const OFFLINE = "You are offline. What you write stays here until you are back.";
const UNKEPT = "This browser cannot keep the chat: it is gone when the page is closed.";

export class Notices {
  #hasRoom = true;
  #spoken = h("div", { className: "spoken" });
  #seen = h("p", { className: "notice", part: "notice", hidden: true });

  constructor() {
    const face = { className: "notices", role: "status", "aria-atomic": "false" };
    this.element = h("div", face, this.#seen, this.#spoken);
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
    const kept = this.#hasRoom ? "" : UNKEPT;
    const words = navigator.onLine ? kept : OFFLINE;
    if (this.#seen.textContent !== words) this.#seen.textContent = words;
    this.#seen.hidden = !words;
  }
}

const CONNECTION = "Check your connection, then try again.";
const LATER = "Try again in a moment.";

/** By an error's code. */
const ADVICE = new Map(Object.entries({
  network: CONNECTION,
  idle: CONNECTION,
  truncated: CONNECTION,
  context_too_long: "Begin a new chat, or ask with fewer words.",
  too_large: "Begin a new chat, or ask with fewer words.",
  content_filtered: "Put the question in other words.",
  model_not_found: "Choose another model.",
  forbidden: "Whoever runs this chat can say who may ask.",
  deadline_exceeded: "Ask for a shorter answer, or try again.",
}));

const SIGN_IN = "Sign in, then try again.";
const SIGN_IN_ELSEWHERE = "If you are asked to sign in elsewhere, do, and reload the page.";
const NO_CHAT = "There is no chat at this address.";

const MOST_MESSAGE_CHARS = 300;
const MOST_ID_CHARS = 100;

/** What went wrong, as it can be shown and said. @param {Error} error */
export function messageOf({ message }) {
  return message.length > MOST_MESSAGE_CHARS ? `${message.slice(0, MOST_MESSAGE_CHARS)}…` : message;
}

/** @param {ChatError} error */
function adviceFor({ code, status }) {
  if (status === 401) return SIGN_IN;
  if (code !== "bad_answer") return ADVICE.get(code) ?? LATER;
  if (status === 404) return NO_CHAT;
  return [200, 403].includes(status ?? 0) ? SIGN_IN_ELSEWHERE : LATER;
}

/**
 * A button says "Try again", after a countdown where the server named a wait; nothing is asked again by itself.
 * @param {ChatError} error @param {() => void} again
 */
export function errorCard(error, again) {
  const waitSeconds = error.retryAfterSeconds ?? 0;
  return h(
    "div",
    { className: "card error", part: "error" },
    h("p", { className: "what" }, messageOf(error)),
    waitSeconds ? null : h("p", {}, adviceFor(error)),
    againButton(waitSeconds, again),
    error.id
      ? h("p", { className: "id" }, "For whoever runs this chat: ", String(error.id).slice(0, MOST_ID_CHARS))
      : null,
  );
}

/** @param {number} waitSeconds @param {() => void} again */
function againButton(waitSeconds, again) {
  const face = button("Try again", { className: "primary", onclick: again });
  const readyMs = performance.now() + waitSeconds * 1000;
  const tell = () => {
    const left = Math.ceil((readyMs - performance.now()) / 1000);
    face.disabled = left > 0;
    face.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
    return left > 0;
  };
  const isThere = () => face.getRootNode() instanceof ShadowRoot; // which may come back
  const timer = setInterval(() => (tell() && isThere()) || clearInterval(timer), 250);
  tell();
  return face;
}

const REFUSED = "This token was not accepted.";
const SENDABLE = /^[\x21-\x7e]+$/; // no header takes any other

/** Asks for a token, which is kept in memory alone. @param {boolean} isRefused whether one was given already
 * @param {(token: string) => void} signIn */
export function signInCard(isRefused, signIn) {
  const name = { "aria-label": "Access token", placeholder: "Access token" };
  const secret = { type: "password", required: true, autocomplete: "off", dir: "ltr" };
  const token = h("input", { ...name, ...secret, className: "field" });
  const words = h("p", { className: "what", "aria-live": "polite" }, isRefused ? REFUSED : "Sign in to ask.");
  const send = h("button", { type: "submit", className: "primary", part: "button" }, "Sign in");
  const form = h(
    "form",
    { className: "card", part: "sign-in" },
    words,
    h("div", { className: "row" }, token, send),
    h("p", { className: "id" }, "It is forgotten when this page is closed."),
  );
  onSubmit(form, () => {
    const given = token.value.trim();
    if (SENDABLE.test(given)) signIn(given);
    else words.textContent = REFUSED;
  });
  return form;
}
