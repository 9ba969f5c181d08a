// Cards that say what went wrong, with the buttons that can help.
// @ts-check

import { button, h, onSubmit } from "./dom.js";

/** @import { CardActs, Fault } from "./types" */

/** @typedef {keyof CardActs} Act */

/** What each button says. @type {Record<Act, string>} */
const WORDS = {
  again: "Try again",
  fewer: "Leave out old messages",
  edit: "Edit the question",
  model: "Choose another model",
  begin: "New chat",
};

/** @type {[string, ...Act[]]} */
const CONNECTION = ["Check your connection, then try again.", "again"];
/** @type {[string, ...Act[]]} */
const LATER = ["Try again in a moment.", "again", "model"];
/** @type {[string, ...Act[]]} */
const TOO_LONG = ["", "fewer", "edit", "begin"];
/** @type {[string, ...Act[]]} */
const NO_CHAT = ["There is no chat at this address."];

/** What to do about an error, in words if the buttons need some, by its code. @type {Map<string, [string, ...Act[]]>} */
const ADVICE = new Map(
  /** @type {[string, [string, ...Act[]]][]} */ (
    Object.entries({
      network: CONNECTION,
      idle: CONNECTION,
      truncated: CONNECTION,
      too_large: TOO_LONG,
      context_too_long: ["", "fewer", "model", "begin"],
      content_filtered: ["Put the question in other words.", "edit"],
      invalid_request: ["", "begin", "model"],
      model_not_found: ["Choose another model.", "model"],
      upstream_refused: ["", "model", "edit"],
      forbidden: ["Whoever runs this chat can say who may ask."],
      not_found: NO_CHAT,
      method_not_allowed: NO_CHAT,
      deadline_exceeded: ["Ask for a shorter answer, or try again.", "again", "edit"],
    })
  ),
);

const MOST_MESSAGE_CHARS = 300;
const MOST_ID_CHARS = 100;

/** What went wrong, as it can be shown and said. @param {{message: string}} error */
export function messageOf({ message }) {
  return message.length > MOST_MESSAGE_CHARS ? `${message.slice(0, MOST_MESSAGE_CHARS)}…` : message;
}

/** What is kept of an error. @param {any} error @returns {Fault} */
export function faultOf(error) {
  const { code, status, id } = error;
  const kept = textOf(id).slice(0, MOST_ID_CHARS);
  return { message: messageOf(error), code: textOf(code), status: Number(status) || 0, id: kept };
}

/** @param {unknown} value of a server's or a host's, which may be anything */
const textOf = (value) => (["string", "number"].includes(typeof value) ? String(value) : "");

/** @param {Fault} fault @returns {[string, ...Act[]]} */
function adviceFor({ code, status }) {
  if (status === 401) return ["Sign in, then try again.", "again"];
  if (code && code !== "bad_answer") return ADVICE.get(code) ?? LATER;
  if (status === 404) return NO_CHAT;
  if (status === 413) return TOO_LONG; // of a proxy
  if ([200, 403].includes(status)) return ["If you are asked to sign in elsewhere, do, and reload the page.", "again"];
  return LATER;
}

/**
 * The advice is the buttons: those of `acts` that can help. "Try again" comes after a countdown where the server named a
 * wait; nothing is asked again by itself.
 * @param {Fault} fault @param {Partial<CardActs>} acts @param {number} [waitSeconds]
 */
export function errorCard(fault, acts, waitSeconds = 0) {
  const [words, ...helps] = adviceFor(fault);
  const made = helps
    .filter((act) => acts[act])
    .map((act, index) => {
      const onclick = /** @type {() => void} */ (acts[act]);
      const face = { className: index ? "plain" : "primary", "data-act": act, onclick };
      return act === "again" ? againButton(waitSeconds, face) : button(WORDS[act], face);
    });
  return h(
    "div",
    { className: "card error", part: "error" },
    h("p", { className: "what" }, fault.message),
    words && !waitSeconds ? h("p", { className: "advice" }, words) : null,
    made.length ? h("div", { className: "row advice" }, ...made) : null,
    fault.id ? h("p", { className: "id" }, "For whoever runs this chat: ", fault.id) : null,
  );
}

/** @param {number} waitSeconds @param {Record<string, unknown>} properties */
function againButton(waitSeconds, properties) {
  const face = button(WORDS.again, properties);
  const readyMs = performance.now() + waitSeconds * 1000;
  const tell = () => {
    const left = Math.ceil((readyMs - performance.now()) / 1000);
    face.disabled = left > 0;
    face.textContent = left > 0 ? `${WORDS.again} in ${left} s` : WORDS.again;
    return left > 0;
  };
  if (!tell()) return face;
  const isThere = () => face.getRootNode() instanceof ShadowRoot; // which may come back
  const timer = setInterval(() => (tell() && isThere()) || clearInterval(timer), 250);
  return face;
}

const REFUSED = "This token was not accepted.";
const SENDABLE = /^[\x21-\x7e]+$/; // no header takes any other

/** Asks for a token, which is kept in memory alone. @param {boolean} isRefused whether one was given already
 * @param {(token: string) => void} signIn */
export function signInCard(isRefused, signIn) {
  const name = { "aria-label": "Access token", placeholder: "Access token" };
  const secret = { type: "password", required: true, autocomplete: "off", dir: "ltr" };
  const token = h("input", { ...name, ...secret, className: "field" });
  const words = h("p", { className: "what", "aria-live": "polite" }, isRefused ? REFUSED : "Sign in to ask.");
  const send = h("button", { type: "submit", className: "primary", part: "button" }, "Sign in");
  const form = h(
    "form",
    { className: "card", part: "sign-in" },
    words,
    h("div", { className: "row" }, token, send),
    h("p", { className: "id" }, "It is forgotten when this page is closed."),
  );
  onSubmit(form, () => {
    const given = token.value.trim();
    if (SENDABLE.test(given)) signIn(given);
    else words.textContent = REFUSED;
  });
  return form;
}
