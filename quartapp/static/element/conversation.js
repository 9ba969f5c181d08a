// The turns of a chat on the page, or what stands there before the first; and the end, which is kept in sight.
// @ts-check

import { Answer } from "./answer.js";
import { Box } from "./composer.js";
import { button, h, onEscape, onSubmit, spokenHeading } from "./dom.js";

/** @import { Turn } from "./types" */

const NEAR_PX = 40;

export class Conversation {
  #acts;
  #suggestions = h("div", { className: "suggestions" });
  #empty;
  #turns = h("div", { className: "turns" });

  /**
   * @param {Element} head what stands before the first turn
   * @param {{ask: (text: string) => void, replace: (turn: Turn, text: string) => void, refocus: () => void}} acts
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

  /** @param {Turn[]} turns */
  show(turns) {
    this.cutTo(0);
    for (const turn of turns) this.add(turn).restore();
  }

  /** @param {Turn} turn */
  add(turn) {
    const again = () => this.#acts.replace(turn, turn.question);
    const answer = new Answer(turn.reply, { again, goOn: () => this.#acts.ask("Go on where you stopped.") });
    const question = new Question(turn.question, (text) => this.#acts.replace(turn, text));
    this.#turns.append(h("div", { className: "turn" }, question.element, answer.element));
    this.#empty.hidden = true;
    return answer;
  }

  /** Leaves the first `count` turns. @param {number} count */
  cutTo(count) {
    const { activeElement } = /** @type {ShadowRoot} */ (this.element.getRootNode());
    while (this.#turns.childElementCount > count) this.#turns.lastElementChild.remove();
    this.#empty.hidden = count > 0;
    if (activeElement?.isConnected === false) this.#acts.refocus();
  }
}

export class Question {
  #text;
  #replace;
  #edit = button("Edit", { className: "quiet", onclick: () => this.#open() });

  /** @param {string} text @param {(text: string) => void} replace asks another in its place */
  constructor(text, replace) {
    this.#text = text;
    this.#replace = replace;
    this.element = h("article", { className: "question", part: "question" });
    this.#close();
  }

  #close() {
    const text = h("p", { className: "asked", dir: "auto" }, this.#text);
    this.element.replaceChildren(spokenHeading("You"), text, h("div", { className: "actions" }, this.#edit));
  }

  #open() {
    const ask = () => box.text.trim() && this.#replace(box.text.trim());
    const box = new Box({ "aria-label": "Edit your message", className: "field" }, ask);
    box.text = this.#text;
    const cancel = () => {
      this.#close();
      this.#edit.focus();
    };
    const send = h("button", { type: "submit", className: "primary", part: "button" }, "Ask");
    const row = h("div", { className: "row" }, send, button("Cancel", { className: "plain", onclick: cancel }));
    const form = h("form", { className: "editing" }, box.element, row);
    onSubmit(form, ask);
    onEscape(form, cancel);
    this.element.replaceChildren(spokenHeading("You"), form);
    box.area.focus();
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
    const { scrollTop, scrollHeight, clientHeight } = this.#view;
    const away = scrollHeight - scrollTop - clientHeight;
    if (scrollTop < this.#lastTop && away > 1) this.#set(false);
    else if (away <= NEAR_PX) this.#set(true);
    this.#lastTop = scrollTop;
  }

  /** @param {boolean} isFollowing */
  #set(isFollowing) {
    this.#isFollowing = isFollowing;
    if (isFollowing && this.#jump.matches(":focus")) this.#view.focus({ preventScroll: true });
    this.#jump.hidden = isFollowing;
    this.#view.classList.toggle("away", !isFollowing); // the browser keeps what is read in place
  }
}
