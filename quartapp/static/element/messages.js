// What of a chat is sent: its newest turns, as many as the server and the model take.
// @ts-check

/** @import { Chat, Limits, Message, Reply, Turn } from "./types" */

/** @param {"user" | "assistant" | "system"} role @param {string} content @returns {Message} */
const said = (role, content) => ({ role, content });

/** @param {Reply} reply @returns {Message | null} */
function answerOf({ text, refusal }) {
  if (text) return said("assistant", text);
  return refusal ? { role: "assistant", refusal } : null;
}

/** A question that got no answer is left out. @param {Turn} turn */
function messagesOfTurn({ question, reply }) {
  const answer = answerOf(reply);
  return answer ? [said("user", question), answer] : [];
}

/**
 * The newest turns that fit and the last question, as messages; `from` is the index of the first turn, `chars` their length.
 * @param {Pick<Chat, "system" | "turns" | "mostChars">} chat @param {boolean} mayInstruct
 * @param {Limits} [limits] of the server, if it sent them @param {object} [body] what else the request holds
 */
export function messagesOf({ system, turns, mostChars }, mayInstruct, limits = {}, body = {}) {
  const instructions = mayInstruct && system.trim() ? [said("system", system)] : [];
  const question = said("user", turns[turns.length - 1].question);
  const room = new Room(limits, mostChars || Infinity);
  const least = [...instructions, question];
  room.add({ ...sizeOf({ ...body, messages: least }), chars: sizeOf(least).chars, messages: least.length });
  const earlier = turns.slice(0, -1).map(messagesOfTurn);
  let from = earlier.length;
  while (from > 0 && room.takes(earlier[from - 1])) from -= 1;
  const messages = [...instructions, ...earlier.slice(from).flat(), question];
  if (!earlier.slice(0, from).flat().length) from = 0;
  return { messages, from, chars: room.chars };
}

/** @param {any} value */
function sizeOf(value) {
  let [values, chars] = [0, 0];
  const json = JSON.stringify(value, (key, part) => {
    values += 1;
    if (typeof part === "string" && key !== "role") chars += part.length; // at least as many as the server counts
    return part;
  });
  return { messages: 0, values, chars, bytes: new TextEncoder().encode(json).length };
}

class Room {
  #limits;
  #used = { messages: 0, values: 0, chars: 0, bytes: 0 };

  /** @param {Limits} limits @param {number} mostChars */
  constructor(limits, mostChars) {
    this.#limits = { ...limits, max_prompt_chars: Math.min(limits.max_prompt_chars ?? Infinity, mostChars) };
  }

  get chars() {
    return this.#used.chars;
  }

  /** @param {ReturnType<typeof sizeOf>} size */
  add({ messages, values, chars, bytes }) {
    const used = this.#used;
    this.#used = {
      messages: used.messages + messages,
      values: used.values + values,
      chars: used.chars + chars,
      bytes: used.bytes + bytes,
    };
  }

  /** Whether `messages` still fit, and then they are in. @param {Message[]} messages */
  takes(messages) {
    const before = this.#used;
    this.add({ ...sizeOf(messages), messages: messages.length });
    const { max_messages, max_json_values, max_prompt_chars, max_body_bytes } = this.#limits;
    const { messages: count, values, chars, bytes } = this.#used;
    const isOver = (/** @type {number} */ used, most = Infinity) => used > most;
    const fits = !(
      isOver(count, max_messages) ||
      isOver(values, max_json_values) ||
      isOver(chars, max_prompt_chars) ||
      isOver(bytes, max_body_bytes)
    );
    if (!fits) this.#used = before;
    return fits;
  }
}
