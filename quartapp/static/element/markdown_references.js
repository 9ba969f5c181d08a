// Links by label, `[text][label]`, of which the address may come after they were shown.
// @ts-check

import { lex } from "./markdown_lexer.js";
import { morph } from "./markdown_morph.js";

/** @typedef {import("./markdown_lexer.js").Token} Token */
/**
 * A block with brackets, and how much was defined before it.
 * @typedef {{raw: string, node: ChildNode, outline: number[], linkCount: number}} Shown
 */

const MOST_LINKS = 1_000;
const HOLDERS = new Set(["blockquote", "list", "list_item"]);

export class References {
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
