// What stands beside the text of an answer: the images that the model made, the tools that it calls, and the sources that
// it cites. It is loaded with the first of them.
// @ts-check

import { grow, h, note } from "./dom.js";
import { isKeepable } from "./history.js";
import { addressOf, linkTo } from "./markdown_blocks.js";
import { withoutHidden } from "./markdown_text.js";

/** @import { Call, Reply, Source } from "./types" */

const SHOWN = /^data:image\/(png|jpe?g|gif|webp)[;,]/i;
const UNKEPT = "The image was too large to be kept.";
const UNSHOWN = "The image cannot be shown.";
const LARGE = "The image is too large to be kept: it is gone when the page is closed. ";

export class Beside {
  #reply;
  #images = h("div");
  #calls = h("div", { className: "calls" });
  /** @type {FoldedCall[]} */
  #folds = [];
  #sources = h("div", { className: "sources", part: "sources" });

  /** @param {Element} place @param {Reply} reply that may still grow */
  constructor(place, reply) {
    this.#reply = reply;
    place.append(this.#images, this.#calls, this.#sources);
  }

  /** Shows what has come, and once the answer `isOver` its sources. @param {boolean} isOver */
  draw(isOver) {
    const { images, calls, sources } = this.#reply;
    for (const url of images.slice(this.#images.childElementCount)) {
      this.#images.append(picture(url, this.#images.childElementCount + 1));
    }
    for (const [index, call] of calls.entries()) {
      this.#folds[index] ??= new FoldedCall(call, this.#calls);
      this.#folds[index].draw(isOver);
    }
    this.#calls.hidden = !calls.length;
    if (isOver && sources.length && !this.#sources.hasChildNodes()) this.#sources.append(...listOf(each(sources)));
  }

  /** The sources at the end of the answer's Markdown. */
  get sourcesText() {
    const items = each(this.#reply.sources).map(({ url, title }, index) => {
      const face = (title || url).replace(/\s+/g, " ").replace(/[\\`*_[\]<>]/g, "\\$&");
      return `\n${index + 1}. ${url ? `[${face}](<${url}>)` : face}`;
    });
    return items.length ? `\n\nSources:\n${items.join("")}` : "";
  }
}

/** @param {Source[]} sources */
function listOf(sources) {
  const items = sources.map(({ url, title }) => h("li", {}, linkTo(url, new Text(withoutHidden(title)))));
  return [h("h4", {}, "Sources"), h("ol", {}, ...items)];
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

/** It is made once, for it can be opened and have the focus while more comes. */
class FoldedCall {
  #call;
  #does = new Text("Calls ");
  #name = h("code", { dir: "ltr" });
  #text = h("pre", { tabIndex: 0, role: "region", dir: "ltr" });

  /** @param {Call} call @param {Element} parent */
  constructor(call, parent) {
    this.#call = call;
    const summary = h("summary", {}, this.#does, this.#name);
    parent.append(h("details", { className: "fold", part: "tool-call" }, summary, this.#text));
  }

  /** What is not whole is no JSON: it is laid out in the end. @param {boolean} isOver */
  draw(isOver) {
    const { name, arguments: text } = this.#call;
    this.#name.textContent = name || "a tool";
    this.#text.setAttribute("aria-label", `Arguments of ${name}`);
    if (!isOver) return grow(this.#text, text);
    this.#does.data = "Called ";
    this.#text.textContent = pretty(text);
  }
}

/** JSON laid out, or the text as it is where it is none. @param {string} text */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
