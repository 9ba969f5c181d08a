// The colours of code: highlight.js says which words are what, in a string of spans, and this reads them.
// @ts-check

import { shown } from "./markdown_text.js";

/** The grammars that a language needs, by each of its names; the first is its own. @type {Map<string, string[]>} */
const GRAMMARS = new Map();
for (const [names, ...grammars] of [
  ["javascript js jsx mjs cjs node", "javascript"],
  ["typescript ts tsx mts cts", "typescript"],
  ["python py python3 py3 pyi pycon", "python"],
  ["bash sh shell zsh console terminal shellsession", "bash"],
  ["json jsonc json5 jsonl ndjson", "json"],
  ["html xml xhtml svg rss atom vue", "xml", "css", "javascript"],
  ["css", "css"],
  ["sql mysql sqlite postgres postgresql psql", "sql"],
  ["yaml yml", "yaml"],
]) {
  for (const name of names.split(" ")) GRAMMARS.set(name, grammars);
}

// Beyond these a grammar's patterns, given what they are worst at, would keep the page busy for too long.
const MOST_CHARS = 16_384;
const MOST_LINE_CHARS = 500;
const MOST_PIECES = 10_000;

const ENTITIES = new Map([["amp", "&"], ["lt", "<"], ["gt", ">"], ["quot", '"'], ["#x27", "'"]]);
const PIECES = /<span class="([\w -]+)">|(<\/span>)|&(amp|lt|gt|quot|#x27);|([^<&]+)/g;

/** @type {Promise<unknown>} */
let before = Promise.resolve();

/**
 * `text` as spans with the classes of highlight.js; null where the language is not known or the text is too long.
 * One at a time, so that a page of many blocks stays awake.
 * @param {string} text @param {string} language @returns {Promise<DocumentFragment | null>}
 */
export function coloured(text, language) {
  const grammars = GRAMMARS.get(language);
  if (!grammars || text.length > MOST_CHARS || text.split("\n").some((line) => line.length > MOST_LINE_CHARS)) {
    return Promise.resolve(null);
  }
  const made = before.then(() => colour(text, grammars)).catch(() => null);
  before = made.then(pause);
  return made;
}

/** @param {string} text @param {string[]} grammars */
async function colour(text, grammars) {
  const { default: highlight } = await import("../vendor/highlight.js/core.min.js");
  for (const name of grammars) {
    if (highlight.getLanguage(name)) continue;
    highlight.registerLanguage(name, (await import(`../vendor/highlight.js/languages/${name}.min.js`)).default);
  }
  const html = highlight.highlight(text, { language: grammars[0], ignoreIllegals: true }).value;
  await pause();
  return read(html, text);
}

const pause = () => new Promise((resolve) => setTimeout(resolve));

/**
 * The nodes that `html` says, or null where it says anything but spans around `text`.
 * @param {string} html @param {string} text
 */
function read(html, text) {
  const pieces = [...html.matchAll(PIECES)];
  if (pieces.length > MOST_PIECES) return null;
  const whole = new DocumentFragment();
  /** @type {(DocumentFragment | Element)[]} */
  const open = [whole];
  let [said, readChars] = ["", 0];
  for (const [piece, className, end, entity, plain] of pieces) {
    readChars += piece.length;
    if (className) open.unshift(open[0].appendChild(Object.assign(document.createElement("span"), { className })));
    else if (end) open.shift();
    else {
      const written = entity ? /** @type {string} */ (ENTITIES.get(entity)) : plain;
      said += written;
      open[0].append(shown(written));
    }
  }
  return readChars === html.length && said === text && open.length === 1 ? whole : null;
}
