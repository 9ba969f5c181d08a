// What a chat is made of. Nobody loads this file: it is for those who read the code, and for their tools.

export type { ChatError, ChatRecord, Message, Options, ToolCall, Usage } from "../chat.js";

/** A tool that the model wants called, and its arguments as the JSON text that the model wrote. */
export interface Call {
  name: string;
  arguments: string;
}

/** An answer as far as it came. */
export interface Reply {
  text: string;
  reasoning: string;
  refusal: string;
  calls: Call[];
  /** "stopped" until more is known: so ends an answer whose page was closed. */
  ending: "done" | "stopped" | "failed";
  finishReason: string;
  /** Why it failed, in a sentence. */
  fault: string;
  /** 0 where nobody counted them. */
  tokens: number;
  /** From the question to the end. */
  seconds: number;
  /** From the question to the first word of the text. */
  thoughtSeconds: number;
}

export interface Turn {
  question: string;
  reply: Reply;
}

export interface Chat {
  id: string;
  title: string;
  /** Another with each change that is kept, so that two tabs in one chat do not write over each other. */
  version: string;
  /** When it was last asked something. */
  changedMs: number;
  /** What the model is told before the conversation. */
  system: string;
  turns: Turn[];
}

/** What a talk needs of the element that it is in. */
export interface Host {
  options(): import("../chat.js").Options;
  mayInstruct(): boolean;
  setBusy(isBusy: boolean): void;
  keep(chat: Chat, isAsked?: boolean): void;
  /** Whether nobody prevented what the event stands for. */
  emit(name: string, detail: object, isCancelable?: boolean): boolean;
  signIn(token: string): void;
}
