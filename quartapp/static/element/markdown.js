// Markdown as it streams: text goes in piece by piece, nodes come out, and what is settled is not touched again.
// @ts-check

import { Fence, copyPressed, finishCode } from "./code.js";
import { blockOf } from "./markdown_blocks.js";
import { cutOf, isFence, isLong, lex, settledOf } from "./markdown_lexer.js";
import { keepFocus, morph, morphChildren } from "./markdown_morph.js";

/** @typedef {import("./markdown_lexer.js").Token} Token */
/**
 * A block with brackets, and how much was defined before it.
 * @typedef {{raw: string, node: ChildNode, outline: number[], linkCount: number}} Shown
 */

// Every render reads the last block anew: this is the longest that one may be. A longer one is cut.
const MOST_BLOCK_CHARS = 16_384;
const STEP_CHARS = 2_048;
// Work goes on in slices: of time, and of text, for what is shown has to be laid out too. After a slice that took long
// the page is left alone for longer.
const SLICE_MS = 6;
const SLICE_CHARS = 32_768;
const REST_PER_WORK = 3;
const FRAME_MS = 17;
const MOST_LINKS = 1_000;
const HOLDERS = new Set(["blockquote", "list", "list_item"]);

/**
 * However the text came, its nodes are those of the whole text in one piece, but where a block was cut, for it was longer
 * than one may be or had more than 200 items or rows, and where more than a thousand links were defined.
 */
export class Markdown {
  /** All that was appended, as it was. */
  text = "";

  #container;
  /** What is not settled, with line ends as the lexer has them. */
  #rest = "";
  #hasLoneReturn = false;
  /** How much of it a step reads: more where a block needs more. */
  #readChars = STEP_CHARS;
  /** The head of a table that was cut. */
  #head = "";
  /** @type {Fence | null} */
  #fence = null;
  /** @type {number[]} */
  #outline;
  #references = new References();
  /** @type {ChildNode | null} */
  #lastSettled = null;
  #isShown = true;
  #isFinished = false;
  /** @type {Promise<void> | undefined} */
  #finishing;
  #restUntilMs = 0;

  /** @param {HTMLElement} container  emptied @param {number} [topHeading]  the level of an answer's first heading */
  constructor(container, topHeading = 3) {
    this.#container = container;
    this.#outline = new Array(topHeading - 1).fill(0);
    container.replaceChildren();
    container.addEventListener("click", copyPressed);
  }

  /** Notes more of the text; it is seen after a `render`. @param {string} text */
  append(text) {
    this.text += text;
    const whole = (this.#hasLoneReturn ? "\r" : "") + text;
    this.#hasLoneReturn = whole.endsWith("\r"); // the other half of its line end may be in the next piece
    this.#rest += (this.#hasLoneReturn ? whole.slice(0, -1) : whole).replace(/\r\n?/g, "\n").replace(/\0/g, "\ufffd");
    this.#isShown = false;
  }

  /**
   * Brings the nodes up to the text, as far as that goes in a moment; to be called once a frame at most.
   * @returns {boolean} whether all is shown; if not, `render` is to be called again in a later frame
   */
  render() {
    if (this.#isShown) return true;
    return performance.now() >= this.#restUntilMs && !this.#work();
  }

  /** Shows the whole text, by and by where it is long, and resolves when it stands. Nothing may be appended then. */
  finish() {
    this.#finishing ??= this.#workToTheEnd();
    return this.#finishing;
  }

  async #workToTheEnd() {
    if (this.#hasLoneReturn) this.#rest += "\n";
    this.#isFinished = true;
    this.#isShown = false;
    while (this.#work()) {
      const restMs = Math.max(FRAME_MS, this.#restUntilMs - performance.now());
      await new Promise((resolve) => setTimeout(resolve, restMs));
    }
  }

  /** Works for a slice; says whether there is more to do. */
  #work() {
    const begunMs = performance.now();
    const leastLeftChars = this.#rest.length - SLICE_CHARS;
    let tookMs = 0;
    while (!this.#isShown && tookMs < SLICE_MS && this.#rest.length > leastLeftChars) {
      keepFocus(this.#container, () => this.#step());
      tookMs = performance.now() - begunMs;
    }
    this.#restUntilMs = tookMs < SLICE_MS ? 0 : begunMs + tookMs * (1 + REST_PER_WORK);
    return !this.#isShown;
  }

  /** One step towards the whole text, of bounded length. */
  #step() {
    if (this.#fence) this.#continueFence(this.#fence);
    else if (this.#rest) this.#readBlocks();
    else this.#isShown = !(this.#isFinished && this.#references.mendNext((...given) => this.#nodeOf(...given)));
  }

  /** @param {Fence} fence */
  #continueFence(fence) {
    const takenChars = fence.take(this.#rest, this.#isFinished);
    this.#rest = this.#rest.slice(takenChars);
    const isOver = fence.isClosed || (this.#isFinished && !this.#rest);
    if (isOver) finishCode(fence.block);
    if (isOver) this.#fence = null;
    else this.#isShown = !takenChars || !this.#rest;
  }

  #readBlocks() {
    const source = this.#head + this.#rest.slice(0, this.#readChars);
    const isAll = this.#rest.length <= this.#readChars;
    const isEnd = isAll && this.#isFinished;
    const tokens = lex(source, this.#references.links);
    const settled = isEnd ? { count: tokens.length, chars: source.length } : settledOf(tokens, source);
    const opensFence = settled.count === tokens.length - 1 && isFence(tokens[settled.count]);
    const isStuck = settled.chars <= this.#head.length && !opensFence;
    if (isStuck && (isLong(tokens[0]) || (!isAll && this.#readChars >= MOST_BLOCK_CHARS))) this.#cut(tokens, source);
    else if (isStuck && !isAll) this.#readChars *= 2;
    else {
      this.#show(tokens.slice(0, settled.count), isAll && !opensFence ? tokens.slice(settled.count) : []);
      this.#drop(settled.chars);
      if (opensFence) this.#openFence(tokens[settled.count]);
      else this.#isShown = isAll && !isEnd;
    }
  }

  /**
   * Shows a block as if it ended, for it is too long to be read again and again.
   * @param {Token[]} tokens @param {string} source
   */
  #cut(tokens, source) {
    const cut = cutOf(tokens, source);
    this.#show(cut.tokens ?? lex(source.slice(0, cut.chars), this.#references.links), []);
    this.#drop(cut.chars);
    this.#head = cut.head;
  }

  /** @param {number} chars  how much of the head and the rest is settled */
  #drop(chars) {
    if (!chars) return;
    this.#rest = this.#rest.slice(chars - this.#head.length);
    this.#head = "";
    this.#readChars = STEP_CHARS;
  }

  /** @param {Token} token */
  #openFence(token) {
    this.#fence = new Fence(token);
    this.#rest = this.#rest.slice(token.raw.indexOf("\n") + 1);
    this.#container.append(this.#fence.block);
    this.#lastSettled = this.#fence.block;
  }

  /**
   * Shows `settled` for good, and after it `tail`, which may still change.
   * @param {Token[]} settled @param {Token[]} tail
   */
  #show(settled, tail) {
    const made = settled.map((token) => {
      return { token, outline: [...this.#outline], node: this.#nodeOf(token, this.#outline) };
    });
    const outline = [...this.#outline];
    const nodes = [...made.map(({ node }) => node), ...tail.map((token) => this.#nodeOf(token, outline))];
    morphChildren(
      this.#container,
      this.#firstOpen(),
      nodes.filter((node) => node !== null),
    );
    for (const { token, outline, node } of made) this.#settle(token, outline, node !== null);
  }

  /** Leaves a block as it is from now on. @param {Token} token @param {number[]} outline @param {boolean} isShown */
  #settle(token, outline, isShown) {
    if (isShown) this.#lastSettled = this.#firstOpen(); // of the nodes the older one may have stayed
    if (isShown && this.#lastSettled) finishCode(this.#lastSettled);
    this.#references.settle(token, isShown ? this.#lastSettled : null, outline);
  }

  /** The first node that may still change. */
  #firstOpen() {
    return this.#lastSettled ? this.#lastSettled.nextSibling : this.#container.firstChild;
  }

  /** @param {Token} token @param {number[]} outline */
  #nodeOf(token, outline) {
    const isEmptyHead = this.#head && token.type === "table" && !token.rows.length;
    return isEmptyHead ? null : blockOf(token, outline);
  }
}

/** Links by label, `[text][label]`, of which the address may come after they were shown. */
class References {
  /** What is defined so far. @type {import("./markdown_lexer.js").Links} */
  links = Object.create(null); // labels are the model's words, and one may be `__proto__`

  #linkCount = 0;
  /** @type {Shown[]} */
  #shown = [];

  /**
   * Notes what a settled block defines, and what it may wait for. `outline` is the one before it.
   * @param {Token} token @param {ChildNode | null} node @param {number[]} outline
   */
  settle(token, node, outline) {
    this.#define(token);
    const mayWait = node && token.type !== "code" && token.raw.includes("[");
    if (mayWait) this.#shown.push({ raw: token.raw, node, outline, linkCount: this.#linkCount });
  }

  /** @param {Token} token */
  #define(token) {
    if (token.type === "def" && !(token.tag in this.links) && this.#linkCount < MOST_LINKS) {
      this.links[token.tag] = { href: token.href, title: token.title };
      this.#linkCount++;
    }
    if (HOLDERS.has(token.type)) for (const child of token.items ?? token.tokens) this.#define(child);
  }

  /**
   * Makes the links of one block after which there were definitions; says whether there was such a block.
   * @param {(token: Token, outline: number[]) => Node | null} make
   */
  mendNext(make) {
    for (let block = this.#shown.pop(); block; block = this.#shown.pop()) {
      if (block.linkCount === this.#linkCount) continue;
      const made = make(lex(block.raw, this.links)[0], block.outline);
      if (made && !morph(block.node, made)) block.node.replaceWith(made);
      return true;
    }
    return false;
  }
}
