// Around the conversation: suggestions, the bar with the choice of a model, and notices.
// @ts-check

import { button, h, icon } from "./dom.js";

/** @import { Limits } from "./types" */

const DOWN = "M6 9.5l6 6 6-6";
const LINES = "M4 7h16M4 12h16M4 17h10";
const PLUS = "M12 5v14M5 12h14";

// The mock model has a good answer to each of them; they are offered for no other.
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

/** Whether `element` is to be dark: as its attribute says, else as the page around it, else as the reader. @param {Element} element */
export function isDark(element) {
  const named = element.getAttribute("scheme") ?? getComputedStyle(element).colorScheme ?? "";
  const schemes = ["light", "dark"].filter((scheme) => named.includes(scheme));
  return schemes.length === 1 ? schemes[0] === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

export class Models {
  #list = h("select", { "aria-label": "Model", part: "model" });
  #usual = "";
  #recalled = "";
  /** @type {Set<string>} */
  #mocks = new Set();
  /** Of a request, once the server has sent them. @type {Limits | undefined} */
  limits;

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

  get hasChoice() {
    return !this.element.hidden;
  }

  /** Whether what is chosen needs no key. */
  get isMock() {
    return this.#mocks.has(this.choice || this.#usual);
  }

  /**
   * Asks for the models and the limits. Without them there is no choice, and all else works: it may need a sign-in first.
   * @param {typeof fetch} ask @param {URL} url @param {() => Promise<HeadersInit>} headers
   */
  async load(ask, url, headers) {
    try {
      const response = await ask(url, { headers: await headers() });
      const { default: usual, models, limits } = await response.json();
      this.#usual = String(usual);
      this.#mocks = new Set(models.filter((/** @type {any} */ model) => model.is_mock).map(idOf));
      this.limits = limits;
      this.#offer(models.map(idOf));
    } catch {} // a refusal has none
  }

  /** @param {string[]} names */
  #offer(names) {
    const usual = new Option(`${this.#usual} (default)`, "");
    this.#list.replaceChildren(usual, ...names.map((name) => new Option(name, name)));
    this.choose(names.includes(this.#recalled) ? this.#recalled : this.choice);
    this.element.hidden = names.length < 2;
  }

  /** Where the list does not have it, it is asked for all the same. @param {string} name */
  choose(name) {
    this.choice = name;
    this.#recalled = "";
    const isListed = Array.from(this.#list.options, ({ value }) => value).includes(name);
    if (!isListed && this.#list.options.length) this.#list.append(new Option(name, name));
    this.#list.value = name;
  }

  /** Chooses what was chosen in another tab, if it is still offered. @param {string} name */
  recall(name) {
    this.#recalled = name;
  }

  /** Has the reader choose. */
  open() {
    this.#list.focus();
    try {
      this.#list.showPicker(); // is not everywhere, nor always allowed
    } catch {}
  }
}

/** @param {{id: unknown}} model */
const idOf = ({ id }) => String(id);

const OFFLINE = "You are offline. What you write stays here until you are back.";
const WAITING = "Wait for the end of the answer, or stop it, to send this.";
const OUTDATED = "A part of this page could not be loaded, perhaps because a newer version is there. Reload the page.";
/** By how the chat is kept. */
const UNKEPT = {
  kept: "",
  closed: "This browser cannot keep the chat: it is gone when the page is closed.",
  full: "This browser cannot keep the chat, because its room for chats is full. Delete some, or this one is gone when the page is closed.",
};

export class Notices {
  /** Whether the browser keeps what is asked. @type {keyof typeof UNKEPT} */
  #keeping = "kept";
  #isWaiting = false;
  #isOutdated = false;
  #list;
  #spoken = h("div", { className: "spoken" });
  #seen = h("p", { className: "notice", part: "notice", hidden: true });

  /** @param {() => void} list opens the list of chats */
  constructor(list) {
    this.#list = list;
    const face = { className: "notices", role: "status", "aria-atomic": "false" };
    this.element = h("div", face, this.#seen, this.#spoken);
  }

  /** @param {string} words */
  say(words) {
    this.#spoken.textContent = words;
  }

  /** @param {keyof typeof UNKEPT} keeping */
  set keeping(keeping) {
    this.#keeping = keeping;
    this.#show();
  }

  /** Whether something is to be sent after the answer that still comes. @param {boolean} isWaiting */
  set isWaiting(isWaiting) {
    this.#isWaiting = isWaiting;
    this.#show();
  }

  tellOutdated() {
    this.#isOutdated = true;
    this.#show();
  }

  /** @param {AbortSignal} signal ends the watch */
  watch(signal) {
    for (const change of ["online", "offline"]) addEventListener(change, () => this.#show(), { signal });
    this.#show();
  }

  get #words() {
    if (!navigator.onLine) return OFFLINE;
    if (this.#isOutdated) return OUTDATED;
    return this.#isWaiting ? WAITING : UNKEPT[this.#keeping];
  }

  #show() {
    const words = this.#words;
    this.#seen.hidden = !words;
    if (this.#seen.firstChild?.data === words) return;
    const help =
      words === UNKEPT.full ? button("Choose chats to delete", { className: "quiet", onclick: this.#list }) : "";
    this.#seen.replaceChildren(words, help);
  }
}
