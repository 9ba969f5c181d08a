// A block of code: its language, a button that copies it as it was written, and its text, which grows at the end.
// @ts-check

import { h } from "./dom.js";
import { shown, withoutHidden } from "./markdown_text.js";

/**
 * What is known of a block: its text as the model wrote it, the part that new text goes to, and how long that is.
 * @typedef {{text: string, language: string, part: Element, partChars: number, isColoured: boolean}} Known
 */

/** @type {WeakMap<Node, Known>} */
const blocks = new WeakMap();

const LANGUAGE = /^[\w+#.-]{1,24}(?=$|[\s,{:])/;
const MOST_LABEL_CHARS = 80;
// What grows is laid out anew as a whole, so long code is in parts, of which only the last grows.
const PART_CHARS = 8_192;
const COPIED_MS = 2_000;

const MAY_BECOME_CLOSING = /^ {0,3}[`~]* *$/;
// An emoji may be of several characters, and a character of two halves.
const MAY_GO_ON = /(?:\p{Extended_Pictographic}[\p{Emoji}\p{Extended_Pictographic}\ufe0f\u200d]*)?[\ud800-\udbff]?$/u;
const MOST_HELD_CHARS = 32;
const MOST_FENCE_CHARS = 1_000;
const MOST_AT_ONCE_CHARS = 16_384;

/** @param {string} [info]  what stands behind the fence; its first word is the language @param {string} [text] */
export function codeBlock(info = "", text = "") {
  const language = LANGUAGE.exec(info)?.[0].toLowerCase() ?? "";
  const label = language || withoutHidden(info).slice(0, MOST_LABEL_CHARS) || "text";
  const copy = h("button", { type: "button", className: "copy" }, "Copy");
  const part = h("code");
  const lines = h("pre", { tabIndex: 0, role: "group", "aria-label": language ? `Code, ${language}` : "Code" }, part);
  const caption = h("figcaption", {}, h("span", { className: "language" }, label), copy);
  const block = h("figure", { className: "code" }, caption, lines);
  blocks.set(block, { text: "", language, part, partChars: 0, isColoured: false });
  appendCode(block, text);
  return block;
}

/** @param {Node} block @param {string} text */
export function appendCode(block, text) {
  const known = /** @type {Known} */ (blocks.get(block));
  known.text += text;
  for (let end = partEnd(known, text); end !== undefined; end = partEnd(known, text)) {
    write(known, text.slice(0, end));
    text = text.slice(end);
    known.part = /** @type {Element} */ (known.part.closest("code")).appendChild(h("div", { className: "lines" }));
    known.partChars = 0;
  }
  write(known, text);
}

/**
 * How much of `text` the part still takes, if not all: it ends with a line, unless that has no end in sight.
 * @param {Known} known @param {string} text
 */
function partEnd({ partChars }, text) {
  const mostChars = 2 * PART_CHARS - partChars;
  const lineEnd = text.slice(0, mostChars).indexOf("\n", PART_CHARS - partChars);
  if (lineEnd >= 0) return lineEnd + 1;
  if (text.length <= mostChars) return undefined;
  return mostChars - (/[\ud800-\udbff]/.test(text.charAt(mostChars - 1)) ? 1 : 0);
}

/** @param {Known} known @param {string} text */
function write(known, text) {
  if (!text) return;
  const made = shown(text);
  const [last, first] = [known.part.lastChild, made.firstChild];
  if (last instanceof Text && first instanceof Text) {
    last.appendData(first.data);
    first.remove();
  }
  known.part.append(made);
  known.partChars += text.length;
}

/** A block of code that stands open: its lines go straight to the page, and none is read twice. */
export class Fence {
  isClosed = false;
  #closing;
  #indent;
  #isFirstLine = true;
  #isMidLine = false;

  /** @param {import("./markdown_lexer.js").Token} token  a token of fenced code, whose first line has come whole */
  constructor({ raw, lang }) {
    const [, indent, marks] = /** @type {RegExpExecArray} */ (/^( {0,3})(`{3,}|~{3,})/.exec(raw));
    this.block = codeBlock(lang);
    this.#indent = marks[0] === "`" ? indent.length : 0; // so does marked
    this.#closing = new RegExp(`^ {0,3}${marks}${marks[0]}* *$`);
  }

  /**
   * Takes what can be told of `source`, and returns how many characters that is. A line that may become the closing
   * fence is left until it is whole, or until nothing follows.
   * @param {string} source @param {boolean} isAll
   */
  take(source, isAll) {
    const lines = source.slice(0, MOST_AT_ONCE_CHARS).split("\n");
    const isCut = source.length > MOST_AT_ONCE_CHARS;
    const last = lines.length - 1;
    let text = "";
    let takenChars = 0;
    for (const [index, line] of lines.entries()) {
      const isWhole = index < last || (isAll && !isCut);
      if (!this.#isMidLine && isWhole && this.#closing.test(line)) {
        this.isClosed = true;
        takenChars += line.length;
        break;
      }
      const said = isWhole ? line : this.#certain(line);
      if (index === last && !said) break;
      text += this.#said(said);
      this.#isMidLine = index === last;
      takenChars += said.length + (index === last ? 0 : 1);
    }
    appendCode(this.block, text);
    return takenChars;
  }

  /** As much of the beginning of a line as nothing that follows makes into something else. @param {string} line */
  #certain(line) {
    if (!this.#isMidLine && line.length < MOST_FENCE_CHARS && MAY_BECOME_CLOSING.test(line)) return "";
    return line.slice(0, line.length - (MAY_GO_ON.exec(line.slice(-MOST_HELD_CHARS))?.[0].length ?? 0));
  }

  /** What a line, or the part of one that has come, adds to the code. @param {string} line */
  #said(line) {
    if (this.#isMidLine) return line;
    const lineEnd = this.#isFirstLine ? "" : "\n";
    this.#isFirstLine = false;
    const indent = /** @type {RegExpExecArray} */ (/^\s*/.exec(line))[0].length;
    return lineEnd + line.slice(Math.min(indent, this.#indent));
  }
}

/**
 * Makes `old` into `newer` if both are blocks of code and the newer one only goes on; undefined if neither is one.
 * @param {Node} old @param {Node} newer @returns {boolean | undefined}
 */
export function growCode(old, newer) {
  const [known, wanted] = [blocks.get(old), blocks.get(newer)];
  if (!known || !wanted) return known || wanted ? false : undefined;
  const more = wanted.text.slice(known.text.length);
  const goesOn = known.language === wanted.language && wanted.text.startsWith(known.text);
  if (!goesOn || (more && known.isColoured)) return false;
  appendCode(old, more);
  return true;
}

/** Colours the blocks of code in `node`, which will not change any more. @param {Node} node */
export function finishCode(node) {
  if (!(node instanceof Element)) return;
  const inside = node.matches("figure.code") ? [node] : node.querySelectorAll("figure.code");
  for (const block of inside) colour(block).catch(() => {}); // without its colours, code is still code
}

/** @param {Element} block */
async function colour(block) {
  const known = blocks.get(block);
  if (!known || known.isColoured) return;
  known.isColoured = true;
  const { coloured } = await import("./markdown_colours.js"); // a page without code does without
  const made = await coloured(known.text, known.language);
  if (made) block.querySelector("code")?.replaceChildren(made);
}

/** Copies the code whose button was pressed. @param {Event} event */
export async function copyPressed(event) {
  const button = event.target instanceof Element ? event.target.closest("button.copy") : null;
  const known = button && blocks.get(/** @type {Element} */ (button.closest("figure")));
  if (!button || !known) return;
  const isCopied = await copyText(known.text);
  button.textContent = isCopied ? "Copied" : "Not copied";
  setTimeout(() => (button.textContent = "Copy"), COPIED_MS);
}

/** Whether `text` got onto the clipboard. @param {string} text */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyByCommand(text);
  }
}

/** @param {string} text */
function copyByCommand(text) {
  /** @param {ClipboardEvent} event */
  const fill = (event) => {
    event.clipboardData?.setData("text/plain", text);
    event.preventDefault();
    event.stopImmediatePropagation();
  };
  addEventListener("copy", fill, { capture: true, once: true });
  const isCopied = document.execCommand("copy");
  removeEventListener("copy", fill, { capture: true });
  return isCopied;
}
