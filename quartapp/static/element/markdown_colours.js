// The colours of code: speed-highlight says which words are what, and each becomes a span of that class.
// @ts-check

import { shown } from "./markdown_text.js";

/** The grammars that a language needs, by each of its names; the first is its own. @type {Map<string, string[]>} */
const GRAMMARS = new Map();
for (const [names, ...grammars] of [
  ["javascript js jsx mjs cjs node", "js"],
  ["typescript ts tsx mts cts", "ts", "js"],
  ["python py python3 py3 pyi pycon", "py"],
  ["bash sh shell zsh console terminal shellsession", "bash"],
  ["json jsonc json5 jsonl ndjson", "json"],
  ["html xhtml vue svelte", "html", "css", "js"],
  ["xml svg rss atom", "xml"],
  ["css", "css"],
  ["sql mysql sqlite postgres postgresql psql", "sql"],
  ["yaml yml", "yaml"],
  ["go golang", "go"],
  ["rust rs", "rs"],
  ["java", "java"],
  ["c h cpp c++ cc hpp", "c"],
  ["diff patch", "diff"],
  ["toml ini", "toml"],
]) {
  for (const name of names.split(" ")) GRAMMARS.set(name, grammars);
}

// Beyond these a grammar's patterns, given what they are worst at, would keep the page busy for too long.
const MOST_CHARS = 16_384;
const MOST_LINE_CHARS = 500;
const MOST_WORDS = 10_000;

/** @type {Promise<unknown>} */
let before = Promise.resolve();

/**
 * `text` in spans of the classes `token-…`; null where the language is not known or the text is too long.
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

/** @param {string} text @param {string[]} names */
async function colour(text, names) {
  const { tokenizeWith } = await import("../vendor/speed-highlight/tokenize.js");
  /** @type {Record<string, any>} */
  const languages = {};
  for (const name of names) languages[name] = (await import(`../vendor/speed-highlight/languages/${name}.js`)).default;
  await pause();
  const whole = new DocumentFragment();
  let said = "";
  tokenizeWith(
    text,
    languages[names[0]],
    (/** @type {string} */ word, /** @type {string=} */ type) => {
      said += word;
      if (word) whole.append(type ? spanOf(type, word) : shown(word));
    },
    { languages },
  );
  return said === text && whole.childNodes.length <= MOST_WORDS ? whole : null;
}

const pause = () => new Promise((resolve) => setTimeout(resolve));

/** @param {string} type @param {string} word */
function spanOf(type, word) {
  const span = Object.assign(document.createElement("span"), { className: `token-${type}` });
  span.append(shown(word));
  return span;
}
