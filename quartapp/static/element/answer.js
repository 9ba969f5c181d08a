// One answer on the page, while it comes and afterwards.
// @ts-check

import { copyText } from "./code.js";
import { button, h, spokenHeading } from "./dom.js";
import { Thinking, ToolCalls } from "./folds.js";
import { Markdown } from "./markdown.js";

/** @typedef {import("./types").Reply} Reply */

const ENDINGS = new Map([
  ["length", "The answer was cut at its limit."],
  ["content_filter", "A content filter ended the answer."],
]);

const COPIED_MS = 2000;

// Beneath the heading that each answer has for those who hear it.
const TOP_HEADING = 4;

export class Answer {
  /** What the model's server counted, if it did. @type {import("./types").Usage | undefined} */
  usage;

  #began = performance.now();
  #prose = h("div", { className: "prose", dir: "auto", part: "prose" });
  #refusal = h("p", { className: "refused", dir: "auto" });
  #refusing = h("div", { className: "refusal", part: "refusal", hidden: true }, note("The model will not answer this."), this.#refusal);
  #pulse = h("p", { className: "pulse", "aria-hidden": "true" });
  #foot = h("div", { className: "foot" });
  #markdown = new Markdown(this.#prose, TOP_HEADING);
  #thinking;
  #calls;
  #acts;

  /**
   * `reply` is written into as the answer comes, so that it can be kept at any moment.
   * @param {Reply} reply @param {{again: () => void, goOn: () => void}} acts
   */
  constructor(reply, acts) {
    this.reply = reply;
    this.#acts = acts;
    this.#thinking = new Thinking(reply);
    this.#calls = new ToolCalls(reply.calls);
    const parts = [this.#thinking.element, this.#prose, this.#refusing, this.#calls.element, this.#pulse, this.#foot];
    this.element = h("article", { className: "answer", part: "answer" }, spokenHeading("Answer"), ...parts);
  }

  get wordCount() {
    return (this.reply.text || this.reply.refusal).split(/\s+/).filter(Boolean).length;
  }

  begin() {
    this.element.setAttribute("aria-busy", "true");
  }

  /** Shows an answer that came earlier. */
  restore() {
    this.#markdown.append(this.reply.text);
    this.#conclude();
  }

  /** Notes what came; it is seen after the next `draw`. @param {import("./types").ChatRecord} record */
  take(record) {
    const { reply } = this;
    if (record.type === "delta") {
      reply.thoughtSeconds ||= this.#seconds();
      reply.text += record.text;
      this.#markdown.append(record.text);
    } else if (record.type === "reasoning") reply.reasoning += record.text;
    else if (record.type === "refusal") reply.refusal += record.text;
    else if (record.type === "tool_call") this.#calls.take(record);
    else if (record.type === "done") {
      reply.finishReason = record.finish_reason;
      reply.tokens = record.usage?.output_tokens ?? 0;
      this.usage = record.usage;
    }
  }

  /** @returns {boolean} whether there is more to draw */
  draw() {
    const { text, reasoning, refusal, calls } = this.reply;
    this.#pulse.hidden = Boolean(text || reasoning || refusal || calls.length);
    this.#thinking.draw(Boolean(text || refusal || calls.length));
    this.#calls.draw();
    this.#refusing.hidden = !refusal;
    if (refusal) this.#refusal.textContent = refusal;
    return !this.#markdown.render();
  }

  /** @param {Reply["ending"]} ending @param {Element | null} card what to do about it, if it is not whole */
  end(ending, card) {
    this.reply.ending = ending;
    this.reply.seconds = this.#seconds();
    this.element.removeAttribute("aria-busy");
    this.#conclude(card);
  }

  /** @param {Element | null} [card] */
  #conclude(card = null) {
    this.draw();
    void this.#markdown.finish();
    this.#thinking.draw(true);
    this.#pulse.hidden = true;
    this.#foot.replaceChildren(...(card ? [card] : [...this.#notes(), this.#actions()]));
  }

  #notes() {
    const { ending, fault, finishReason } = this.reply;
    if (ending === "stopped") return [note("Stopped.")];
    if (ending === "failed") return fault ? [note(fault)] : [];
    const words = ENDINGS.get(finishReason);
    if (!words) return [];
    const goOn = finishReason === "length" ? button("Continue", { className: "quiet", onclick: this.#acts.goOn }) : null;
    return [note(words, goOn)];
  }

  #actions() {
    const { text, tokens, seconds } = this.reply;
    const figures = [tokens && `${tokens} ${tokens === 1 ? "token" : "tokens"}`, seconds && `${Math.max(0.1, seconds).toFixed(1)} s`];
    return h(
      "div",
      { className: "actions", part: "actions" },
      text ? copyAction(() => text) : null,
      button("Ask again", { className: "quiet again", onclick: this.#acts.again }),
      h("span", { className: "figures" }, figures.filter(Boolean).join(" · ")),
    );
  }

  #seconds() {
    return (performance.now() - this.#began) / 1000;
  }
}

/** @param {string} words @param {Node | null} [more] */
function note(words, more = null) {
  return h("p", { className: "note" }, words, more);
}

/** @param {() => string} text */
function copyAction(text) {
  const face = button("Copy", { className: "quiet" });
  face.onclick = async () => {
    face.textContent = (await copyText(text())) ? "Copied" : "Not copied";
    setTimeout(() => (face.textContent = "Copy"), COPIED_MS);
  };
  return face;
}
