// A chat: how it begins, and how it is kept, in this browser and, while it is open, in this tab.
// @ts-check

import { sha256 } from "./digest.js";

/** @import { Chat, Fault, Reply, Turn } from "./types" */

const MOST_TITLE_CHARS = 60;
const MOST_IMAGE_CHARS = 100_000;

/** @returns {Chat} */
export function newChat() {
  return { id: newId(), version: "", title: "", changedMs: 0, system: "", sentFrom: 0, mostChars: 0, turns: [] };
}

/** @param {string} question @returns {Turn} */
export function newTurn(question) {
  return { question, reply: readReply({}) };
}

/** What a chat is called until somebody names it. @param {string} question */
export function titleOf(question) {
  const line = question.trim().split("\n", 1)[0];
  return line.length > MOST_TITLE_CHARS ? `${line.slice(0, MOST_TITLE_CHARS).trimEnd()}…` : line;
}

/** Whether somebody named it. @param {Chat} chat */
export function isNamed({ title, turns }) {
  return title !== titleOf(turns[0]?.question ?? "");
}

/** The chat that `value` holds, whatever it is; null if it holds none. @param {any} value @returns {Chat | null} */
function readChat(value) {
  const turns = listOf(value?.turns)
    .map(readTurn)
    .filter(({ question }) => question);
  if (!turns.length) return null;
  return {
    id: textOf(value.id) || turns[0].question,
    version: textOf(value.version),
    title: textOf(value.title) || titleOf(turns[0].question),
    changedMs: Math.min(numberOf(value.changedMs), Date.now()),
    system: textOf(value.system),
    sentFrom: numberOf(value.sentFrom),
    mostChars: numberOf(value.mostChars),
    turns,
  };
}

/** @param {any} value @returns {Turn} */
function readTurn(value) {
  return { question: textOf(value?.question), reply: readReply(value?.reply) };
}

/** @param {any} value @returns {Reply} */
function readReply(value) {
  return {
    text: textOf(value?.text),
    reasoning: textOf(value?.reasoning),
    refusal: textOf(value?.refusal),
    calls: listOf(value?.calls).map((call) => ({ name: textOf(call?.name), arguments: textOf(call?.arguments) })),
    images: listOf(value?.images).map(textOf),
    sources: listOf(value?.sources).map((source) => ({ url: textOf(source?.url), title: textOf(source?.title) })),
    ending: ["done", "failed"].includes(value?.ending) ? value.ending : "stopped",
    finishReason: textOf(value?.finishReason),
    model: textOf(value?.model),
    fault: readFault(value?.fault),
    tokens: numberOf(value?.tokens),
    seconds: numberOf(value?.seconds),
    thoughtSeconds: numberOf(value?.thoughtSeconds),
  };
}

/** Earlier versions kept its sentence alone. @param {any} value @returns {Fault | null} */
function readFault(value) {
  const message = textOf(value?.message ?? value);
  return message ? { message, code: textOf(value.code), status: numberOf(value.status), id: textOf(value.id) } : null;
}

/** @param {unknown} value */
const textOf = (value) => (typeof value === "string" ? value : "");

/** @param {any} value @returns {number} */
const numberOf = (value) => (Number.isFinite(value) && value > 0 ? value : 0);

/** @param {unknown} value @returns {any[]} */
const listOf = (value) => (Array.isArray(value) ? value : []);

/** Whether there is room for an image in the store. @param {string} url */
export const isKeepable = (url) => url.length <= MOST_IMAGE_CHARS;

/** `turn`, with nothing in place of an image that there is no room for. @param {Turn} turn @returns {Turn} */
function keepable({ question, reply }) {
  return { question, reply: { ...reply, images: reply.images.map((url) => (isKeepable(url) ? url : "")) } };
}

/** As good as `crypto.randomUUID`, which a page without TLS does not have. */
function newId() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("");
}

// The store has about five million, and the page that the element is on may want some.
const MOST_CHARS = 2_000_000;

/** The browser's store of that name; null for "none". @param {string} name @returns {Storage | null} */
export function storageOf(name) {
  try {
    if (name === "none") return null;
    return name === "session" ? sessionStorage : localStorage;
  } catch {
    return /** @type {Storage} */ ({}); // refuses all
  }
}

/** One key of a store, which may be missing, full, or hold whatever somebody wrote there. */
export class Shelf {
  /** @param {Storage | null} storage @param {string} key */
  constructor(storage, key) {
    this.storage = storage;
    this.key = key;
  }

  get isOpen() {
    return Boolean(this.storage?.getItem);
  }

  /** @returns {any} what is there, if it can be read */
  take() {
    try {
      return JSON.parse(this.storage?.getItem(this.key) ?? "null");
    } catch {}
  }

  /** How long what is there is. */
  get chars() {
    try {
      return this.storage?.getItem(this.key)?.length ?? 0;
    } catch {
      return 0;
    }
  }

  clear() {
    try {
      this.storage?.removeItem(this.key);
    } catch {}
  }

  /** @param {string} text @returns {boolean} whether it is kept now; true where nobody wants it kept */
  put(text) {
    try {
      this.storage?.setItem(this.key, text);
      return true;
    } catch {
      return false;
    }
  }
}

/** The chats of this browser. Each change reads them anew, for other tabs write there too. */
export class History extends Shelf {
  /** The newest first. @returns {Chat[]} */
  list() {
    const kept = this.take();
    const chats = (Array.isArray(kept) ? kept : []).map(readChat).filter((chat) => chat !== null);
    return /** @type {Chat[]} */ (chats).sort((one, other) => other.changedMs - one.changedMs);
  }

  /** @param {string} id */
  find(id) {
    return this.list().find((chat) => chat.id === id);
  }

  /**
   * Keeps `chat`, and none the worse for it: where there is no room, all stays as it was. Where another tab went on with
   * it, it becomes a chat of its own; what another tab deleted stays so until it is asked in.
   * @param {Chat} chat @param {boolean} [isAsked] @returns {boolean} whether there was room
   */
  save(chat, isAsked = false) {
    const chats = this.list();
    const stored = chats.find(({ id }) => id === chat.id);
    if (!stored && chat.version && !isAsked) return true;
    if (stored && stored.version !== chat.version) chat.id = newId();
    if (stored && (isNamed(stored) || isNamed(chat))) chat.title = stored.title;
    const { version } = chat;
    chat.version = newId();
    if (this.#write([{ ...chat, turns: chat.turns.map(keepable) }, ...chats.filter(({ id }) => id !== chat.id)]))
      return true;
    chat.version = version;
    return false;
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
    const text = JSON.stringify(chats);
    return (text.length <= MOST_CHARS || text.length < this.chars) && this.put(text);
  }
}

/** What a tab remembers until it is closed: what was open, chosen, and not sent yet. `editAt` is the turn that `edit` is for. */
export class Tab extends Shelf {
  read() {
    const { chatId, draft, system, model, edit, editAt } = this.take() ?? {};
    const texts = { chatId: textOf(chatId), draft: textOf(draft), system: textOf(system), edit: textOf(edit) };
    return { ...texts, editAt: numberOf(editAt), model };
  }

  /** @param {Record<string, string | number>} changes */
  write(changes) {
    this.put(JSON.stringify({ ...this.read(), ...changes }));
  }
}

/**
 * The key under which a browser keeps the chats of an element; no key says who its user is.
 * @param {string} address of the chat's folder @param {string} id of the element @param {string} user of the host's
 */
export function keyOf(address, id, user) {
  return user ? `quart-chat-user ${sha256(JSON.stringify([address, id, user]))}` : `quart-chat ${address} ${id}`;
}
