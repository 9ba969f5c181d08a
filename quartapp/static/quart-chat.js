// <quart-chat src="/ai">: the whole chat in one tag; see docs/reference/element.md.
// @ts-check

import { Composer, hasTouch, Instructions } from "./element/composer.js";
import { Conversation, Scroller } from "./element/conversation.js";
import { button } from "./element/dom.js";
import { frame, isDark, Models, Notices, styleSheet, SUGGESTIONS } from "./element/frame.js";
import { History, keyOf, newChat, Shelf, storageOf, Tab } from "./element/history.js";
import { Talk } from "./element/talk.js";

/** @import { Chats } from "./element/chats.js" */
/** @import { CardActs, Chat, Options, Turn } from "./element/types" */

// The server puts the version of its files into their addresses; a copy elsewhere has none.
const ABOVE = /\/[0-9a-f]{16}\/[^/]*$/.test(import.meta.url) ? "../../" : "../";

/** @type {QuartChat | undefined} */
let lastAsked;

export class QuartChat extends HTMLElement {
  static observedAttributes = ["heading", "placeholder", "model", "scheme", "system-prompt", "user"];

  // What was set before this script ran counts.
  /** Sent with every request: what `fetch` takes, or a function that gives it, async or not. @type {Options["headers"]} */
  headers = /** @type {any} */ (this).headers;
  /** What else each question's request says. @type {Options["body"]} */
  body = /** @type {any} */ (this).body;
  /** What asks in place of the global `fetch`. @type {typeof fetch | undefined} */
  fetch = /** @type {any} */ (this).fetch;
  /** How long no byte may come. @type {Options["idleSeconds"]} */
  idleSeconds = /** @type {any} */ (this).idleSeconds;

  /** The host's; without them the mock model's are shown where it answers. @type {string[] | undefined} */
  #suggestions;
  #user = "";
  /** @type {URL | undefined} */
  #folder;
  #token = "";
  #history = new History(null, "");
  #tab = new Tab(null, "");
  /** The model that was chosen last, for other tabs. */
  #chosen = new Shelf(null, "");
  #leaving = new AbortController();
  #isOpen = false;
  #isDriven = false;

  #notices = new Notices(() => this.#list());
  #models = new Models();
  #jump = button("Jump to the latest", { className: "jump", part: "jump", hidden: true });
  #instructions = new Instructions((text, isDone) => this.#instruct(text, isDone));
  #conversation = new Conversation(this.#instructions.element, {
    ask: (text) => this.#ask(text),
    replace: (turn, text) => this.#talk.replace(turn, text),
    help: /** @returns {Partial<CardActs>} */ (turn, text) => this.#talk.help(turn, text),
    draft: (turn, text) => this.#keepEdit(turn, text),
    outdated: () => this.#notices.tellOutdated(),
    refocus: () => (hasTouch() ? this.#conversation.element : this.#composer).focus({ preventScroll: true }),
  });
  #composer = new Composer({
    ask: (text) => this.#send(text),
    wait: () => (this.#notices.isWaiting = true),
    stop: () => this.#stop(),
    draft: (draft) => this.#tab.write({ draft }),
  });
  /** @type {Chats | undefined} */
  #chats;
  /** @type {Talk} */
  #talk = new Talk(this.#conversation, new Scroller(this.#conversation.element, this.#jump), this.#notices, {
    options: () => this.#options(),
    mayInstruct: () => this.hasAttribute("system-prompt"),
    limits: () => this.#models.limits,
    hasChoice: () => this.#models.hasChoice,
    chooseModel: () => this.#models.open(),
    begin: (text) => {
      this.#begin();
      this.#giveBack(text);
    },
    giveBack: (text) => this.#giveBack(text),
    setBusy: (isBusy) => this.#setBusy(isBusy),
    keep: (chat, isAsked) => this.#keep(chat, isAsked),
    emit: (name, detail, isCancelable) => this.#emit(name, detail, isCancelable),
    signIn: (token) => this.signIn(token),
  });
  #frame = frame(
    { models: this.#models, conversation: this.#conversation, notices: this.#notices, composer: this.#composer },
    this.#jump,
    { list: () => this.#list(), begin: () => this.#begin() },
  );

  constructor() {
    super();
    const sheet = styleSheet(() => this.#reveal());
    this.#models.element.addEventListener("change", () => {
      this.#tab.write({ model: this.#models.choice });
      this.#chosen.put(JSON.stringify(this.#models.choice));
      this.#talk.chat.mostChars = 0; // another model may take more
      this.#suggest();
    });
    this.attachShadow({ mode: "open" }).append(sheet, this.#frame.element);
  }

  connectedCallback() {
    this.#watch();
    if (this.#isOpen) return; // it was only moved
    this.#isOpen = true;
    for (const name of /** @type {const} */ (["suggestions", "user"])) {
      const given = Object.getOwnPropertyDescriptor(this, name)?.value;
      Reflect.deleteProperty(this, name); // it hides the setter
      if (given !== undefined) this[name] = given;
    }
    this.#label();
    this.#remember();
    void this.#loadModels();
  }

  async disconnectedCallback() {
    this.#chats?.element.close();
    await undefined;
    if (this.isConnected) return; // it was only moved
    this.#leaving.abort();
    this.#talk.stop();
  }

  /** @param {string} name @param {string | null} _ @param {string | null} value */
  attributeChangedCallback(name, _, value) {
    if (name === "model") this.#models.choose(value ?? "");
    if (name === "user") this.user = value ?? "";
    this.#label();
    this.#suggest();
  }

  /** What can be asked with a click where nothing was asked yet. */
  get suggestions() {
    return this.#suggestions ?? (this.#models.isMock ? SUGGESTIONS : []);
  }

  set suggestions(texts) {
    this.#suggestions = Array.from(texts ?? [], String);
    this.#suggest();
  }

  /** Whose chats are shown and kept; what another has typed, asked or signed in with is not theirs. @returns {string} */
  get user() {
    return this.#user;
  }

  set user(user) {
    const name = String(user ?? "");
    if (name === this.#user) return;
    this.#user = name;
    if (!this.#isOpen) return;
    this.#signOut();
    this.#remember();
    void this.#loadModels();
  }

  /** Asks as if it had been typed. An answer that still comes is stopped. @param {string} text */
  ask(text) {
    this.#driven(() => this.#ask(text));
  }

  /** Stops the answer; what came of it stays. */
  stop() {
    this.#driven(() => this.#stop());
  }

  newChat() {
    this.#driven(() => this.#begin());
  }

  /** Deletes all that this browser keeps of the user's chats here, and forgets the chosen model and the token. */
  clear() {
    if (!this.#isOpen) return;
    this.#signOut();
    this.#history.clear();
    this.#chosen.clear();
    this.#tab.clear();
    this.#remember();
  }

  /** Asks again what was refused. @param {string} [token] to be sent as `Authorization: Bearer …` from now on */
  signIn(token) {
    if (token !== undefined) this.#token = token;
    this.#talk.signedIn();
    void this.#loadModels();
  }

  /** @override */
  focus() {
    this.#composer.focus();
  }

  // -- what it is asked with

  /**
   * The folder of the chat's routes; unless `src` names it, the one above the folder of this module and its version.
   * A proxy may take a prefix off each path: `/ai` is then the end of the module's own folder, which has that prefix.
   */
  get #base() {
    const own = new URL(ABOVE, import.meta.url);
    const named = new URL(this.getAttribute("src") ?? own, document.baseURI);
    const folder = new URL(named.href.replace(/\/?([?#].*)?$/, "/"));
    const isOwn = folder.pathname !== "/" && own.href.endsWith(folder.pathname) && own.host === folder.host;
    return (this.#folder ??= isOwn ? own : folder);
  }

  /** @returns {Options} */
  #options() {
    const body = { ...this.body, ...(this.#models.name ? { model: this.#models.name } : {}) };
    const { idleSeconds } = this;
    const url = new URL("api/stream", this.#base);
    return { url, body, idleSeconds, fetch: this.fetch ?? undefined, headers: () => this.#allHeaders() };
  }

  async #allHeaders() {
    const own = typeof this.headers === "function" ? await this.headers() : this.headers;
    const all = new Headers(/** @type {HeadersInit} */ (own ?? {}));
    if (this.#token) all.set("Authorization", `Bearer ${this.#token}`);
    return all;
  }

  async #loadModels() {
    const ask = this.fetch ?? globalThis.fetch;
    const { hasChoice } = this.#models;
    await this.#models.load(ask, new URL("api/models", this.#base), () => this.#allHeaders());
    if (this.#models.hasChoice !== hasChoice) this.#talk.refresh();
    this.#suggest();
  }

  #suggest() {
    this.#conversation.suggest(this.suggestions);
  }

  #signOut() {
    this.#talk.stop();
    this.#token = "";
    this.#talk.signedOut();
    this.#chats?.element.close();
  }

  // -- what is kept

  /** Finds what this tab last had open. */
  #remember() {
    const name = this.getAttribute("storage") ?? "local";
    const key = keyOf(this.#base.href, this.id, this.#user);
    const storage = storageOf(name);
    this.#history = new History(storage, key);
    this.#chosen = new Shelf(storage, `${key} model`);
    this.#tab = new Tab(name === "none" ? null : storageOf("session"), `${key} tab`);
    this.#frame.list.hidden = !this.#history.isOpen;
    const { chatId, draft, system, model } = this.#tab.read();
    const chat = this.#addressed ?? this.#history.find(chatId);
    if (chat && chat.id !== chatId) this.#tab.write({ chatId: chat.id, edit: "" });
    this.#talk.open(chat ?? { ...newChat(), system });
    this.#instructions.text = this.#talk.chat.system;
    this.#address(false);
    this.#notices.keeping = "kept";
    this.#composer.text = draft;
    if (typeof model === "string") this.#models.choose(model);
    else this.#models.recall(this.#chosen.take());
    if (!this.#frame.element.hidden) this.#resumeEdit();
  }

  /** Where a question was being written anew, it is so again. */
  #resumeEdit() {
    const { edit, editAt } = this.#tab.read();
    if (edit) this.#talk.rewrite(editAt, edit);
  }

  /** @param {Turn} turn @param {string} text in place of its question; empty for none */
  #keepEdit(turn, text) {
    const at = this.#talk.chat.turns.indexOf(turn);
    if (at >= 0 && (text || this.#tab.read().editAt === at)) this.#tab.write({ edit: text, editAt: at });
  }

  /** @param {Chat} chat @param {boolean} [isAsked] */
  #keep(chat, isAsked) {
    if (!chat.turns.length) return;
    const isKept = this.#history.save(chat, isAsked);
    this.#notices.keeping = isKept ? "kept" : this.#history.list().length ? "full" : "closed";
    const { edit, editAt } = this.#tab.read();
    const isReplaced = isAsked && editAt >= chat.turns.length - 1;
    this.#tab.write({ chatId: this.#talk.chat.id, edit: isReplaced ? "" : edit });
    this.#address(false);
  }

  /** The chat that the page's address names, on a page of the element's own. */
  get #addressed() {
    const isMeant = this.hasAttribute("addressed");
    return isMeant ? this.#history.list().find((chat) => addressOf(chat) === location.hash) : undefined;
  }

  /** Gives such a page the title and the address of the chat. @param {boolean} isAnother and Back leads to the one before */
  #address(isAnother) {
    if (!this.hasAttribute("addressed") || !this.#history.isOpen) return;
    const { chat } = this.#talk;
    document.title = chat.title || this.#frame.heading.textContent;
    const address = addressOf(chat);
    if (address === location.hash) return;
    history[isAnother ? "pushState" : "replaceState"](null, "", address || location.pathname + location.search);
  }

  /** Goes to the chat that Back or Forward leads to. */
  #follow() {
    const chat = this.#addressed ?? newChat();
    if (this.hasAttribute("addressed") && chat.id !== this.#talk.chat.id) this.#show(chat, false);
  }

  /** @param {Chat} chat @param {boolean} [isAnother] */
  #show(chat, isAnother = true) {
    this.#talk.open(chat);
    this.#instructions.text = chat.system;
    this.#tab.write({ chatId: chat.id, system: chat.system, edit: "" });
    this.#address(isAnother);
  }

  /** @param {string} text @param {boolean} isDone */
  #instruct(text, isDone) {
    this.#talk.chat.system = text;
    this.#tab.write({ system: text });
    if (isDone) this.#keep(this.#talk.chat);
  }

  /** Opens the list of chats. */
  async #list() {
    const loaded = await import("./element/chats.js").catch(() => this.#notices.tellOutdated());
    if (!loaded) return;
    const { Chats } = loaded;
    this.#chats ??= new Chats(this.#frame.element, {
      isOpen: (id) => id === this.#talk.chat.id,
      open: (id) => this.#open(id),
      leave: (id) => id === this.#talk.chat.id && this.#show(newChat()),
      renamed: ({ id, title }) => {
        if (id === this.#talk.chat.id) this.#talk.chat.title = title;
        this.#address(false);
      },
      deleted: () => this.#talk.chat.turns.length && this.#keep(this.#talk.chat), // there is room for it now
    });
    if (this.isConnected && !this.#chats.isOpen) this.#chats.open(this.#history);
  }

  /** What is open already has more of it than the store. @param {string} id */
  #open(id) {
    const chat = id !== this.#talk.chat.id && this.#history.find(id);
    if (chat) this.#show(chat);
  }

  // -- what happens to it

  /** @param {string} text */
  #send(text) {
    this.#composer.text = "";
    this.#tab.write({ draft: "" });
    this.#ask(text);
  }

  /** @param {string} text */
  #ask(text) {
    const asked = String(text).trim();
    if (asked) this.#talk.ask(asked);
    this.#takeFocusBack();
  }

  #stop() {
    this.#talk.stop();
    this.#takeFocusBack();
  }

  #begin() {
    this.#show(newChat());
    this.#takeFocusBack();
  }

  /** @param {string} text that was not asked, and goes before what has been typed since */
  #giveBack(text) {
    const draft = [text, this.#composer.text].filter(Boolean).join("\n");
    this.#composer.text = draft;
    this.#tab.write({ draft });
  }

  /** @param {boolean} isBusy */
  #setBusy(isBusy) {
    if (isBusy) lastAsked = this;
    this.#composer.isBusy = isBusy;
    this.#notices.isWaiting = false;
  }

  /** Escape stops, from within the element and where nothing has the focus, and does nothing else. @param {KeyboardEvent} event */
  #escape(event) {
    const path = event.composedPath();
    const isMeant = path.includes(this) || (path[0] === document.body && lastAsked === this);
    const isFree = !event.defaultPrevented && !event.isComposing && !this.#chats?.isOpen;
    if (event.key !== "Escape" || !isMeant || !isFree || !this.#talk.isBusy) return;
    event.preventDefault();
    this.#stop();
  }

  #watch() {
    this.#leaving.abort();
    this.#leaving = new AbortController();
    const { signal } = this.#leaving;
    addEventListener("keydown", (event) => this.#escape(event), { signal });
    addEventListener("popstate", () => this.#follow(), { signal });
    addEventListener("pagehide", () => this.#talk.stop(), { signal });
    document.addEventListener("visibilitychange", () => this.#talk.isBusy && this.#keep(this.#talk.chat), { signal });
    const reload = () => this.#models.isEmpty && this.#loadModels();
    addEventListener("online", reload, { signal });
    this.addEventListener("chat-answer", reload, { signal, once: true });
    this.#notices.watch(signal);
    this.#watchScheme(signal);
  }

  /** Light or dark, as the page around it is: that is seen in what its root and body say of themselves. @param {AbortSignal} signal */
  #watchScheme(signal) {
    const look = () => this.#dress();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", look, { signal });
    const changes = new MutationObserver(look);
    for (const around of [document.documentElement, document.body, this]) {
      changes.observe(around, { attributeFilter: ["class", "style", "data-theme", "data-color-scheme"] });
    }
    signal.addEventListener("abort", () => changes.disconnect());
    look();
  }

  #dress() {
    this.#frame.element.classList.toggle("dark", isDark(this));
  }

  #label() {
    this.#frame.heading.textContent = this.getAttribute("heading") ?? "Chat";
    this.#composer.placeholder = this.getAttribute("placeholder") ?? "Ask something";
    this.#instructions.element.hidden = !this.hasAttribute("system-prompt");
    this.#dress();
  }

  /** Nothing is seen before the style sheet is there. */
  #reveal() {
    if (!this.#frame.element.hidden) return; // it comes anew with each move
    this.#frame.element.hidden = false;
    this.#resumeEdit();
    if (this.hasAttribute("focused")) this.#takeFocusBack();
  }

  /** Does what a host's script asks for, which moves the focus within the element alone. @param {() => void} act */
  #driven(act) {
    this.#isDriven = true;
    act();
    this.#isDriven = false;
  }

  /** Not from what the reader is at elsewhere on the page. Where buttons take no focus, a click leaves nothing with it. */
  #takeFocusBack() {
    const isNowhere = document.activeElement === document.body && !this.#isDriven;
    if (isNowhere || this.matches(":focus-within")) this.#composer.takeFocusBack();
  }

  /** @param {string} name @param {object} detail */
  #emit(name, detail, isCancelable = false) {
    const event = new CustomEvent(name, { detail, cancelable: isCancelable, bubbles: true, composed: true });
    return this.dispatchEvent(event);
  }
}

/** @param {Chat} chat which is not in the list before its first turn */
const addressOf = ({ id, turns }) => (turns.length ? `#${encodeURIComponent(id)}` : "");

// Where a page has two chats, their modules are two as well.
if (!customElements.get("quart-chat")) customElements.define("quart-chat", QuartChat);
