// The chats of this browser: kept, and listed in a dialog, to open one, name it, or delete it.
// @ts-check

import { button, h, icon } from "./dom.js";
import { readChat } from "./turns.js";

/** @typedef {import("./types").Chat} Chat */

const MOST_CHATS = 50;

// The store has about five million, and the page that the element is on may want some.
const MOST_CHARS = 2_000_000;

/**
 * The browser's store of that name; null for "none", and where the browser will not have it.
 * @param {string} name @returns {Storage | null}
 */
export function storageOf(name) {
  try {
    if (name === "none") return null;
    return name === "session" ? sessionStorage : localStorage;
  } catch {
    return null;
  }
}

/** The value at `key`; undefined for one that cannot be read. @param {Storage | null} storage @param {string} key */
function read(storage, key) {
  try {
    return JSON.parse(storage?.getItem(key) ?? "null");
  } catch {
    return undefined;
  }
}

/** Whether `text` is kept now. @param {Storage} storage @param {string} key @param {string} text */
function write(storage, key, text) {
  try {
    storage.setItem(key, text);
    return true;
  } catch {
    return false;
  }
}

/** The chats at one key of a store. Each change reads them anew, for other tabs write there too. */
export class History {
  #storage;
  #key;

  /** @param {Storage | null} storage @param {string} key */
  constructor(storage, key) {
    this.#storage = storage;
    this.#key = key;
  }

  /** The newest first. @returns {Chat[]} */
  list() {
    const kept = read(this.#storage, this.#key);
    const chats = (Array.isArray(kept) ? kept : []).map(readChat).filter((chat) => chat !== null);
    return /** @type {Chat[]} */ (chats).sort((one, other) => other.changedMs - one.changedMs);
  }

  /** Keeps `chat`, at the cost of the oldest where there is no room. @param {Chat} chat @returns whether it is kept */
  save(chat) {
    return this.#write([chat, ...this.list().filter(({ id }) => id !== chat.id)]);
  }

  /** @param {string} id @param {string} title */
  rename(id, title) {
    this.#write(this.list().map((chat) => (chat.id === id ? { ...chat, title } : chat)));
  }

  /** @param {string} id */
  remove(id) {
    this.#write(this.list().filter((chat) => chat.id !== id));
  }

  /** @param {Chat[]} chats */
  #write(chats) {
    if (!this.#storage) return true; // nobody wants it kept
    for (let count = Math.min(chats.length, MOST_CHATS); ; count--) {
      const text = JSON.stringify(chats.slice(0, count));
      if ((text.length <= MOST_CHARS || count <= 1) && write(this.#storage, this.#key, text)) return true;
      if (count <= 1) return false;
    }
  }
}

/** What a tab remembers until it is closed: which chat was open, and what was not sent yet. */
export class Tab {
  #storage;
  #key;

  /** @param {Storage | null} storage @param {string} key */
  constructor(storage, key) {
    this.#storage = storage;
    this.#key = key;
  }

  /** @returns {{chatId: string, draft: string}} */
  read() {
    const { chatId, draft } = read(this.#storage, this.#key) ?? {};
    return { chatId: typeof chatId === "string" ? chatId : "", draft: typeof draft === "string" ? draft : "" };
  }

  /** @param {{chatId?: string, draft?: string}} changes */
  write(changes) {
    if (this.#storage) write(this.#storage, this.#key, JSON.stringify({ ...this.read(), ...changes }));
  }
}

const CROSS = "M6 6l12 12M18 6 6 18";
const PENCIL = "M5 19l1-4L16 5l3 3L9 18zM14 7l3 3";
const BIN = "M5 7h14M10 7V5h4v2M7 7l1 12h8l1-12M10.5 11v5M13.5 11v5";

export class Chats {
  #history = new History(null, "");
  #acts;
  #list = h("ul");
  #none = h("p", { className: "none" }, "Nothing yet. What you ask is kept in this browser, and nowhere else.");

  /** @param {{open: (chat: Chat) => void, deleted: (chat: Chat) => void, renamed: (chat: Chat) => void}} acts */
  constructor(acts) {
    this.#acts = acts;
    const close = button(icon(CROSS), { className: "plain", "aria-label": "Close", onclick: () => this.element.close() });
    const head = h("div", { className: "bar" }, h("h2", { id: "chats" }, "Chats"), close);
    const face = { className: "chats", part: "chats", "aria-labelledby": "chats" };
    this.element = h("dialog", face, head, this.#none, this.#list);
    this.element.addEventListener("click", (/** @type {Event} */ event) => {
      if (event.target === this.element) this.element.close(); // what is behind it was clicked
    });
  }

  get isOpen() {
    return this.element.open;
  }

  /** @param {History} history @param {string} currentId */
  open(history, currentId) {
    this.#history = history;
    const chats = history.list();
    this.#list.replaceChildren(...chats.map((chat) => this.#row(chat, chat.id === currentId)));
    this.#none.hidden = chats.length > 0;
    this.element.showModal();
  }

  /** @param {Chat} chat @param {boolean} isCurrent */
  #row(chat, isCurrent) {
    const row = h("li");
    const open = button(h("span", { className: "title", dir: "auto" }, chat.title), { className: "open" });
    open.append(h("span", { className: "when" }, day(chat.changedMs)));
    if (isCurrent) open.setAttribute("aria-current", "true");
    open.onclick = () => {
      this.element.close();
      this.#acts.open(chat);
    };
    const rename = tool(PENCIL, "Rename", chat, () => this.#rename(row, chat, isCurrent));
    const remove = tool(BIN, "Delete", chat, () => this.#delete(row, chat, isCurrent));
    row.append(open, rename, remove);
    return row;
  }

  /** @param {HTMLElement} row @param {Chat} chat @param {boolean} isCurrent */
  #rename(row, chat, isCurrent) {
    const name = h("input", { className: "field", value: chat.title, "aria-label": "Name", required: true, maxLength: 200, dir: "auto" });
    const save = h("button", { type: "submit", className: "quiet" }, "Save");
    const form = h("form", { className: "open" }, name);
    const done = () => {
      const fresh = this.#row(chat, isCurrent);
      row.replaceWith(fresh);
      fresh.querySelector("button + button")?.focus();
    };
    form.append(save);
    form.addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      chat.title = name.value.trim() || chat.title;
      this.#history.rename(chat.id, chat.title);
      this.#acts.renamed(chat);
      done();
    });
    form.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Escape") return;
      event.preventDefault(); // the dialog stays
      done();
    });
    row.replaceChildren(form);
    name.select();
    name.focus();
  }

  /** @param {HTMLElement} row @param {Chat} chat @param {boolean} isCurrent */
  #delete(row, chat, isCurrent) {
    this.#history.remove(chat.id);
    this.#acts.deleted(chat);
    const undo = button("Undo", { className: "quiet", "aria-label": `Undo deleting ${chat.title}` });
    undo.onclick = () => {
      this.#history.save(chat);
      row.replaceWith(this.#row(chat, isCurrent));
    };
    row.replaceChildren(h("span", { className: "open gone" }, "Deleted."), undo);
    undo.focus();
  }
}

/** @param {string} path @param {string} does @param {Chat} chat @param {() => void} onclick */
function tool(path, does, { title }, onclick) {
  return button(icon(path), { className: "plain", title: does, "aria-label": `${does} ${title}`, onclick });
}

/** @param {number} ms since 1970 */
function day(ms) {
  return new Date(ms).toLocaleDateString(undefined, { day: "numeric", month: "short" });
}
