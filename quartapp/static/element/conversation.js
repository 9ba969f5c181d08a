// The turns of a chat on the page, or what stands there before the first; and the end, which is kept in sight.
// @ts-check

import { Answer } from "./answer.js";
import { Box } from "./composer.js";
import { button, h, onEscape, onSubmit, spokenHeading } from "./dom.js";

/** @import { CardActs, Chat, Turn } from "./types" */

const NEAR_PX = 40;

/**
 * What is seen of a turn, and `help`: what can be done where it failed, with `text` in place of its question.
 * @typedef {{element: HTMLElement, question: Question, answer: Answer, help: (text?: string) => Partial<CardActs>}} View
 */

export class Conversation {
  #acts;
  #suggestions = h("div", { className: "suggestions" });
  #empty;
  #turns = h("div", { className: "turns" });
  /** @type {WeakMap<Turn, View>} */
  #views = new WeakMap();
  /** What is not seen while an answer is awaited that is to take its place. @type {HTMLElement[]} */
  #aside = [];
  #older = h("p", { className: "note older" }, "The messages above are no longer sent: the chat has become too long.");

  /**
   * @param {Element} head what stands before the first turn
   * @param {{ask: (text: string) => void, replace: (turn: Turn, text: string) => void, refocus: () => void,
   *   draft: (turn: Turn, text: string) => void,
   *   help: (turn: Turn, text: string) => Partial<CardActs>, outdated: () => void}} acts
   */
  constructor(head, acts) {
    this.#acts = acts;
    const hello = h("p", { className: "hello" }, "What would you like to know?");
    const words = h("p", {}, "Ask something, and read the answer as it is written.");
    const welcome = h("slot", { name: "empty" }, h("div", { className: "welcome" }, hello, words));
    this.#empty = h("div", { className: "empty", part: "empty" }, welcome, this.#suggestions);
    const column = h("div", { className: "column" }, head, this.#empty, this.#turns);
    const log = { role: "log", "aria-live": "off", "aria-label": "Conversation", tabIndex: 0, part: "log" };
    this.element = h("div", { ...log, className: "log" }, column);
  }

  /** @param {string[]} texts */
  suggest(texts) {
    const face = { className: "suggestion", part: "suggestion", dir: "auto" };
    const ask = (/** @type {string} */ text) => button(text, { ...face, onclick: () => this.#acts.ask(text) });
    this.#suggestions.replaceChildren(...texts.map(ask));
  }

  /** @param {Chat} chat */
  show({ turns, sentFrom }) {
    this.#leave(() => this.#turns.replaceChildren());
    for (const turn of turns) this.#add(turn).answer.restore();
    this.mark(sentFrom ? turns[sentFrom] : undefined);
    this.#empty.hidden = turns.length > 0;
  }

  /** @param {Turn} turn */
  view(turn) {
    return this.#views.get(turn);
  }

  /** Shows `turn` in place of those from `at` on, which `settle` removes and `putBack` shows again. @param {Turn} turn @param {number} at */
  begin(turn, at) {
    this.#leave(() => {
      this.#aside = Array.from(this.#turns.children).slice(at);
      for (const element of this.#aside) element.hidden = true;
    });
    this.#empty.hidden = true;
    return this.#add(turn);
  }

  settle() {
    for (const element of this.#aside.splice(0)) element.remove();
  }

  /** @param {Turn} turn that nothing came of */
  putBack(turn) {
    this.#leave(() => this.#views.get(turn)?.element.remove());
    for (const element of this.#aside.splice(0)) element.hidden = false;
    this.#empty.hidden = this.#turns.childElementCount > 0;
  }

  /** Says at `turn` that what is before it is not sent; nowhere without one. @param {Turn} [turn] */
  mark(turn) {
    const view = turn && this.#views.get(turn);
    if (view) view.element.prepend(this.#older);
    else this.#older.remove();
  }

  /** @param {Turn} turn @returns {View} */
  #add(turn) {
    const { ask, replace, draft, outdated } = this.#acts;
    const question = new Question(turn.question, {
      replace: (text) => replace(turn, text),
      draft: (text) => draft(turn, text),
    });
    const help = (text = turn.question) => ({
      again: () => replace(turn, text),
      edit: () => question.open(text).focus(),
      ...this.#acts.help(turn, text),
    });
    const again = () => replace(turn, turn.question);
    const goOn = () => ask("Go on where you stopped.");
    const answer = new Answer(turn.reply, { again, goOn, help, outdated });
    const view = { element: h("div", { className: "turn" }, question.element, answer.element), question, answer, help };
    this.#views.set(turn, view);
    this.#turns.append(view.element);
    return view;
  }

  /** Does what may take the focus's place away, and then finds it another. @param {() => void} act */
  #leave(act) {
    const { activeElement } = /** @type {ShadowRoot} */ (this.element.getRootNode());
    act();
    if (activeElement && !(activeElement.isConnected && !activeElement.closest("[hidden]"))) this.#acts.refocus();
  }
}

export class Question {
  #text;
  #acts;
  #edit = button("Edit", { className: "quiet", onclick: () => this.open().focus() });

  /**
   * @param {string} text
   * @param {{replace: (text: string) => void, draft: (text: string) => void}} acts with what is written in its place
   */
  constructor(text, acts) {
    this.#text = text;
    this.#acts = acts;
    this.element = h("article", { className: "question", part: "question" });
    this.close();
  }

  /** Shows the question as it was asked. */
  close() {
    if (this.element.hasChildNodes()) this.#acts.draft("");
    const text = h("p", { className: "asked", dir: "auto" }, this.#text);
    this.element.replaceChildren(spokenHeading("You"), text, h("div", { className: "actions" }, this.#edit));
  }

  /** Lets the question be written anew, beginning with `text`. */
  open(text = this.#text) {
    const ask = () => box.text.trim() && this.#acts.replace(box.text.trim());
    const box = new Box({ "aria-label": "Edit your message", className: "field" }, ask);
    box.text = text;
    const keep = () => this.#acts.draft(box.text);
    box.area.addEventListener("input", keep);
    keep();
    const cancel = () => {
      this.close();
      this.#edit.focus();
    };
    const send = h("button", { type: "submit", className: "primary", part: "button" }, "Ask");
    const row = h("div", { className: "row" }, send, button("Cancel", { className: "plain", onclick: cancel }));
    const form = h("form", { className: "editing" }, box.element, row);
    onSubmit(form, ask);
    onEscape(form, cancel);
    this.element.replaceChildren(spokenHeading("You"), form);
    return box.area;
  }
}

export class Scroller {
  #view;
  #jump;
  #hasEnd = false;
  #isFollowing = false;
  #lastTop = 0;

  /** @param {HTMLElement} view what scrolls its only child @param {HTMLElement} jump what leads back to the end */
  constructor(view, jump) {
    this.#view = view;
    this.#jump = jump;
    view.addEventListener("scroll", () => this.#look(), { passive: true });
    jump.addEventListener("click", () => this.toEnd());
    // Who writes within what scrolls keeps their place, however that grows.
    view.addEventListener("focusin", () => this.#hasEnd && this.#isWrittenIn && this.leave());
    // After the layout of a frame and before it is painted: nothing is laid out twice, and nothing is seen to jump.
    const sizes = new ResizeObserver(() => this.#follow());
    sizes.observe(view);
    if (view.firstElementChild) sizes.observe(view.firstElementChild);
  }

  /** Goes to the end, and stays there while it moves on. */
  toEnd() {
    this.#hasEnd = true;
    this.#set(true);
    this.#follow();
  }

  /** Stays where it is, until the end is gone to. */
  leave() {
    this.#set(false);
    this.#jump.hidden = this.#awayPx <= NEAR_PX;
  }

  /** Goes to the beginning of what has no end to be kept in sight. */
  toTop() {
    this.#hasEnd = false;
    this.#set(true);
    this.#isFollowing = false;
    this.#view.scrollTop = 0;
  }

  #follow() {
    if (!this.#isFollowing) return;
    this.#view.scrollTop = this.#view.scrollHeight;
    this.#lastTop = this.#view.scrollTop;
  }

  /** A move upwards is the reader's, unless it ends at the end: then the view has grown. */
  #look() {
    if (!this.#hasEnd) return;
    const { scrollTop } = this.#view;
    const away = this.#awayPx;
    if (this.#isWrittenIn) this.leave();
    else if (scrollTop < this.#lastTop && away > 1) this.#set(false);
    else if (away <= NEAR_PX) this.#set(true);
    this.#lastTop = scrollTop;
  }

  /** How far the end is from what is seen. */
  get #awayPx() {
    const { scrollTop, scrollHeight, clientHeight } = this.#view;
    return scrollHeight - scrollTop - clientHeight;
  }

  get #isWrittenIn() {
    const { activeElement } = /** @type {ShadowRoot} */ (this.#view.getRootNode());
    return activeElement instanceof HTMLTextAreaElement && this.#view.contains(activeElement);
  }

  /** @param {boolean} isFollowing */
  #set(isFollowing) {
    this.#isFollowing = isFollowing;
    if (isFollowing && this.#jump.matches(":focus")) this.#view.focus({ preventScroll: true });
    this.#jump.hidden = isFollowing;
    this.#view.classList.toggle("away", !isFollowing); // the browser keeps what is read in place
  }
}
