// Asks, and puts on the page what comes: one chat, and at most one answer of it at a time.
// @ts-check

import { records } from "../chat.js";
import { errorCard, faultOf, signInCard } from "./cards.js";
import { onceAFrame } from "./dom.js";
import { isNamed, newChat, newTurn, titleOf } from "./history.js";
import { messagesOf } from "./messages.js";

/** @import { Answer } from "./answer.js" */
/** @import { Conversation, Scroller, View } from "./conversation.js" */
/** @import { Notices } from "./frame.js" */
/** @import { CardActs, Chat, ChatRecord, Fault, Host, Turn } from "./types" */

/**
 * A question under way, to be the turn `at`. Until its answer has begun it changes nothing of the chat: if nothing comes,
 * all is as it was.
 */
class Asking {
  hasBegun = false;
  #leaving = new AbortController();

  /** @param {Turn} turn @param {View} view @param {number} at */
  constructor(turn, view, at) {
    this.turn = turn;
    this.view = view;
    this.at = at;
  }

  get signal() {
    return this.#leaving.signal;
  }

  leave() {
    this.#leaving.abort();
  }
}

export class Talk {
  chat = newChat();
  #conversation;
  #scroller;
  #notices;
  #host;
  /** @type {Asking | null} */
  #asking = null;
  /** What is asked again by whoever has signed in: `text` in place of `turn`. @type {{turn: Turn, text: string} | null} */
  #refused = null;
  #hasSignedIn = false;
  /** What could not be replaced, and says why. @type {Answer | undefined} */
  #warned;

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
    this.#conversation.show(chat);
    if (chat.turns.length) this.#scroller.toEnd();
    else this.#scroller.toTop();
  }

  /** What came of an answer that is stopped stays. It ends here, for what it waits for may never come. */
  stop() {
    const asking = this.#asking;
    if (!asking) return;
    this.#asking = null;
    asking.leave();
    this.#host.setBusy(false);
    if (asking.hasBegun) {
      asking.view.answer.end("stopped");
      this.#host.keep(this.chat);
    } else this.#takeBack(asking);
    this.#notices.say("Stopped");
  }

  /** Asks `text` in place of `turn` and of what came after it. @param {Turn} turn @param {string} text */
  replace(turn, text) {
    const at = this.chat.turns.indexOf(turn);
    if (at >= 0) this.ask(text, at);
  }

  /** Asks what was refused for want of a sign-in. */
  signedIn() {
    this.#hasSignedIn = true;
    if (this.#refused) this.replace(this.#refused.turn, this.#refused.text);
  }

  /** Forgets who has signed in. */
  signedOut() {
    this.#hasSignedIn = false;
  }

  /** What can help where `turn` failed, asked with `text`. @param {Turn} turn @param {string} text @returns {Partial<CardActs>} */
  help(turn, text) {
    const { chat } = this;
    const { from, chars } = this.#messages(turn, chat.turns.indexOf(turn));
    const fewer = () => {
      chat.mostChars = Math.ceil(chars / 2);
      this.replace(turn, text);
    };
    const hasOlder = chat.turns.slice(from, chat.turns.indexOf(turn)).some(({ reply }) => reply.text || reply.refusal);
    return {
      begin: () => this.#host.begin(text),
      ...(hasOlder ? { fewer } : {}),
      ...(this.#host.hasChoice() ? { model: () => this.#host.chooseModel() } : {}),
    };
  }

  /** @param {string} text @param {number} at which turn it becomes; those after it go once its answer has begun */
  ask(text, at = this.chat.turns.length) {
    this.stop();
    const { chat } = this;
    const turn = newTurn(text);
    this.#warned?.calm();
    this.#warned = undefined;
    const asking = new Asking(turn, this.#conversation.begin(turn, at), at);
    this.#asking = asking;
    this.#refused = null;
    // A question that replaces nothing is kept at once, unless it cannot even be sent.
    if (at === chat.turns.length && navigator.onLine) this.#begin(asking);
    this.#host.emit("chat-ask", { text });
    if (this.#asking === asking) void this.#answer(asking);
  }

  /** The turns that are replaced go now. @param {Asking} asking */
  #begin(asking) {
    if (asking.hasBegun) return;
    asking.hasBegun = true;
    const { chat } = this;
    const { turn, at } = asking;
    const wasNamed = isNamed(chat);
    const { from } = this.#messages(turn, at);
    chat.turns.splice(at, chat.turns.length, turn);
    if (!wasNamed) chat.title = titleOf(chat.turns[0].question);
    chat.changedMs = Date.now();
    chat.sentFrom = from;
    this.#conversation.settle();
    this.#conversation.mark(from ? chat.turns[from] : undefined);
    this.#host.keep(chat, true);
  }

  /** All is as it was before `asking`, of which nothing came; what was written can still be sent. @param {Asking} asking */
  #takeBack({ turn, at }) {
    this.#conversation.putBack(turn);
    const old = this.chat.turns[at];
    if (!old) return this.#host.giveBack(turn.question);
    this.rewrite(at, turn.question);
  }

  /** Lets a question be written anew, where it can be seen, if `text` is another. @param {number} at @param {string} text */
  rewrite(at, text) {
    const turn = this.chat.turns[at];
    const view = this.#conversation.view(turn);
    if (text === turn?.question) view?.question.close();
    else view?.question.open(text);
    if (at === this.chat.turns.length - 1) return this.#scroller.toEnd();
    this.#scroller.leave();
    view?.element.scrollIntoView({ block: "nearest" });
  }

  /** Offers in the cards what can help by now. */
  refresh() {
    for (const turn of this.chat.turns) this.#conversation.view(turn)?.answer.refresh();
  }

  /** @param {Turn} turn @param {number} at */
  #messages(turn, at) {
    const chat = { ...this.chat, turns: [...this.chat.turns.slice(0, at), turn] };
    const { body } = this.#host.options();
    return messagesOf(chat, this.#host.mayInstruct(), this.#host.limits(), body);
  }

  /** @param {Asking} asking */
  async #answer(asking) {
    const { turn, view } = asking;
    this.#host.setBusy(true);
    this.#notices.say("Answering");
    this.#scroller.toEnd();
    view.answer.begin();
    const error = await this.#read(asking);
    if (this.#asking !== asking) return; // it was stopped
    this.#asking = null;
    this.#host.setBusy(false);
    if (error) this.#failed(error, asking);
    else this.#finished(asking);
    if (this.chat.turns.includes(turn)) this.#host.keep(this.chat);
  }

  /** Writes what comes into the answer, and returns why it is not whole. @param {Asking} asking */
  async #read(asking) {
    const { turn, view, at, signal } = asking;
    const draw = onceAFrame(() => {
      if (view.answer.draw()) draw();
    });
    try {
      // It is asked once, and again by the reader's hand alone.
      const options = { ...this.#host.options(), signal, retries: 0 };
      for await (const record of records(this.#messages(turn, at).messages, options)) {
        if (signal.aborted) break;
        if (isAnswer(record)) this.#begin(asking);
        view.answer.take(record);
        draw();
      }
      return null;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error)); // a host's function may throw anything
    } finally {
      draw.cancel();
    }
  }

  /** @param {Asking} asking */
  #finished(asking) {
    const { view, at } = asking;
    const { answer } = view;
    answer.end("done");
    const old = this.chat.turns[at];
    if (!asking.hasBegun && old) {
      this.#takeBack(asking);
      const fault = { message: answer.ending, code: "", status: 0, id: "" };
      this.#warn(old, errorCard(fault, {}));
    } else this.#begin(asking);
    const { text, finishReason } = answer.reply;
    this.#notices.say(answer.ending);
    this.#host.emit("chat-answer", { text, finishReason, usage: answer.usage });
  }

  /** @param {any} error @param {Asking} asking */
  #failed(error, asking) {
    const { turn, at } = asking;
    const old = asking.hasBegun ? turn : this.chat.turns[at];
    const isUnsent = !old && error.code === "network" && !navigator.onLine;
    if (!old && !isUnsent) this.#begin(asking);
    if (!asking.hasBegun) this.#takeBack(asking);
    const failed = old ?? turn;
    const fault = faultOf(error);
    const needsSignIn = fault.status === 401;
    if (needsSignIn) this.#refused = { turn: failed, text: turn.question };
    const isOurs = needsSignIn && this.#host.emit("chat-sign-in", { error }, true);
    if (this.#asking) return; // it was asked again already
    if (!isUnsent) this.#tell(error, fault, asking, failed, isOurs);
    this.#notices.say(`Error: ${fault.message}`);
    this.#host.emit("chat-error", { error });
  }

  /**
   * Shows a card where `failed` is: the turn that was asked, or the one that it could not replace.
   * @param {any} error @param {Fault} fault @param {Asking} asking @param {Turn} failed @param {boolean} isOurs
   */
  #tell(error, fault, asking, failed, isOurs) {
    const view = this.#conversation.view(failed);
    const { question } = asking.turn;
    const isSame = failed.question === question;
    const help = view?.help(question) ?? {};
    if (!isSame) delete help.again; // the question stands open, with a button of its own
    const takesToken = isOurs && fault.code === "unauthorized"; // who else says 401 wants another
    const card = takesToken
      ? signInCard(this.#hasSignedIn, this.#host.signIn)
      : errorCard(fault, help, error.retryAfterSeconds);
    if (asking.hasBegun) {
      failed.reply.fault = fault;
      return view?.answer.end("failed", card);
    }
    this.#warn(failed, card);
    if (!isSame || failed.reply.ending !== "failed") return;
    failed.reply.fault = fault; // the newer reason counts
    this.#host.keep(this.chat);
  }

  /** @param {Turn} turn @param {Element} card */
  #warn(turn, card) {
    this.#warned = this.#conversation.view(turn)?.answer;
    this.#warned?.warn(card);
  }
}

/** Whether a record is part of what was asked for. @param {ChatRecord} record */
function isAnswer({ type }) {
  return ["delta", "reasoning", "refusal", "tool_call", "image"].includes(type);
}
