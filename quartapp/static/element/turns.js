// A chat: how it begins, what of it is sent, and what is made of one that somebody else wrote into the store.
// @ts-check

/** @typedef {import("./types").Chat} Chat */
/** @typedef {import("./types").Message} Message */
/** @typedef {import("./types").Reply} Reply */
/** @typedef {import("./types").Turn} Turn */

const MOST_TITLE_CHARS = 60;

/** @returns {Chat} */
export function newChat() {
  return { id: newId(), title: "", changedMs: 0, system: "", turns: [] };
}

/** @param {string} question @returns {Turn} */
export function newTurn(question) {
  return { question, reply: readReply({}) };
}

/** What a chat is called until somebody names it. @param {string} question */
export function titleOf(question) {
  const line = question.trim().split("\n", 1)[0];
  return line.length > MOST_TITLE_CHARS ? `${line.slice(0, MOST_TITLE_CHARS).trimEnd()}…` : line;
}

/**
 * The conversation as the chat is asked it. Earlier questions that got no answer are left out.
 * @param {Chat} chat @param {boolean} mayInstruct @returns {Message[]}
 */
export function messagesOf({ system, turns }, mayInstruct) {
  const earlier = turns.slice(0, -1).flatMap(({ question, reply }) => {
    const answer = answerOf(reply);
    return answer ? [said("user", question), answer] : [];
  });
  const instructions = mayInstruct && system.trim() ? [said("system", system)] : [];
  return [...instructions, ...earlier, said("user", turns[turns.length - 1].question)];
}

/** @param {"user" | "assistant" | "system"} role @param {string} content @returns {Message} */
const said = (role, content) => ({ role, content });

/** @param {Reply} reply @returns {Message | null} */
function answerOf({ text, refusal }) {
  if (text) return said("assistant", text);
  return refusal ? { role: "assistant", refusal } : null;
}

/** The chat that `value` holds, whatever it is; null if it holds none. @param {any} value @returns {Chat | null} */
export function readChat(value) {
  const turns = listOf(value?.turns).map(readTurn).filter(({ question }) => question);
  if (!turns.length) return null;
  return {
    id: textOf(value.id) || newId(),
    title: textOf(value.title) || titleOf(turns[0].question),
    changedMs: Math.min(numberOf(value.changedMs), Date.now()),
    system: textOf(value.system),
    turns,
  };
}

/** @param {any} value @returns {Turn} */
function readTurn(value) {
  return { question: textOf(value?.question), reply: readReply(value?.reply) };
}

/** @param {any} value @returns {Reply} */
function readReply(value) {
  return {
    text: textOf(value?.text),
    reasoning: textOf(value?.reasoning),
    refusal: textOf(value?.refusal),
    calls: listOf(value?.calls).map((call) => ({ name: textOf(call?.name), arguments: textOf(call?.arguments) })),
    ending: ["done", "failed"].includes(value?.ending) ? value.ending : "stopped",
    finishReason: textOf(value?.finishReason),
    fault: textOf(value?.fault),
    tokens: numberOf(value?.tokens),
    seconds: numberOf(value?.seconds),
    thoughtSeconds: numberOf(value?.thoughtSeconds),
  };
}

/** @param {unknown} value */
const textOf = (value) => (typeof value === "string" ? value : "");

/** @param {any} value @returns {number} */
const numberOf = (value) => (Number.isFinite(value) && value > 0 ? value : 0);

/** @param {unknown} value @returns {any[]} */
const listOf = (value) => (Array.isArray(value) ? value : []);

/** As good as `crypto.randomUUID`, which a page without TLS does not have. */
function newId() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("");
}
