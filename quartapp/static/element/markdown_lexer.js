// marked's lexer, fenced in: it may go only so deep and work only so long, whatever it is given. And where a text that
// still grows can be cut, so that what comes before the cut need never be read again.
// @ts-check

import * as marked from "../vendor/marked/marked.esm.js";

/** Of its types marked says nothing here. @type {any} */
const { Lexer, Tokenizer } = marked;

/**
 * A token of marked's; which fields it has beside these goes by its type.
 * @typedef {{type: string, raw: string} & Record<string, any>} Token
 */
/** Definitions of links by their labels. @typedef {Record<string, {href: string, title?: string}>} Links */

const MOST_LINES = 200;
const MOST_DEPTH = 32;
const MOST_COLUMNS = 100;
const MOST_CELLS = 5_000;
const MOST_DELIMITERS = 600;
const DELIMITERS = /[*_~`[\]<$@]|\\\(|:\/\//g;
const FOOTNOTE = /^ {0,3}\[\^/;
const VAST_FENCE = /^ *(?:`{100}|~{100})/;
// Each level of nesting reads its text again, and some levels do so twice, which doubles at each. Ordinary text is read
// a few times over; far down, where nobody writes, each reading counts for more.
const MOST_READ_PER_CHAR = 10;
const LEAST_READ_CHARS = 20_000;
const DEEP = 6;
const DEEP_CHARS = 100;

// Formulas stay as they were written: what is an underscore or a backslash in TeX is none in Markdown. `$x$` begins
// and ends at a sign of its own, and no digit follows: `$5 and $6` are prices.
const INLINE = /^(?:\$\$(?:[^$\\]|\\[\s\S])+\$\$|\$(?!\s)(?:[^$\\\n]|\\.|\n(?!\n))*[^\s$]\$(?!\d)|\\\([\s\S]+?\\\))/;
const INLINE_START = /\$|\\\(/;
const MOST_INLINE_CHARS = 1_000;
const DISPLAY_OPENING = /^ {0,3}(\$\$(?!\$)|\\\[)/;
const DISPLAY_START = /\n {0,3}(?:\$\$|\\\[)/;
const BLANK_LINE = /\n[ \t]*(?:\n|$)/;

class Rules extends Tokenizer {
  /** HTML is text here, so an open tag must change nothing after it. @param {string} source */
  tag(source) {
    const found = source[0] === "<" ? this.rules.inline.tag.exec(source) : null;
    return found ? { type: "html", raw: found[0], text: found[0], block: false } : undefined;
  }

  /** What a footnote says is no address. @param {string} source */
  def(source) {
    return FOOTNOTE.test(source) ? undefined : super.def(source);
  }

  /** A fence has no text of its own, so that a vast one would be lost. @param {string} source */
  fences(source) {
    const found = super.fences(source);
    return found && VAST_FENCE.test(source) ? undefined : found;
  }

  /** A short row has as many cells as the head, so that few signs could make a vast table. @param {string} source */
  table(source) {
    const found = this.rules.block.table.exec(source);
    const columns = found ? found[2].split("|").length : 0;
    const lines = found ? found[0].split("\n").length : 0;
    return columns > MOST_COLUMNS || columns * lines > MOST_CELLS ? undefined : super.table(source);
  }
}

class FencedLexer extends Lexer {
  #depth = 0;
  #leftChars;
  #inlineSource = "";

  /** @param {string} source @param {Links} links */
  constructor(source, links) {
    const emStrongMask = (/** @type {string} */ masked) => withoutMath(this.#inlineSource, masked);
    super({ gfm: true, tokenizer: new Rules(), extensions: MATH, hooks: { emStrongMask } });
    this.#leftChars = Math.max(source.length * MOST_READ_PER_CHAR, LEAST_READ_CHARS);
    Object.assign(this.tokens.links, links);
  }

  /** @param {string} source @param {Token[]} [tokens] @param {boolean} [isContinued] */
  blockTokens(source, tokens = [], isContinued = false) {
    const isRead = this.#within(source, () => super.blockTokens(source, tokens, isContinued));
    if (!isRead) tokens.push({ type: "plain", raw: source, text: source });
    this.state.top = true; // marked counts on it
    return tokens;
  }

  /** @param {string} source @param {Token[]} [tokens] */
  inlineTokens(source, tokens = []) {
    this.#inlineSource = source;
    const isCrowded = (source.match(DELIMITERS)?.length ?? 0) > MOST_DELIMITERS;
    const isRead = !isCrowded && this.#within(source, () => super.inlineTokens(source, tokens));
    if (!isRead) tokens.push({ type: "text", raw: source, text: source });
    return tokens;
  }

  /** Does `work` one level deeper, unless that is too deep. @param {string} source @param {() => void} work */
  #within(source, work) {
    if (this.#depth >= MOST_DEPTH) return false;
    this.#leftChars -= source.length + (this.#depth < DEEP ? 0 : DEEP_CHARS);
    if (this.#leftChars < 0) throw new RangeError("More nesting than text");
    this.#depth++;
    try {
      work();
    } finally {
      this.#depth--;
    }
    return true;
  }
}

/**
 * The blocks of `source` as tokens, whose raw texts make it up; `links` are the definitions of texts before it. What is
 * too much for the lexer becomes one token of plain text.
 * @param {string} source @param {Links} links @returns {Token[]}
 */
export function lex(source, links) {
  try {
    return new FencedLexer(source, links).lex(source);
  } catch {
    return [{ type: "plain", raw: source, text: source }]; // whatever it stumbled over, the text is to be seen
  }
}

/** A formula in a line, if `source` begins with one. @param {string} source @returns {Token | undefined} */
function inlineMath(source) {
  if (source[0] !== "$" && !source.startsWith("\\(")) return undefined;
  const near = source.slice(0, MOST_INLINE_CHARS);
  const found = near.indexOf(source[0] === "$" ? "$" : "\\)", 2) > 0 ? INLINE.exec(near) : null;
  return found ? { type: "math", raw: found[0], text: found[0] } : undefined;
}

/**
 * A formula of its own, if `source` begins with one. While it is written it goes on to the next blank line, so that
 * none of its lines is taken for a list before the last has come.
 * @param {string} source @returns {Token | undefined}
 */
function displayMath(source) {
  const opening = DISPLAY_OPENING.exec(source);
  if (!opening) return undefined;
  const closing = source.indexOf(opening[1] === "$$" ? "$$" : "\\]", opening[0].length);
  const whole = closing < 0 ? source : source.slice(0, closing + 2);
  const blank = whole.search(BLANK_LINE);
  const raw = blank < 0 ? whole : whole.slice(0, blank);
  const isAlone = /^[ \t]*(?:\n|$)/.test(source.slice(raw.length));
  return isAlone ? { type: "math", raw, text: raw.trim() } : undefined;
}

/** What marked is told of formulas: how they begin, and how they are read. */
const MATH = {
  inline: [inlineMath],
  startInline: [(/** @type {string} */ source) => source.search(INLINE_START)],
  block: [displayMath],
  startBlock: [(/** @type {string} */ source) => source.search(DISPLAY_START)],
};

/**
 * `masked`, in which marked looks for the ends of emphasis, without the inside of formulas.
 * @param {string} source @param {string} masked  as long as `source`; code and links in it are masked already
 */
function withoutMath(source, masked) {
  let left = "";
  for (let at = source.search(INLINE_START); at >= 0; at = source.search(INLINE_START)) {
    const isCode = masked[at] !== "$" && masked[at] !== "+"; // marked masks escapes by plus signs
    const length = isCode ? 0 : (inlineMath(source.slice(at))?.raw.length ?? 0);
    const end = at + Math.max(length, 1);
    left += masked.slice(0, at) + (length ? "a".repeat(length) : masked[at]);
    [source, masked] = [source.slice(end), masked.slice(end)];
  }
  return left + masked;
}

/**
 * How many of the tokens of `source`, and of its characters, stay as they are whatever text follows. The last block may
 * become anything: a list, a table, a heading by its second line. Two whole lines settle what it is, and that the block
 * before it has ended. The fence of a block of code does so at once.
 * @param {Token[]} tokens @param {string} source
 */
export function settledOf(tokens, source) {
  const secondLastLineEnd = source.lastIndexOf("\n", source.lastIndexOf("\n") - 1);
  let settled = { count: 0, chars: 0 };
  let at = 0;
  for (const [index, token] of tokens.entries()) {
    if (!source.startsWith(token.raw, at)) break;
    const isBegun = at <= secondLastLineEnd || (index === tokens.length - 1 && isFence(token));
    if (token.type !== "space" && isBegun) settled = { count: index, chars: at };
    at += token.raw.length;
  }
  return settled;
}

/** Whether a token is fenced code whose first line has come whole. @param {Token} token */
export function isFence(token) {
  return token.type === "code" && token.codeBlockStyle !== "indented" && token.raw.includes("\n");
}

/** Whether a block is longer than may be read again with every word. @param {Token | undefined} token */
export function isLong(token) {
  return (token?.items ?? token?.rows ?? []).length > MOST_LINES;
}

/**
 * Cuts a block that is as long as one may be: before the last item of a list, which may go on; behind a block that another
 * follows; after a row of a table, whose head is then said again; else behind a line or a word. `tokens` are those before
 * the cut, where they need not be read again.
 * @param {Token[]} tokens @param {string} source @returns {{chars: number, tokens?: Token[], head: string}}
 */
export function cutOf([first, ...others], source) {
  if (first.type === "list" && first.items.length > 1) {
    const items = first.items.slice(0, -1);
    const raw = items.map((/** @type {Token} */ item) => item.raw).join("");
    return { chars: raw.length, tokens: [{ ...first, items, raw }], head: "" };
  }
  if (others.some(({ type }) => type !== "space")) return { chars: first.raw.length, tokens: [first], head: "" };
  const lineEnd = source.lastIndexOf("\n", source.length - 2) + 1;
  const head = first.type === "table" && lineEnd && source[lineEnd] !== "\n" ? headOf(source) : "";
  return { chars: lineEnd || source.lastIndexOf(" ") + 1 || wholeCharacters(source), head };
}

/** The first two lines. @param {string} source */
function headOf(source) {
  return source.slice(0, source.indexOf("\n", source.indexOf("\n") + 1) + 1);
}

/** How many code units of `source` make up whole characters. @param {string} source */
function wholeCharacters(source) {
  return source.length - (/[\ud800-\udbff]$/.test(source) ? 1 : 0);
}
