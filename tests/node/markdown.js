// Shows texts in a page as they stream, and says what became of them; a page loads it before it loads anything else.

const VIOLATIONS = [];
document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => {
  VIOLATIONS.push(`${violatedDirective} ${blockedURI}`);
});

const TAGS = new Set(
  (
    "p br h3 h4 h5 h6 strong em del code pre blockquote ul ol li hr a bdi span figure figcaption button div " +
    "table thead tbody tr th td"
  ).split(" "),
);
const OF_HIGHLIGHT = "token-[a-z]{2,7}";
const OF_OURS = "host|math|hidden-character|task|plain|code|copy|language|lines|table|align-(?:left|center|right)";
const CLASSES = new RegExp(`^(?:${OF_OURS}|${OF_HIGHLIGHT})$`);
const ATTRIBUTES = new Map(
  Object.entries({
    href: (value) => /^(?:https?:\/\/|mailto:)/.test(value),
    title: (value, element) => value === element.href,
    rel: (value) => value === "noopener noreferrer nofollow",
    target: (value) => value === "_blank",
    class: (value) => value.split(" ").every((name) => CLASSES.test(name)),
    start: (value) => /^\d{1,9}$/.test(value),
    scope: (value) => value === "col",
    type: (value) => value === "button",
    tabindex: (value) => value === "0",
    role: (value) => ["group", "img"].includes(value),
    "aria-label": (value) => /^(?:Done|To do|Table|Code|Code, [\w+#.-]{1,24})$/.test(value),
  }),
);

/** What `element` holds that no answer may bring onto a page. */
globalThis.offences = (element) => {
  const found = [];
  for (const each of element.querySelectorAll("*")) {
    if (each.namespaceURI !== "http://www.w3.org/1999/xhtml" || !TAGS.has(each.localName)) found.push(each.localName);
    for (const { name, value } of each.attributes) {
      if (!ATTRIBUTES.get(name)?.(value, each)) found.push(`${each.localName} ${name}=${value}`);
    }
    if (each.localName === "a" && !each.relList.contains("noopener")) found.push(`a without rel: ${each.href}`);
  }
  return found;
};

/** What nobody may see of an answer's links and code: characters that hide. */
const hidden = (element) =>
  [...element.querySelectorAll("a, code")]
    .map(({ textContent }) => textContent)
    .filter((text) => /[\u200b\u202a-\u202e\u2060-\u2069]/.test(text));

/** An empty place on the page, which holds nothing else. */
const place = () => {
  const element = document.createElement("div");
  document.body.replaceChildren(element);
  return element;
};

/** Appends `pieces` one by one, each of them rendered. */
const stream = async (element, pieces) => {
  const { Markdown } = await import("/static/element/markdown.js");
  const markdown = new Markdown(element);
  for (const piece of pieces) {
    markdown.append(piece);
    markdown.render();
  }
  return markdown;
};

const inPieces = (text, chars) => text.match(new RegExp(`[^]{1,${chars}}`, "g")) ?? [];

/** A handler of ours that comes after every handler that was asked for before it, if any of those may run at all. */
const afterHandlers = () =>
  new Promise((resolve) => {
    const control = new Image();
    control.onerror = resolve;
    control.src = "data:image/png,broken";
  });

/** Shows `text` in each way that an answer comes and ends; gives what was wrong with any. */
globalThis.attack = async (text) => {
  const wrong = [];
  for (const chars of [1, 3, text.length]) {
    for (const ending of ["finished", "aborted", "failed"]) {
      const element = place();
      const came = ending === "aborted" ? text.slice(0, (text.length * 2) / 3) : text;
      const markdown = await stream(element, inPieces(came, chars));
      if (ending !== "failed") await markdown.finish();
      await afterHandlers();
      if (markdown.text !== came) wrong.push("the text is not what came");
      wrong.push(...offences(element), ...hidden(element));
      for (const button of element.querySelectorAll("button")) button.focus();
    }
  }
  return { wrong, fired: globalThis.__fired ?? null, violations: VIOLATIONS };
};

/** Shows `text` in one go or in pieces, and how long the tab did not answer meanwhile. */
globalThis.bomb = async (text, chars) => {
  const element = place();
  let lagMs = 0;
  let lastMs = performance.now();
  let timer = 0;
  const tick = () => {
    lagMs = Math.max(lagMs, performance.now() - lastMs);
    lastMs = performance.now();
    timer = setTimeout(tick);
  };
  tick();
  const frame = () => new Promise(requestAnimationFrame);
  const { Markdown } = await import("/static/element/markdown.js");
  const markdown = new Markdown(element);
  for (const piece of inPieces(text, chars)) {
    markdown.append(piece);
    markdown.render();
    await frame();
  }
  await markdown.finish();
  await afterColours();
  await frame();
  await frame();
  clearTimeout(timer);
  const wrong = offences(element);
  for (const caption of element.querySelectorAll("figcaption")) caption.remove();
  return { lagMs, wrong, text: element.textContent };
};

// -- what is made of a text

/** The nodes in `element` as HTML, in which coloured code is as plain as it was. */
const written = (element) => {
  const copy = element.cloneNode(true);
  for (const code of copy.querySelectorAll("figure code")) code.textContent = code.textContent;
  return copy.innerHTML;
};

/** The HTML of `text`, rendered after each of the pieces that `cuts` make of it. */
globalThis.rendered = async (text, cuts = []) => {
  const element = document.createElement("div");
  const ends = [...cuts, text.length];
  const markdown = await stream(
    element,
    ends.map((end, index) => text.slice(ends[index - 1] ?? 0, end)),
  );
  await markdown.finish();
  return written(element);
};

/** The HTML of the tokens of the whole text, each as a block of its own: what any streaming has to come to. */
globalThis.renderedAtOnce = async (text) => {
  const { lex } = await import("/static/element/markdown_lexer.js");
  const { blockOf } = await import("/static/element/markdown_blocks.js");
  const element = document.createElement("div");
  const outline = [0, 0];
  for (const token of lex(text.replace(/\r\n?/g, "\n"), {})) element.append(blockOf(token, outline) ?? "");
  return written(element);
};

/** The cuts of `text`, each a list of places, that do not come to the HTML of the whole; and that HTML. */
globalThis.differing = async (text, allCuts) => {
  const whole = await renderedAtOnce(text);
  const wrong = [];
  for (const cuts of allCuts) {
    const html = await rendered(text, cuts);
    if (html !== whole) wrong.push({ cuts: cuts.slice(0, 5), html });
  }
  return { whole, wrong: wrong.slice(0, 2) };
};

// -- while it streams

/** Selects the word "first" and focuses the link before it; says what is left of both once `rest` has come. */
globalThis.settle = async (beginning, rest) => {
  const element = place();
  const markdown = await stream(element, [beginning]);
  const link = element.querySelector("a");
  const text = link.nextSibling;
  link.focus();
  getSelection().setBaseAndExtent(text, text.data.indexOf("first"), text, text.data.indexOf("first") + 5);
  const watching = new MutationObserver(() => {});
  watching.observe(element.firstChild, { subtree: true, childList: true, characterData: true, attributes: true });
  for (const piece of inPieces(rest, 3)) {
    markdown.append(piece);
    markdown.render();
  }
  await markdown.finish();
  const touched = watching.takeRecords().length;
  return { touched, selected: getSelection().toString(), focused: document.activeElement.href };
};

/** What two renders in one frame show of a text, and how many paragraphs there are in the end. */
globalThis.patience = async (text) => {
  const element = place();
  const { Markdown } = await import("/static/element/markdown.js");
  const markdown = new Markdown(element);
  markdown.append(text);
  const isAllShown = markdown.render();
  const shown = element.childElementCount;
  markdown.render();
  const isLeftAlone = element.childElementCount === shown;
  await markdown.finish();
  return { isAllShown, isSomeShown: shown > 0, isLeftAlone, paragraphs: element.querySelectorAll("p").length };
};

/** Waits until all has its colours that was to get them: one block at a time does. */
const afterColours = async () => {
  const { coloured } = await import("/static/element/markdown_colours.js");
  await coloured("0", "json");
};

/** How many coloured words a block of code has before and after it is closed; `after` follows it. */
globalThis.colours = async (language, code, after = "") => {
  const element = place();
  const markdown = await stream(element, [`\`\`\`${language}\n${code}`]);
  const count = () => element.querySelector("code").querySelectorAll("[class^=token-]").length;
  await afterColours();
  const before = count();
  markdown.append(`\n\`\`\`\n\n${after}`);
  await markdown.finish();
  await afterColours();
  return { before, after: count(), text: element.querySelector("code").textContent, wrong: offences(element) };
};

/** How long the parts are that code is laid out in. */
globalThis.partsOfCode = async (code, chars) => {
  const element = place();
  const markdown = await stream(element, ["```\n", ...inPieces(code, chars)]);
  await markdown.finish();
  const [first, ...others] = element.querySelector("code").childNodes;
  return [first, ...others].map(({ textContent }) => textContent.length);
};

/** The offences of one element with one attribute or two. */
globalThis.planted = (tag, ...attributes) => {
  const element = place();
  const made = document.createElement(tag);
  for (const attribute of attributes) made.setAttribute(...attribute.split("="));
  element.append(made);
  return offences(element);
};
