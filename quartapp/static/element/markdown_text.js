// Characters: references such as `&amp;` into what they stand for, and characters that hide into ones that show.
// @ts-check

import { h } from "./dom.js";

/** The references that are met in answers, each before what it stands for; any other stays as it was written. */
const NAMED = new Map(
  (
    "amp & lt < gt > quot \" apos ' nbsp \u00a0 copy © reg ® trade ™ deg ° middot · bull • hellip … para ¶ sect § " +
    "ndash – mdash — lsquo ‘ rsquo ’ ldquo “ rdquo ” laquo « raquo » euro € pound £ yen ¥ cent ¢ times × divide ÷ " +
    "minus − plusmn ± frac12 ½ frac14 ¼ frac34 ¾ sup1 ¹ sup2 ² sup3 ³ micro µ radic √ sum ∑ infin ∞ ne ≠ le ≤ ge ≥ " +
    "asymp ≈ larr ← uarr ↑ rarr → darr ↓ harr ↔ rArr ⇒ hArr ⇔ alpha α beta β gamma γ delta δ Delta Δ epsilon ε " +
    "theta θ lambda λ mu μ pi π sigma σ Sigma Σ omega ω Omega Ω"
  )
    .match(/\w+ [^ ]/g)
    ?.map((pair) => /** @type {[string, string]} */ (pair.split(" "))),
);
const REFERENCE = /&(?:#(\d{1,7})|#[xX]([\da-fA-F]{1,6})|(\w{2,8}));/g;

/** What references in `text` stand for. @param {string} text */
export function decode(text) {
  return text.replace(REFERENCE, (written, decimal, hex, name) => {
    if (name) return NAMED.get(name) ?? written;
    const code = decimal ? parseInt(decimal, 10) : parseInt(hex, 16);
    const isNone = code === 0 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff);
    return isNone ? "\ufffd" : String.fromCodePoint(code);
  });
}

// Control characters, and those that are made to be ignored: without a width, or turning the direction of the text. An
// emoji may be held together by some of them, which are no trick there.
const HIDDEN = /(?![\ufe00-\ufe0f])\p{Default_Ignorable_Code_Point}|(?![\t\n])\p{Cc}/u;
const EMOJI = /\p{Extended_Pictographic}[\ufe0f\u{1f3fb}-\u{1f3ff}]*/u.source;
const EMOJI_OR_HIDDEN = new RegExp(`(${EMOJI}(?:\\u200d${EMOJI})+|${HIDDEN.source})`, "gu");
const ONE_HIDDEN = new RegExp(`^(?:${HIDDEN.source})$`, "u");

/** `text` without characters that hide. @param {string} text */
export function withoutHidden(text) {
  return HIDDEN.test(text) ? text.replace(EMOJI_OR_HIDDEN, (found) => (ONE_HIDDEN.test(found) ? "" : found)) : text;
}

/** `text` with the names of characters that hide, as U+202E, in their places. @param {string} text */
export function shown(text) {
  const fragment = new DocumentFragment();
  const pieces = HIDDEN.test(text) ? text.split(EMOJI_OR_HIDDEN) : [text];
  for (const piece of pieces) fragment.append(ONE_HIDDEN.test(piece) ? nameOf(piece) : piece);
  if (pieces.length > 1) fragment.normalize(); // an emoji is a piece of its own
  return fragment;
}

/** @param {string} character */
function nameOf(character) {
  const code = /** @type {number} */ (character.codePointAt(0)).toString(16).toUpperCase();
  return h("span", { className: "hidden-character" }, `U+${code.padStart(4, "0")}`);
}
