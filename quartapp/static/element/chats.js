// The list of this browser's chats, in a dialog: to open one, name it, or delete it. It is loaded when it is first opened.
// @ts-check

import { button, h, icon, onEscape, onSubmit } from "./dom.js";
import { History } from "./history.js";

/** @import { Chat } from "./types" */

const CROSS = "M6 6l12 12M18 6 6 18";
const PENCIL = "M5 19l1-4L16 5l3 3L9 18zM14 7l3 3";
const BIN = "M5 7h14M10 7V5h4v2M7 7l1 12h8l1-12M10.5 11v5M13.5 11v5";

export class Chats {
  #history = new History(null, "");
  #acts;
  #list = h("ul");
  #none = h("p", { className: "none" }, "Nothing yet. What you ask is kept in this browser, and nowhere else.");

  /**
   * @param {Element} place where it stands
   * @param {{isOpen: (id: string) => boolean, open: (id: string) => void, leave: (id: string) => void,
   *   renamed: (chat: Chat) => void, deleted: () => void}} acts
   */
  constructor(place, acts) {
    this.#acts = acts;
    const leave = () => this.element.close();
    const close = button(icon(CROSS), { className: "plain", "aria-label": "Close", onclick: leave });
    const head = h("div", { className: "bar" }, h("h2", { id: "chats" }, "Chats"), close);
    const face = { className: "chats", part: "chats", "aria-labelledby": "chats" };
    this.element = h("dialog", face, head, this.#none, this.#list);
    place.append(this.element);
    this.element.addEventListener("click", onlyFirst, true);
    this.element.addEventListener("click", (/** @type {Event} */ { target }) => {
      if (target === this.element) leave(); // what is behind it was clicked
    });
  }

  get isOpen() {
    return this.element.open;
  }

  /** @param {History} history */
  open(history) {
    this.#history = history;
    const chats = history.list();
    this.#list.replaceChildren(...chats.map((chat) => this.#row(chat)));
    this.#none.hidden = chats.length > 0;
    this.element.showModal();
  }

  /** @param {Chat} chat as it was when the list was opened: to be shown, and never to be saved */
  #row(chat) {
    const row = h("li");
    const open = button(h("span", { className: "title", dir: "auto" }, chat.title), { className: "open" });
    open.append(h("span", { className: "when" }, day(chat.changedMs)));
    if (this.#acts.isOpen(chat.id)) open.setAttribute("aria-current", "true");
    open.onclick = () => {
      const isGone = !this.#acts.isOpen(chat.id) && !this.#history.find(chat.id);
      if (isGone) return this.#delete(row, chat); // as another tab did
      this.element.close();
      this.#acts.open(chat.id);
    };
    const rename = tool(PENCIL, "Rename", chat, () => this.#rename(row, chat));
    const remove = tool(BIN, "Delete", chat, () => this.#delete(row, chat));
    row.append(open, rename, remove);
    return row;
  }

  /** @param {HTMLElement} row @param {Chat} chat */
  #rename(row, chat) {
    const face = { className: "field", "aria-label": "Name", required: true, maxLength: 200, dir: "auto" };
    const name = h("input", { ...face, value: chat.title });
    const save = h("button", { type: "submit", className: "quiet" }, "Save");
    const form = h("form", { className: "open" }, name);
    const done = () => {
      const fresh = this.#row(chat);
      row.replaceWith(fresh);
      fresh.querySelector("button + button")?.focus();
    };
    form.append(save);
    onSubmit(form, () => {
      chat.title = name.value.trim() || chat.title;
      this.#history.rename(chat.id, chat.title);
      this.#acts.renamed(chat);
      done();
    });
    onEscape(form, done); // the dialog stays
    row.replaceChildren(form);
    name.select();
    name.focus();
  }

  /** @param {HTMLElement} row @param {Chat} listed */
  #delete(row, listed) {
    this.#acts.leave(listed.id); // what came of its answer is kept, and so comes back
    const chat = this.#history.find(listed.id) ?? listed;
    this.#history.remove(chat.id);
    this.#acts.deleted();
    const undo = button("Undo", { className: "quiet", "aria-label": `Undo deleting ${chat.title}` });
    undo.onclick = () => {
      this.#history.save(chat, true);
      const fresh = this.#row(chat);
      row.replaceWith(fresh);
      fresh.querySelector("button")?.focus();
    };
    row.replaceChildren(h("span", { className: "open gone" }, "Deleted."), undo);
    undo.focus();
  }
}

/** The second click of two is meant for what was there before the first. @param {MouseEvent} event */
function onlyFirst(event) {
  if (event.detail < 2) return;
  event.preventDefault();
  event.stopPropagation();
}

/** @param {string} path @param {string} does @param {Chat} chat @param {() => void} onclick */
function tool(path, does, { title }, onclick) {
  return button(icon(path), { className: "plain", title: does, "aria-label": `${does} ${title}`, onclick });
}

/** @param {number} ms since 1970 */
function day(ms) {
  return new Date(ms).toLocaleDateString(undefined, { day: "numeric", month: "short" });
}
