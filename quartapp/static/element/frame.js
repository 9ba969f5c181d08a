// Where the parts of the element stand: a bar with the choice of a model, the conversation, the composer.
// @ts-check

import { button, h, icon } from "./dom.js";

const DOWN = "M6 9.5l6 6 6-6";
const LINES = "M4 7h16M4 12h16M4 17h10";
const PLUS = "M12 5v14M5 12h14";

/** @typedef {{element: HTMLElement}} Part */

/**
 * @param {{models: Part, conversation: Part, notices: Part, composer: Part, chats: Part}} parts @param {HTMLElement} jump
 * @param {{list: () => void, begin: () => void}} acts
 */
export function frame({ models, conversation, notices, composer, chats }, jump, acts) {
  const heading = h("h2", { part: "heading" });
  const list = button(icon(LINES), { className: "plain", "aria-label": "Chats", title: "Chats", onclick: acts.list });
  const begin = button(icon(PLUS), { className: "plain", "aria-label": "New chat", title: "New chat", onclick: acts.begin });
  const bar = h("header", { className: "bar", part: "bar" }, list, heading, models.element, begin);
  const foot = h("div", { className: "column" }, jump, notices.element, composer.element);
  const element = h("div", { className: "chat", hidden: true }, bar, conversation.element, foot, chats.element);
  return { element, heading, list };
}

/** The style sheet as an element of its own: a policy that allows no inline style allows this. @param {() => void} ready */
export function styleSheet(ready) {
  const href = new URL("../quart-chat.css", import.meta.url).href;
  return h("link", { rel: "stylesheet", href, onload: ready, onerror: ready });
}

export class Models {
  #list = h("select", { "aria-label": "Model", title: "Model", part: "model" });

  constructor() {
    this.element = h("div", { className: "models", hidden: true }, this.#list, icon(DOWN));
    this.choice = "";
    this.#list.addEventListener("change", () => (this.choice = this.#list.value));
  }

  /** @returns {string | undefined} what to ask for; undefined: whatever the server usually asks */
  get name() {
    return this.choice || undefined;
  }

  /**
   * Asks for the list. Without one there is no choice, and all else works: who may not see it may have to sign in first.
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
    this.#list.replaceChildren(new Option("Usual model", ""), ...names.map((name) => new Option(name, name)));
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
