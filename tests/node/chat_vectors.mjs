// What static/chat.js reads in the shared vectors, cut anywhere: for each a line of JSON with where it went wrong.
// The argument is the number of bytes from one cut to the next.

import { readFile } from "node:fs/promises";
import { ask, body, bytes, read, records, streaming } from "./chat.mjs";

const STEP = Number(process.argv[2]);
const LONG_BYTES = 2 ** 20;

const expanded = (value) => (Array.isArray(value?.repeat) ? value.repeat[0].repeat(value.repeat[1]) : value);
const wellFormed = (value) => (typeof value === "string" ? value.toWellFormed() : value);
const record = (event) =>
  Object.fromEntries(Object.entries(event).map(([name, value]) => [name, wellFormed(expanded(value))]));

const isText = ({ type }) => type === "delta" || type === "refusal";
const textOf = (told) =>
  told
    .filter(isText)
    .map(({ text }) => text)
    .join("");

// What came of it, in a form that can be compared.
async function told(generator) {
  const { yielded, returned, error } = await read(generator);
  if (!error) return JSON.stringify({ yielded, returned });
  const { name, message, code, status, id, retryAfterSeconds, text } = error;
  return JSON.stringify({ yielded, error: { name, message, code, status, id, retryAfterSeconds, text } });
}

const reading = (pieces, each = records) => told(each("?", { fetch: streaming(body(pieces)), maxLineChars: 2 ** 24 }));

// What is to come of a whole body of these records.
function whole(all) {
  const last = all.at(-1);
  if (last.type === "done") return JSON.stringify({ yielded: all, returned: last });
  const { message, code, id, retry_after_s: retryAfterSeconds } = last;
  const yielded = all.slice(0, -1);
  const error = { name: "ChatError", message, code, status: 200, id, retryAfterSeconds, text: textOf(yielded) };
  return JSON.stringify({ yielded, error });
}

// Where the body was cut in two when something else came of it than of the whole.
async function wrongCuts(data, right) {
  const wrong = [];
  for (let at = 0; at <= data.length; at += STEP) {
    if ((await reading([data.subarray(0, at), data.subarray(at)])) !== right) wrong.push(at);
  }
  return wrong;
}

// How long the parts are that pass for more than a beginning; only the last byte, a line feed, may be missing.
async function wrongParts(data, all) {
  const wrong = [];
  for (let length = 0; length < data.length - 1; length += STEP) {
    const { yielded, returned, error } = JSON.parse(await reading([data.subarray(0, length)]));
    const isBeginning = JSON.stringify(yielded) === JSON.stringify(all.slice(0, yielded.length));
    const isCut = error?.code === "truncated" && error.text === textOf(yielded) && !returned;
    if (!isBeginning || !isCut) wrong.push(length);
  }
  return wrong;
}

async function check({ name, batches, bytes: said }) {
  const all = batches.flat().map(record);
  const data = bytes(said.map(expanded).join(""));
  const right = whole(all);
  const isLong = data.length >= LONG_BYTES;
  const pieces = isLong ? [data] : [...data].map((byte) => Uint8Array.of(byte));
  return {
    name,
    bytes: data.length,
    right: (await reading(pieces)) === right,
    text: JSON.parse(await reading([data], ask)).yielded.join("") === textOf(all),
    cuts: isLong ? [] : await wrongCuts(data, right),
    parts: isLong ? [] : await wrongParts(data, all),
  };
}

const { cases } = JSON.parse(await readFile(new URL("../vectors/ndjson.json", import.meta.url), "utf8"));
for (const each of cases) console.log(JSON.stringify(await check(each)));
