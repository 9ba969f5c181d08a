// Tokens into nodes. No text of a model's is ever read as HTML, and no token names an element, an attribute or a class.
// @ts-check

import { codeBlock } from "./code.js";
import { h } from "./dom.js";
import { decode, shown, withoutHidden } from "./markdown_text.js";

/** @typedef {import("./markdown_lexer.js").Token} Token */

/**
 * The depths of the headings that stand open, outermost first, the page's own among them, of depth 0. What a model calls
 * a heading of depth 2 may be the first in its answer: its level is how many stand open, so that none is left out.
 * @typedef {number[]} Outline
 */

/** @type {Record<string, (token: Token, outline: Outline) => Node | null>} */
const MAKE_BLOCK = {
  space: () => null,
  def: () => null,
  hr: () => h("hr"),
  heading: ({ depth, tokens }, outline) => h(`h${levelOf(depth, outline)}`, {}, inlineOf(tokens)),
  paragraph: ({ tokens }) => h("p", {}, inlineOf(tokens)),
  text: ({ tokens, text }) => (tokens ? inlineOf(tokens) : new Text(text)),
  checkbox: (token) => inlineOf([token]),
  math: ({ text }) => h("p", { className: "math" }, text),
  code: ({ lang, text }) => codeBlock(lang, text.replace(/\n$/, "")),
  blockquote: ({ tokens }, outline) => h("blockquote", {}, blocksOf(tokens, outline)),
  list,
  table,
  plain,
  html: plain,
};

/** The nodes of blocks that stand inside another. @param {Token[]} tokens @param {Outline} outline */
function blocksOf(tokens, outline) {
  const fragment = new DocumentFragment();
  for (const token of tokens) {
    const node = blockOf(token, outline);
    if (node) fragment.append(node);
  }
  return fragment;
}

/**
 * The node of a block, or null for one that shows nothing. `outline` is brought up to the heading it may be.
 * @param {Token} token @param {Outline} outline
 */
export function blockOf(token, outline) {
  return (MAKE_BLOCK[token.type] ?? plain)(token, outline);
}

/** @param {number} depth @param {Outline} outline */
function levelOf(depth, outline) {
  while (outline[outline.length - 1] >= depth) outline.pop();
  return Math.min(outline.push(depth), 6);
}

/** What is shown as it was written, its lines too. @param {Token} token */
function plain({ text }) {
  return h("pre", { className: "plain" }, text.replace(/\n+$/, ""));
}

/** @param {Token} token @param {Outline} outline */
function list({ ordered, start, items }, outline) {
  const made = h(ordered ? "ol" : "ul");
  if (ordered && start !== 1) made.setAttribute("start", String(start));
  for (const { tokens } of items) made.append(h("li", {}, blocksOf(tokens, outline)));
  return made;
}

/** A table wider than the page scrolls by itself, and whoever has no mouse can get into it. @param {Token} token */
function table({ header, rows }) {
  const head = h("thead", {}, h("tr", {}, ...header.map((/** @type {Token} */ one) => cell("th", one))));
  const lines = rows.map((/** @type {Token[]} */ row) => h("tr", {}, ...row.map((one) => cell("td", one))));
  const whole = h("table", {}, head, lines.length ? h("tbody", {}, ...lines) : null);
  return h("div", { className: "table", tabIndex: 0, role: "group", "aria-label": "Table" }, whole);
}

/** @param {"th" | "td"} tag @param {Token} token */
function cell(tag, { tokens, align }) {
  const made = h(tag, {}, inlineOf(tokens));
  if (tag === "th") made.scope = "col";
  if (align) made.className = `align-${align}`;
  return made;
}

const SCHEMES = new Set(["http:", "https:", "mailto:"]);
// Nobody's language needs them, and they would write the host of a link after them from its end.
const OVERRIDES = /[\u202d\u202e]/g;
const LINE_BREAK = /^<br\s*\/?>$/i;

/** @type {Record<string, (token: Token, isLink: boolean) => Node | string>} */
const MAKE_INLINE = {
  text: ({ text }, isLink) => (isLink ? withoutHidden(decode(text)) : decode(text).replace(OVERRIDES, "")),
  escape: ({ text }) => text,
  html: ({ text }) => (LINE_BREAK.test(text) ? h("br") : text),
  br: () => h("br"),
  em: (token, isLink) => h("em", {}, inlineOf(token.tokens, isLink)),
  strong: (token, isLink) => h("strong", {}, inlineOf(token.tokens, isLink)),
  del: (token, isLink) => h("del", {}, inlineOf(token.tokens, isLink)),
  codespan: ({ text }) => h("code", {}, shown(text)),
  math: ({ text }) => h("span", { className: "math" }, text),
  checkbox: ({ checked }) => checkbox(checked),
  link: (token, isLink) =>
    isLink ? inlineOf(token.tokens, true) : linkTo(decode(token.href), inlineOf(token.tokens, true)),
  image: (token, isLink) => picture(token, isLink),
};

/**
 * The nodes of a paragraph's tokens. Inside a link nothing is a link, and hidden characters are left out.
 * @param {Token[]} tokens
 */
function inlineOf(tokens, isLink = false) {
  const fragment = new DocumentFragment();
  for (const token of tokens) fragment.append((MAKE_INLINE[token.type] ?? MAKE_INLINE.html)(token, isLink));
  return fragment;
}

/** A box of a list of tasks: it cannot be ticked, so it is a sign. @param {boolean} isChecked */
function checkbox(isChecked) {
  const [face, name] = isChecked ? ["☑", "Done"] : ["☐", "To do"];
  const sign = h("span", { className: "task", role: "img", "aria-label": name }, face);
  const fragment = new DocumentFragment();
  fragment.append(sign, " ");
  return fragment;
}

/**
 * An image is not loaded, for its address may carry anything away; it is a link.
 * @param {Token} token @param {boolean} isLink
 */
function picture({ href, tokens }, isLink) {
  const face = inlineOf(tokens, true);
  if (!face.textContent) face.append("image");
  return isLink ? face : linkTo(decode(href), face);
}

/**
 * A link of the model's. One that leads nowhere it may lead becomes its text, with the address beside it.
 * @param {string} target @param {Node} face  what is shown for it
 * @returns {Node}
 */
export function linkTo(target, face) {
  const written = withoutHidden(target).trim();
  const said = (face.textContent ?? "").trim();
  const address = addressOf(written);
  if (!address) return h("span", {}, face, said === written || !written ? null : ` (${written})`);
  const { href } = address;
  const link = h("a", { href, title: href, rel: "noopener noreferrer nofollow", target: "_blank" }, face);
  const place = placeOf(address);
  if (!says(said, address, place)) link.append(h("bdi", { className: "host" }, said ? ` (${place})` : place));
  return link;
}

/** @param {string} written */
export function addressOf(written) {
  try {
    const address = new URL(written); // without a base: what is no whole address leads nowhere
    return SCHEMES.has(address.protocol) ? address : null;
  } catch {
    return null;
  }
}

/** Whose a link is: the host as the browser will look it up, or the mailbox. @param {URL} address */
function placeOf(address) {
  return address.protocol === "mailto:" ? address.pathname : address.host;
}

/**
 * Whether a link's text is its address, or begins it. A name before an `@` would look like a host.
 * @param {string} said @param {URL} address @param {string} place
 */
function says(said, address, place) {
  const bare = said.toLowerCase().replace(/^(?:https?:\/\/|mailto:)/, "");
  const isWhole = bare === place.toLowerCase() || /^[/?#]/.test(bare.slice(place.length));
  return bare.startsWith(place.toLowerCase()) && isWhole && !address.username && !address.password;
}
