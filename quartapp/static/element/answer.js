// One answer on the page, while it comes and afterwards; what it holds beside its text is folded.
// @ts-check

import { errorCard } from "./cards.js";
import { copyText } from "./code.js";
import { button, h, note, spokenHeading } from "./dom.js";
import { Markdown } from "./markdown.js";

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
  #beside = h("div", { className: "beside" });
  /** What shows images and sources, once one has come. @type {Promise<typeof import("./sources.js") | void> | undefined} */
  #sources;
  #markdown = new Markdown(this.#prose, TOP_HEADING);
  #thinking;
  #calls;
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
    this.#calls = new ToolCalls(reply.calls);
    const shown = [this.#thinking.element, this.#prose, this.#beside, this.#refusing];
    const parts = [...shown, this.#calls.element, this.#pulse, this.#foot];
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
    else if (record.type === "tool_call") this.#calls.take(record);
    else if (record.type === "image") reply.images.push(String(record.url));
    else if (record.type === "annotation") {
      const { url, title, filename } = record;
      reply.sources.push({ url: String(url ?? ""), title: String(title || filename || "") });
    }
    else if (record.type === "done") {
      reply.finishReason = record.finish_reason;
      reply.tokens = record.usage?.output_tokens ?? 0;
      this.usage = record.usage;
    }
  }

  /** @returns {boolean} whether there is more to draw */
  draw() {
    const { text, reasoning, refusal } = this.reply;
    const isAnswered = this.#hasMore || Boolean(text);
    this.#pulse.hidden = isAnswered || Boolean(reasoning);
    this.#thinking.draw(isAnswered);
    this.#calls.draw();
    void this.#showBeside();
    this.#refusing.hidden = !refusal;
    if (refusal) this.#refusal.textContent = refusal;
    return !this.#markdown.render();
  }

  /** Shows images as they come, and sources in the end. Few answers have any, so it is loaded with the first. */
  async #showBeside() {
    const { images, sources } = this.reply;
    if (!images.length && !sources.length) return;
    this.#sources ??= import("./sources.js").catch(this.#acts.outdated);
    const loaded = await this.#sources;
    loaded?.show(this.#beside, this.reply, !this.element.hasAttribute("aria-busy"));
  }

  /** The answer as Markdown, its sources at the end. */
  async #written() {
    const { text, sources } = this.reply;
    return text + ((await this.#sources)?.sourcesText(sources) ?? "");
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
    this.#calls.draw(true);
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

/** Adds to the text in `element` what it lacks of `text`. @param {Element} element @param {string} text */
function grow(element, text) {
  const shown = element.firstChild;
  if (!(shown instanceof Text)) element.textContent = text;
  else if (text.length > shown.length) shown.appendData(text.slice(shown.length));
}

/** @param {number} seconds */
function duration(seconds) {
  return seconds < 1 ? "a moment" : `${Math.round(seconds)} s`;
}

class ToolCalls {
  #calls;
  /** The fragments' indexes are the model's words. @type {Map<number, Call>} */
  #byIndex = new Map();
  /** @type {FoldedCall[]} */
  #folds = [];

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

  /** @param {boolean} [isOver] */
  draw(isOver = false) {
    for (const [index, call] of this.#calls.entries()) {
      this.#folds[index] ??= new FoldedCall(call, this.element);
      this.#folds[index].draw(isOver);
    }
    this.element.hidden = !this.#calls.length;
  }
}

/** It is made once, for it can be opened and have the focus while more comes. */
class FoldedCall {
  #call;
  #does = new Text("Calls ");
  #name = h("code", { dir: "ltr" });
  #text = h("pre", { tabIndex: 0, role: "region", dir: "ltr" });

  /** @param {Call} call @param {Element} parent */
  constructor(call, parent) {
    this.#call = call;
    const summary = h("summary", {}, this.#does, this.#name);
    parent.append(h("details", { className: "fold", part: "tool-call" }, summary, this.#text));
  }

  /** What is not whole is no JSON: it is laid out in the end. @param {boolean} isOver */
  draw(isOver) {
    const { name, arguments: text } = this.#call;
    this.#name.textContent = name || "a tool";
    this.#text.setAttribute("aria-label", `Arguments of ${name}`);
    if (!isOver) return grow(this.#text, text);
    this.#does.data = "Called ";
    this.#text.textContent = pretty(text);
  }
}

/** JSON laid out, or the text as it is where it is none. @param {string} text */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
