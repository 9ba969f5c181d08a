// Elements made by hand, which is the only way anything gets onto the page: no text is ever read as HTML.
// @ts-check

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. What it has no property for becomes an attribute; children that are null are left out.
 * @param {string} tag @param {Record<string, unknown>} [properties]
 * @param {...(Node | string | null | undefined)} children
 * @returns {any} an HTMLElement, of the type that its tag says
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) Object.assign(element, { [name]: value });
    else element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child != null).map((child) => /** @type {Node | string} */ (child)));
  return element;
}

/** A button that sends no form. @param {string | Node} face @param {Record<string, unknown>} properties */
export function button(face, properties) {
  return h("button", { type: "button", part: "button", ...properties }, face);
}

/** A heading for those who hear the page and do not see it. @param {string} text */
export function spokenHeading(text) {
  return h("h3", { className: "spoken" }, text);
}

/** @param {string} words */
export function note(words) {
  return h("p", { className: "note" }, words);
}

/** Adds to the text in `element` what it lacks of `text`. @param {Element} element @param {string} text */
export function grow(element, text) {
  const shown = element.firstChild;
  if (!(shown instanceof Text)) element.textContent = text;
  else if (text.length > shown.length) shown.appendData(text.slice(shown.length));
}

/** A drawing of one line, 24 units wide and high, in the colour of the text around it. @param {string} path */
export function icon(path) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", "0 0 24 24");
  drawing.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  drawing.append(line);
  return drawing;
}

/** Has `act` done where `form` would be sent. @param {HTMLFormElement} form @param {() => void} act */
export function onSubmit(form, act) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    act();
  });
}

/** Has Escape do `act`, and nothing else, within `element`. @param {HTMLElement} element @param {() => void} act */
export function onEscape(element, act) {
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing) return;
    event.preventDefault();
    act();
  });
}

/**
 * `draw`, made to run once in the next frame however often it is called. A hidden tab has none, and draws on return.
 * @param {() => void} draw
 */
export function onceAFrame(draw) {
  let asked = 0;
  const later = () => {
    asked ||= requestAnimationFrame(() => {
      asked = 0;
      draw();
    });
  };
  later.cancel = () => cancelAnimationFrame(asked);
  return later;
}
