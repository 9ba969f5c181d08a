// Where is written: the box that grows with its text, the composer with its buttons, and the instructions of a chat.
// @ts-check

import { button, h, icon, onSubmit } from "./dom.js";

const UP = "M12 19V5M5.5 11.5 12 5l6.5 6.5";
const SQUARE = "M7 7h10v10H7z";

// No box is as high, and more is slow where each line has its own direction.
const LONG_CHARS = 4_000;

/** Where there is no mouse, Enter is the only way to a new line. */
export const hasTouch = () => matchMedia("(pointer: coarse)").matches;

/** A textarea in a frame that holds the same text unseen, and so is as high as the text. */
export class Box {
  #mirror = h("div", { className: "mirror", dir: "auto", "aria-hidden": "true" });

  /** @param {Record<string, unknown>} properties of the textarea @param {() => void} [submit] what Enter does */
  constructor(properties, submit) {
    this.area = h("textarea", { rows: 1, dir: "auto", ...properties });
    this.area.addEventListener("input", () => this.#reflect());
    this.area.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (!submit || !isSubmit(event)) return;
      event.preventDefault();
      submit();
    });
    this.element = h("div", { className: "growing" }, this.area, this.#mirror);
    this.#reflect();
  }

  /** @returns {string} */
  get text() {
    return this.area.value;
  }

  set text(text) {
    this.area.value = text;
    this.#reflect();
  }

  #reflect() {
    const { text } = this;
    const begin = text.slice(0, LONG_CHARS);
    this.area.classList.toggle("long", text.length > LONG_CHARS);
    this.#mirror.textContent = `${begin} `; // without the space an empty last line would have no height
  }
}

/** Safari ends a composition before its keydown, which then carries the code 229. @param {KeyboardEvent} event */
function isSubmit(event) {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229 && !hasTouch();
}

export class Composer {
  #send;
  #stop;
  #box;

  /**
   * @param {{ask: (text: string) => void, wait: () => void, stop: () => void, draft: (text: string) => void}} acts
   */
  constructor(acts) {
    const send = () => {
      if (!this.text.trim()) this.focus();
      else if (this.#stop.hidden) acts.ask(this.text.trim());
      else acts.wait();
    };
    const enterKeyHint = hasTouch() ? "enter" : "send";
    this.#box = new Box({ "aria-label": "Your message", part: "box", enterKeyHint }, send);
    this.#box.area.addEventListener("input", () => acts.draft(this.#box.text));
    const sending = { type: "submit", className: "send", part: "send", "aria-label": "Send", title: "Send" };
    this.#send = button(icon(UP), sending);
    // A double click on what sends stops nothing.
    const stop = (/** @type {MouseEvent} */ { detail }) => (detail > 1 ? this.takeFocusBack() : acts.stop());
    const stopping = { className: "send stop", part: "stop", "aria-label": "Stop", title: "Stop (Esc)", hidden: true };
    this.#stop = button(icon(SQUARE), { ...stopping, onclick: stop });
    this.element = h("form", { className: "composer", part: "composer" }, this.#box.element, this.#send, this.#stop);
    onSubmit(this.element, send);
  }

  /** @returns {string} */
  get text() {
    return this.#box.text;
  }

  set text(text) {
    this.#box.text = text;
  }

  /** @param {string} text */
  set placeholder(text) {
    this.#box.area.placeholder = text;
  }

  /** While an answer comes, what sends becomes what stops. @param {boolean} isBusy */
  set isBusy(isBusy) {
    this.#send.hidden = isBusy;
    this.#stop.hidden = !isBusy;
  }

  focus() {
    this.#box.area.focus({ preventScroll: true });
  }

  /** After a click on a button; where a keyboard would come up over the answer, the focus is left alone. */
  takeFocusBack() {
    if (!hasTouch()) this.focus();
  }
}

export class Instructions {
  #box;

  /** @param {(text: string, isDone: boolean) => void} changed */
  constructor(changed) {
    this.#box = new Box({ "aria-label": "Instructions", className: "field" });
    for (const type of ["input", "change"])
      this.#box.area.addEventListener(type, () => changed(this.text, type === "change"));
    const summary = h("summary", {}, "Instructions for this chat");
    this.element = h("details", { className: "fold", part: "instructions", hidden: true }, summary, this.#box.element);
  }

  get text() {
    return this.#box.text;
  }

  set text(text) {
    this.#box.text = text;
  }
}
