// Brings nodes up to newer ones in place, so that what stays the same keeps its selection and its focus.
// @ts-check

import { growCode } from "./code.js";

/**
 * Makes the children of `parent`, from `first` on, into `nodes`.
 * @param {Node} parent @param {Node | null} first @param {Iterable<Node>} nodes
 */
export function morphChildren(parent, first, nodes) {
  for (const node of [...nodes]) {
    const next = first?.nextSibling ?? null;
    if (!first) parent.appendChild(node);
    else if (!morph(first, node)) parent.replaceChild(node, first);
    first = next;
  }
  while (first) {
    const next = first.nextSibling;
    parent.removeChild(first);
    first = next;
  }
}

/**
 * Does `change` in `container`: what had the focus and was made anew has it again, or else what is around.
 * @param {Element} container @param {() => void} change
 */
export function keepFocus(container, change) {
  const focused = /** @type {any} */ (container.getRootNode()).activeElement;
  if (!container.contains(focused)) return change();
  const alike = () => [...container.querySelectorAll(focused.localName)].filter(({ href }) => href === focused.href);
  const place = alike().indexOf(focused);
  change();
  if (!focused.isConnected) (alike()[place] ?? container.closest("[tabindex]"))?.focus({ preventScroll: true });
}

/** Makes `old` into `newer` if they are of a kind; says whether it did. @param {Node} old @param {Node} newer */
export function morph(old, newer) {
  if (old instanceof Text && newer instanceof Text) return morphText(old, newer.data);
  if (!(old instanceof HTMLElement && newer instanceof HTMLElement) || !isAlike(old, newer)) return false;
  const grown = growCode(old, newer);
  if (grown === undefined) morphChildren(old, old.firstChild, newer.childNodes);
  return grown ?? true;
}

/** Replaces what differs alone, for what is selected before it stays so. @param {Text} old @param {string} text */
function morphText(old, text) {
  let same = 0;
  while (same < text.length && text[same] === old.data[same]) same++;
  if (same < Math.max(text.length, old.length)) old.replaceData(same, old.length - same, text.slice(same));
  return true;
}

/** @param {Element} old @param {Element} newer */
function isAlike(old, newer) {
  const isOne = old.nodeName === newer.nodeName && old.attributes.length === newer.attributes.length;
  return isOne && [...old.attributes].every(({ name, value }) => newer.getAttribute(name) === value);
}
