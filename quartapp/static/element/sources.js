// What stands beside the text of an answer: the images that the model made, and the sources that it cites. It is loaded
// with the first of them.
// @ts-check

import { h, note } from "./dom.js";
import { isKeepable } from "./history.js";
import { addressOf, linkTo } from "./markdown_blocks.js";
import { withoutHidden } from "./markdown_text.js";

/** @import { Reply, Source } from "./types" */

const SHOWN = /^data:image\/(png|jpe?g|gif|webp)[;,]/i;
const UNKEPT = "The image was too large to be kept.";
const UNSHOWN = "The image cannot be shown.";
const LARGE = "The image is too large to be kept: it is gone when the page is closed. ";

/**
 * Adds to `place` what it lacks of the images, and once the answer is over its sources.
 * @param {Element} place @param {Reply} reply @param {boolean} isOver
 */
export function show(place, { images, sources }, isOver) {
  const shown = place.querySelectorAll(".image").length;
  for (const [index, url] of images.entries()) if (index >= shown) place.append(picture(url, index + 1));
  if (!isOver || !sources.length || place.querySelector(".sources")) return;
  const items = each(sources).map(({ url, title }) => h("li", {}, linkTo(url, new Text(withoutHidden(title)))));
  const list = h("ol", {}, ...items);
  place.append(h("div", { className: "sources", part: "sources" }, h("h4", {}, "Sources"), list));
}

/** `sources` without those that are named again. @param {Source[]} sources */
function each(sources) {
  /** @type {Map<string, Source>} */
  const found = new Map();
  for (const { url, title } of sources) {
    const { href = "" } = addressOf(url) ?? {};
    const known = found.get(href || title);
    if (href || title) found.set(href || title, { url: href, title: known?.title || title });
  }
  return [...found.values()];
}

/** The sources at the end of an answer's Markdown. @param {Source[]} sources */
export function sourcesText(sources) {
  const items = each(sources).map(({ url, title }, index) => {
    const face = (title || url).replace(/\s+/g, " ").replace(/[\\`*_[\]<>]/g, "\\$&");
    return `\n${index + 1}. ${url ? `[${face}](<${url}>)` : face}`;
  });
  return items.length ? `\n\nSources:\n${items.join("")}` : "";
}

/**
 * An image, or what is said in its place. One that is elsewhere is not loaded, for its address may carry anything away.
 * @param {string} url empty where the image was not kept @param {number} number in its answer
 */
function picture(url, number) {
  const place = h("div", { className: "image", part: "image" });
  const alt = `Image ${number} of the answer`;
  const [isShown, type] = SHOWN.exec(url) ?? [];
  const onerror = () => place.replaceChildren(note(UNSHOWN));
  if (isShown) place.append(h("img", { alt, onerror, src: url }));
  else place.append(addressOf(url) ? linkTo(url, new Text(alt)) : note(url ? UNSHOWN : UNKEPT));
  if (!isShown || isKeepable(url)) return place;
  const save = h("a", { href: url, download: `image-${number}.${type}` }, "Save it");
  place.append(h("p", { className: "note" }, LARGE, save));
  return place;
}
