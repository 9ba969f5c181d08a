// The element's modules that need no page, as Node can load them: copied to where a package.json says what they are.

import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const SOURCE = fileURLToPath(new URL("../../quartapp/static/element", import.meta.url));

const folder = await mkdtemp(join(tmpdir(), "element-"));
await cp(SOURCE, folder, { recursive: true });
await writeFile(join(folder, "package.json"), '{ "type": "module" }');
const load = (name) => import(pathToFileURL(join(folder, name)).href);

export const { messagesOf } = await load("messages.js");
export const { History, keyOf, newChat, newTurn, storageOf } = await load("history.js");
export const { sha256 } = await load("digest.js");
await rm(folder, { recursive: true });

/** As much of a browser's store as a chat needs, with room for `room` characters. */
export class Store {
  items = new Map();

  constructor(room = Infinity) {
    this.room = room;
  }

  getItem(key) {
    return this.items.get(key) ?? null;
  }

  setItem(key, text) {
    if (text.length > this.room) throw new DOMException("full", "QuotaExceededError");
    this.items.set(key, text);
  }

  removeItem(key) {
    this.items.delete(key);
  }
}
