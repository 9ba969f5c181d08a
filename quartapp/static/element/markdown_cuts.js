// Where a text that still grows can be cut, so that what comes before the cut need never be read again.
// @ts-check

/** @typedef {import("./markdown_lexer.js").Token} Token */

const MOST_LINES = 200;

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
 * Cuts `source`, whose first block is as long as one may be and has no end yet: before the last item of a list, which
 * may go on; behind a block that another follows; after the last whole row of a table, whose head is then to be said
 * again; else at the end of a line or of a word. `tokens` are those before the cut, where they need not be read again.
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
