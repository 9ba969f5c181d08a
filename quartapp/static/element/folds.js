// What an answer holds beside its text, folded: the model's thinking, and the tools that it wants called.
// @ts-check

import { h } from "./dom.js";

/** @typedef {import("./types").Call} Call */
/** @typedef {import("./types").Reply} Reply */
/** @typedef {import("./types").ToolCall} ToolCall */

export class Thinking {
  #reply;
  #summary = h("summary");
  #text = h("div", { className: "thoughts", dir: "auto" });

  /** @param {Reply} reply */
  constructor(reply) {
    this.#reply = reply;
    this.element = h("details", { className: "fold", part: "thinking", hidden: true }, this.#summary, this.#text);
    this.element.addEventListener("toggle", () => this.#show());
  }

  /** @param {boolean} isOver */
  draw(isOver) {
    const { reasoning, thoughtSeconds, seconds } = this.#reply;
    if (!reasoning) return;
    this.element.hidden = false;
    const words = isOver ? `Thought for ${duration(thoughtSeconds || seconds)}` : "Thinking…";
    if (this.#summary.textContent !== words) this.#summary.textContent = words;
    this.#show();
  }

  /** Nobody sees what is folded: it costs nothing until it is opened. */
  #show() {
    const shown = this.#text.firstChild?.data.length ?? 0;
    if (!this.element.open || shown === this.#reply.reasoning.length) return;
    if (shown) this.#text.firstChild.appendData(this.#reply.reasoning.slice(shown));
    else this.#text.textContent = this.#reply.reasoning;
  }
}

/** @param {number} seconds */
function duration(seconds) {
  return seconds < 1 ? "a moment" : `${Math.round(seconds)} s`;
}

export class ToolCalls {
  #calls;
  /** The fragments' indexes are the model's words. @type {Map<number, Call>} */
  #byIndex = new Map();
  #drawn = "";

  /** @param {Call[]} calls to be shown, and added to */
  constructor(calls) {
    this.#calls = calls;
    this.element = h("div", { className: "calls", hidden: true });
  }

  /** @param {ToolCall} fragment */
  take({ index, name, arguments: text }) {
    let call = this.#byIndex.get(index);
    if (!call) {
      call = { name: "", arguments: "" };
      this.#byIndex.set(index, call);
      this.#calls.push(call);
    }
    call.name ||= name ?? "";
    call.arguments += text ?? "";
  }

  draw() {
    const now = JSON.stringify(this.#calls);
    if (now === this.#drawn || !this.#calls.length) return;
    this.#drawn = now;
    const open = Array.from(this.element.children, (fold) => fold.open);
    this.element.replaceChildren(...this.#calls.map((call, index) => folded(call, open[index] ?? false)));
    this.element.hidden = false;
  }
}

/** @param {Call} call @param {boolean} open */
function folded({ name, arguments: text }, open) {
  const summary = h("summary", {}, "Calls ", h("code", { dir: "ltr" }, name || "a tool"));
  const face = { tabIndex: 0, role: "region", "aria-label": `Arguments of ${name}`, dir: "ltr" };
  return h("details", { className: "fold", part: "tool-call", open }, summary, h("pre", face, pretty(text)));
}

/** JSON laid out, or the text as it is where it is none. @param {string} text */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
