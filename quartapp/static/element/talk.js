// Asks, and puts on the page what comes: one chat, and at most one answer of it at a time.
// @ts-check

import { records } from "../chat.js";
import { onceAFrame } from "./dom.js";
import { errorCard, messageOf, signInCard } from "./frame.js";
import { isNamed, messagesOf, newChat, newTurn, titleOf } from "./history.js";

/** @import { Answer } from "./answer.js" */
/** @import { Conversation, Scroller } from "./conversation.js" */
/** @import { Notices } from "./frame.js" */
/** @import { Chat, Host, Message, Turn } from "./types" */

export class Talk {
  chat = newChat();
  #conversation;
  #scroller;
  #notices;
  #host;
  /** @type {{answer: Answer, leave: () => void} | null} */
  #asking = null;
  /** What is asked again by whoever has signed in. @type {Turn | null} */
  #refused = null;
  #hasSignedIn = false;

  /**
   * @param {Conversation} conversation @param {Scroller} scroller @param {Notices} notices @param {Host} host
   */
  constructor(conversation, scroller, notices, host) {
    this.#conversation = conversation;
    this.#scroller = scroller;
    this.#notices = notices;
    this.#host = host;
  }

  get isBusy() {
    return this.#asking !== null;
  }

  /** Puts `chat` on the page. @param {Chat} chat */
  open(chat) {
    this.stop();
    this.chat = chat;
    this.#refused = null;
    this.#conversation.show(chat.turns);
    if (chat.turns.length) this.#scroller.toEnd();
    else this.#scroller.toTop();
  }

  /** What came of an answer that is stopped stays. It ends here, for what it waits for may never come. */
  stop() {
    if (!this.#asking) return;
    const { answer, leave } = this.#asking;
    this.#asking = null;
    leave();
    this.#host.setBusy(false);
    answer.end("stopped", null);
    this.#host.keep(this.chat);
    this.#notices.say("Stopped");
  }

  /** Asks `text` in place of `turn`, and forgets what came after it. @param {Turn} turn @param {string} text */
  replace(turn, text) {
    const at = this.chat.turns.indexOf(turn);
    if (at >= 0) this.ask(text, at);
  }

  /** Asks what was refused for want of a sign-in. */
  signedIn() {
    this.#hasSignedIn = true;
    if (this.#refused) this.replace(this.#refused, this.#refused.question);
  }

  /** @param {string} text @param {number} at which turn it becomes; those after it go */
  ask(text, at = this.chat.turns.length) {
    this.stop();
    const { chat } = this;
    const turn = newTurn(text);
    const wasNamed = isNamed(chat);
    chat.turns.splice(at, chat.turns.length, turn);
    if (!wasNamed) chat.title = titleOf(chat.turns[0].question);
    chat.changedMs = Date.now();
    this.#conversation.cutTo(at);
    const answer = this.#conversation.add(turn);
    this.#refused = null;
    this.#host.keep(chat, true);
    this.#host.emit("chat-ask", { text });
    void this.#answer(chat, turn, answer);
  }

  /** @param {Chat} chat @param {Turn} turn @param {Answer} answer */
  async #answer(chat, turn, answer) {
    const leaving = new AbortController();
    const asking = (this.#asking = { answer, leave: () => leaving.abort() });
    this.#host.setBusy(true);
    this.#notices.say("Answering");
    this.#scroller.toEnd();
    answer.begin();
    const error = await this.#read(messagesOf(chat, this.#host.mayInstruct()), answer, leaving.signal);
    if (this.#asking !== asking) return; // it was stopped
    this.#asking = null;
    this.#host.setBusy(false);
    if (error) this.#failed(error, turn, answer);
    else this.#finished(answer);
    if (chat.turns.includes(turn)) this.#host.keep(chat);
  }

  /**
   * Writes what comes into `answer`, and returns why it is not whole.
   * @param {Message[]} messages @param {Answer} answer @param {AbortSignal} signal
   */
  async #read(messages, answer, signal) {
    const draw = onceAFrame(() => {
      if (answer.draw()) draw();
    });
    try {
      // It is asked once, and again by the reader's hand alone.
      const options = { ...this.#host.options(), signal, retries: 0 };
      for await (const record of records(messages, options)) {
        answer.take(record);
        draw();
      }
      return null;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error)); // a host's function may throw anything
    } finally {
      draw.cancel();
    }
  }

  /** @param {Answer} answer */
  #finished(answer) {
    answer.end("done", null);
    const { text, finishReason } = answer.reply;
    this.#notices.say(answer.ending);
    this.#host.emit("chat-answer", { text, finishReason, usage: answer.usage });
  }

  /** @param {any} error @param {Turn} turn @param {Answer} answer */
  #failed(error, turn, answer) {
    const again = () => this.replace(turn, turn.question);
    const needsSignIn = error.status === 401;
    if (needsSignIn) this.#refused = turn;
    const isOurs = needsSignIn && this.#host.emit("chat-sign-in", { error }, true);
    if (!this.chat.turns.includes(turn)) return; // it was asked again already
    let card = null;
    try {
      answer.reply.fault = messageOf(error);
      const takesToken = isOurs && error.code === "unauthorized"; // who else says 401 wants another
      card = takesToken ? signInCard(this.#hasSignedIn, this.#host.signIn) : errorCard(error, again);
    } finally {
      answer.end("failed", card);
    }
    this.#notices.say(`Error: ${messageOf(error)}`);
    this.#host.emit("chat-error", { error });
  }
}
