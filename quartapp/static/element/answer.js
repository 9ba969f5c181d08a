// One answer on the page, while it comes and afterwards; what it holds beside its text is folded.
// @ts-check

import { errorCard } from "./cards.js";
import { copyText } from "./code.js";
import { button, grow, h, note, spokenHeading } from "./dom.js";
import { Markdown } from "./markdown.js";

/** @import { Beside } from "./beside.js" */
/** @import { Call, CardActs, ChatRecord, Reply, ToolCall, Usage } from "./types" */

const ENDINGS = new Map([
  ["length", "The answer was cut at its limit."],
  ["content_filter", "A content filter ended the answer."],
]);
const NONE = "The model gave no answer.";
const REFUSED = "The model will not answer this.";
const COPIED_MS = 2000;

// Beneath the heading that each answer has for those who hear it.
const TOP_HEADING = 4;

export class Answer {
  /** What the model's server counted, if it did. @type {Usage | undefined} */
  usage;

  #began = performance.now();
  #prose = h("div", { className: "prose", dir: "auto", part: "prose" });
  #refusal = h("p", { className: "refused", dir: "auto" });
  #refusing = h("div", { className: "refusal", part: "refusal", hidden: true }, note(REFUSED), this.#refusal);
  #pulse = h("p", { className: "pulse", "aria-hidden": "true" });
  #foot = h("div", { className: "foot" });
  #aside = h("div");
  /** What shows images, calls and sources, once one has come. @type {Promise<Beside | void> | undefined} */
  #beside;
  /** By the fragments' indexes, which are the model's words. @type {Map<number, Call>} */
  #calls = new Map();
  #markdown = new Markdown(this.#prose, TOP_HEADING);
  #thinking;
  #acts;
  #isCalm = false;

  /**
   * `reply` is written into as the answer comes, so that it can be kept at any moment.
   * @param {Reply} reply
   * @param {{again: () => void, goOn: () => void, help: () => Partial<CardActs>, outdated: () => void}} acts
   */
  constructor(reply, acts) {
    this.reply = reply;
    this.#acts = acts;
    this.#thinking = new Thinking(reply);
    const parts = [this.#thinking.element, this.#prose, this.#refusing, this.#aside, this.#pulse, this.#foot];
    this.element = h("article", { className: "answer", part: "answer" }, spokenHeading("Answer"), ...parts);
  }

  /** How it ended, for those who hear it. */
  get ending() {
    const { text, refusal, images } = this.reply;
    const words = (text || refusal).split(/\s+/).filter(Boolean).length;
    const how = this.#remark?.replace(/\.$/, "") ?? "Answer finished";
    return [how, counted(words, "word"), counted(images.length, "image")].filter(Boolean).join(", ");
  }

  /** What there is to say of how it ended. */
  get #remark() {
    const { text, finishReason } = this.reply;
    return ENDINGS.get(finishReason) ?? (text.trim() || this.#hasMore ? undefined : NONE);
  }

  /** Whether something came that is no text. */
  get #hasMore() {
    const { refusal, calls, images } = this.reply;
    return Boolean(refusal || calls.length || images.length);
  }

  begin() {
    this.element.setAttribute("aria-busy", "true");
  }

  /** Shows an answer that came earlier. */
  restore() {
    this.#markdown.append(this.reply.text);
    this.calm();
  }

  /** Shows `card` beneath the answer, which stays as it is: it could not be replaced. @param {Element} card */
  warn(card) {
    this.#isCalm = false;
    card.classList.add("fresh");
    this.#conclude(card);
  }

  /** Shows how the answer itself ended. */
  calm() {
    const { fault } = this.reply;
    this.#isCalm = true;
    this.#conclude(fault && errorCard(fault, this.#acts.help()));
  }

  /** Offers what can help by now. */
  refresh() {
    if (this.#isCalm && this.reply.fault && !this.element.matches(":focus-within")) this.calm();
  }

  /** Notes what came; it is seen after the next `draw`. @param {ChatRecord} record */
  take(record) {
    const { reply } = this;
    if (record.type === "delta") {
      reply.thoughtSeconds ||= this.#seconds();
      reply.text += record.text;
      this.#markdown.append(record.text);
    } else if (record.type === "start") reply.model = record.model;
    else if (record.type === "reasoning") reply.reasoning += record.text;
    else if (record.type === "refusal") reply.refusal += record.text;
    else if (record.type === "tool_call") this.#call(record);
    else if (record.type === "image") reply.images.push(String(record.url));
    else if (record.type === "annotation") {
      const { url, title, filename } = record;
      reply.sources.push({ url: String(url ?? ""), title: String(title || filename || "") });
    } else if (record.type === "done") {
      reply.finishReason = record.finish_reason;
      reply.tokens = record.usage?.output_tokens ?? 0;
      this.usage = record.usage;
    }
  }

  /** @param {ToolCall} fragment */
  #call({ index, name, arguments: text }) {
    const call = this.#calls.get(index) ?? { name: "", arguments: "" };
    if (!this.#calls.has(index)) this.reply.calls.push(call);
    this.#calls.set(index, call);
    call.name ||= name ?? "";
    call.arguments += text ?? "";
  }

  /** @returns {boolean} whether there is more to draw */
  draw() {
    const { text, reasoning, refusal } = this.reply;
    const isAnswered = this.#hasMore || Boolean(text);
    this.#pulse.hidden = isAnswered || Boolean(reasoning);
    this.#thinking.draw(isAnswered);
    void this.#showBeside();
    this.#refusing.hidden = !refusal;
    if (refusal) this.#refusal.textContent = refusal;
    return !this.#markdown.render();
  }

  /** Shows what few answers have: what does it is loaded with the first of it. */
  async #showBeside() {
    const { images, calls, sources } = this.reply;
    if (!images.length && !calls.length && !sources.length) return;
    this.#beside ??= import("./beside.js").then(
      ({ Beside }) => new Beside(this.#aside, this.reply),
      this.#acts.outdated,
    );
    const beside = await this.#beside;
    beside?.draw(!this.element.matches("[aria-busy]"));
  }

  /** The answer as Markdown, its sources at the end. */
  async #written() {
    return this.reply.text + ((await this.#beside)?.sourcesText ?? "");
  }

  /** @param {Reply["ending"]} ending @param {Element | null} [card] what to do about it, if it is not whole */
  end(ending, card = null) {
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
    this.#foot.replaceChildren(...this.#notes(), ...(card ? [card] : []), this.#actions(card));
  }

  #notes() {
    const words = this.reply.ending === "stopped" ? "Stopped." : this.#remark;
    return words && this.reply.ending !== "failed" ? [note(words)] : [];
  }

  /**
   * An answer that is not whole can be continued; one whose card offers to ask again needs no second offer.
   * @param {Element | null} card
   */
  #actions(card) {
    const { text, model, tokens, seconds, ending, finishReason } = this.reply;
    const figures = text || this.#hasMore ? [model, counted(tokens, "token"), took(seconds)] : [];
    const isPart = text && (ending !== "done" || finishReason === "length");
    const isOffered = card && (card.matches("form") || card.querySelector("[data-act=again]"));
    return h(
      "div",
      { className: "actions", part: "actions" },
      text ? copyAction(() => this.#written()) : null,
      isPart ? button("Continue", { className: "quiet again", onclick: this.#acts.goOn }) : null,
      isOffered ? null : button("Ask again", { className: "quiet again", onclick: this.#acts.again }),
      h("span", { className: "figures", dir: "ltr" }, figures.filter(Boolean).join(" · ")),
    );
  }

  #seconds() {
    return (performance.now() - this.#began) / 1000;
  }
}

/** @param {number} count @param {string} thing */
const counted = (count, thing) => count && `${count} ${thing}${count === 1 ? "" : "s"}`;

/** @param {number} seconds */
const took = (seconds) => seconds && `${Math.max(0.1, seconds).toFixed(1)} s`;

/** @param {() => Promise<string>} written */
function copyAction(written) {
  const face = button("Copy", { className: "quiet" });
  face.onclick = async () => {
    face.textContent = (await copyText(await written())) ? "Copied" : "Not copied";
    setTimeout(() => (face.textContent = "Copy"), COPIED_MS);
  };
  return face;
}

class Thinking {
  #reply;
  #summary = h("summary");
  #text = h("div", { className: "thoughts", dir: "auto", tabIndex: 0, role: "region", "aria-label": "Thoughts" });

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
    if (this.element.open) grow(this.#text, this.#reply.reasoning);
  }
}

/** @param {number} seconds */
function duration(seconds) {
  return seconds < 1 ? "a moment" : `${Math.round(seconds)} s`;
}
