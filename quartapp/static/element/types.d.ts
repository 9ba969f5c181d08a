// What a chat is made of. Nobody loads this file: it is for those who read the code, and for their tools.

export type { Annotation, ChatError, ChatRecord, Message, Options, ToolCall, Usage } from "../chat.js";

/** A tool that the model wants called, and its arguments as the JSON text that the model wrote. */
export interface Call {
  name: string;
  arguments: string;
}

/** What an answer cites; `url` is empty for a file, `title` where there is none. */
export interface Source {
  url: string;
  title: string;
}

/** Why an answer failed, in a sentence and in the server's words; what is not known is empty or 0. */
export interface Fault {
  message: string;
  code: string;
  status: number;
  id: string;
}

/** What a card's buttons do; a card has those that can help. */
export interface CardActs {
  again: () => void;
  fewer: () => void;
  edit: () => void;
  model: () => void;
  begin: () => void;
}

/** An answer as far as it came. */
export interface Reply {
  text: string;
  reasoning: string;
  refusal: string;
  calls: Call[];
  /** Addresses, most of which hold the image itself; empty where one was too large to be kept. */
  images: string[];
  sources: Source[];
  /** "stopped" until more is known: so ends an answer whose page was closed. */
  ending: "done" | "stopped" | "failed";
  finishReason: string;
  /** Which model answered; empty until the server said so. */
  model: string;
  /** Why it failed; null if it did not. */
  fault: Fault | null;
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
  /** The first turn that was sent with the last question; those before it were left out. */
  sentFrom: number;
  /** How many characters a model takes of it; 0: as many as the server. */
  mostChars: number;
  turns: Turn[];
}

/** The limits of a request, as the server sends them; what is left out has none. */
export interface Limits {
  max_body_bytes?: number;
  max_json_values?: number;
  max_messages?: number;
  max_prompt_chars?: number;
}

/** What a talk needs of the element that it is in. */
export interface Host {
  options(): import("../chat.js").Options;
  mayInstruct(): boolean;
  limits(): Limits | undefined;
  hasChoice(): boolean;
  chooseModel(): void;
  /** Begins another chat, with `text` to be sent in it. */
  begin(text: string): void;
  /** Puts `text`, which could not be asked, back into the box. */
  giveBack(text: string): void;
  setBusy(isBusy: boolean): void;
  keep(chat: Chat, isAsked?: boolean): void;
  /** Whether nobody prevented what the event stands for. */
  emit(name: string, detail: object, isCancelable?: boolean): boolean;
  signIn(token: string): void;
}
