// The module of quartapp/static, and what its tests put in the place of a server.

import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export const SOURCE = new URL("../../quartapp/static/chat.js", import.meta.url);

// Node takes a file of this name for a module, whatever stands beside it.
const folder = await mkdtemp(join(tmpdir(), "chat-"));
export const MODULE = pathToFileURL(join(folder, "chat.mjs")).href;
await copyFile(fileURLToPath(SOURCE), fileURLToPath(MODULE));
export const { ChatError, ask, records } = await import(MODULE);
await rm(folder, { recursive: true });

export const NDJSON = { "Content-Type": "application/x-ndjson; charset=utf-8" };
export const DONE = { type: "done", finish_reason: "stop" };

const encoder = new TextEncoder();
export const bytes = (text) => encoder.encode(text);
export const delta = (text) => ({ type: "delta", text });
export const lines = (...said) => said.map((record) => JSON.stringify(record) + "\n").join("");

// -- bodies and responses

// A body of `pieces`, which are text or bytes; then `end` closes it, breaks it or leaves it open.
// `body.cancelled` says whether its reader has let go of it.
export function body(pieces, end = (controller) => controller.close()) {
  let at = 0;
  const piece = () => (typeof pieces[at] === "string" ? bytes(pieces[at++]) : pieces[at++]);
  const pull = (controller) => (at < pieces.length ? controller.enqueue(piece()) : end(controller));
  const cancel = () => void (stream.cancelled = true);
  const stream = new ReadableStream({ pull, cancel }, { highWaterMark: 0 });
  return stream;
}

// Blanks for ever, 64 KiB at a time, with `stream.sent` of them so far.
export function endless() {
  const stream = new ReadableStream({
    pull: (controller) => {
      stream.sent = (stream.sent ?? 0) + 1;
      controller.enqueue(new Uint8Array(2 ** 16).fill(0x20));
    },
  });
  return stream;
}

export const open = () => new Promise(() => {});
export const broken = (controller) => controller.error(new TypeError("terminated"));

export const response = (stream, status = 200, headers = NDJSON) => new Response(stream, { status, headers });
export const answer = (...said) => response(body([lines(...said)]));

// What our doors say of a refusal.
export const refusal = (status, error, headers = {}) =>
  response(body([JSON.stringify({ error })]), status, { "Content-Type": "application/json", ...headers });

export const busy = (status = 429, seconds = 2) =>
  refusal(status, { code: "upstream_busy" }, { "Retry-After": `${seconds}` });

// -- fetch

// Gives one answer of records. It costs half of what a `Response` does, for tests that ask thousands of times.
export function streaming(stream) {
  const answer = { ok: true, status: 200, headers: RECORDS, body: stream };
  return async () => answer;
}
const RECORDS = new Headers(NDJSON);

// Gives the `answers` one after the other, as `fetch` would: a response, a promise of one, or an error to throw.
// `fetch.requests` are those that were sent.
export function fetching(...answers) {
  const requests = [];
  const fetch = async (url, init) => {
    init.signal.throwIfAborted();
    requests.push({ url, ...init });
    const aborted = new Promise((_, reject) => {
      init.signal.addEventListener("abort", () => reject(init.signal.reason));
    });
    const given = await Promise.race([answers[requests.length - 1], aborted]);
    if (given instanceof Response) return given;
    throw given;
  };
  return Object.assign(fetch, { requests });
}

// -- asking

// All that a generator yields, what it returns, and what it throws.
export async function read(generator) {
  const told = { yielded: [] };
  try {
    let next;
    while (!(next = await generator.next()).done) told.yielded.push(next.value);
    told.returned = next.value;
  } catch (error) {
    told.error = error;
  }
  return told;
}

// Lets everything happen that waits for nothing.
export const settled = () => new Promise((resolve) => setImmediate(resolve));
