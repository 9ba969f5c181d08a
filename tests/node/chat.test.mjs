// What static/chat.js makes of what a server may send, and of those who ask. tests/unit/static/test_chat_js.py runs it.

import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { afterEach, mock, test } from "node:test";
import {
  DONE,
  MODULE,
  NDJSON,
  ChatError,
  answer,
  ask,
  body,
  broken,
  busy,
  bytes,
  delta,
  endless,
  fetching,
  lines,
  open,
  read,
  records,
  refusal,
  response,
  settled,
  streaming,
} from "./chat.mjs";

const tell = (stream, options) => read(records("?", { fetch: streaming(stream), ...options }));
const said = (stream, options) => read(ask("?", { fetch: streaming(stream), ...options }));

afterEach(() => {
  mock.timers.reset();
  const timers = process.getActiveResourcesInfo().filter((name) => name === "Timeout");
  assert.deepEqual(timers, [], "a timer is left");
});

// What of an error is the same whatever it is in.
const facts = (error) => {
  assert.ok(error instanceof ChatError && error instanceof Error, `no ChatError but ${error?.stack}`);
  assert.equal(error.name, "ChatError");
  assert.ok(error.message, "no message");
  const { code, status, retryAfterSeconds, id, path, text } = error;
  return JSON.parse(JSON.stringify({ code, status, retryAfterSeconds, id, path, text }));
};

// -- lines

const WHOLE = lines({ type: "start", id: "1", model: "m" }, delta("é😀"), DONE);

const FORMS = {
  "lines that end in CRLF": WHOLE.replaceAll("\n", "\r\n"),
  "blank lines": "\n\n" + WHOLE.replaceAll("\n", "\n \r\n\n"),
  "a byte order mark": "\ufeff" + WHOLE,
  "no end of the last line": WHOLE.trimEnd(),
};

for (const [name, form] of Object.entries(FORMS)) {
  test(`${name} are borne, wherever they are cut`, async () => {
    const data = bytes(form);
    for (let at = 0; at <= data.length; at++) {
      const { yielded, error } = await said(body([data.subarray(0, at), data.subarray(at)]));
      assert.deepEqual({ yielded, error }, { yielded: ["é😀"], error: undefined });
    }
  });
}

test("half a character after the last record is no end", async () => {
  const { error } = await said(body([WHOLE.trimEnd(), Uint8Array.of(0xe2)]));
  assert.deepEqual(facts(error), { code: "truncated", status: 200, text: "é😀" });
});

test("a line is as long as it may be, and no longer, however it comes", async () => {
  const word = "é".repeat(40);
  const line = JSON.stringify(delta(word));
  for (let at = 0; at <= line.length; at++) {
    const pieces = [line.slice(0, at), line.slice(at) + "\n" + lines(DONE)];
    assert.deepEqual((await said(body(pieces), { maxLineChars: line.length })).yielded, [word]);
    const { error } = await said(body(pieces), { maxLineChars: line.length - 1 });
    assert.deepEqual(facts(error), { code: "bad_answer", status: 200, text: "" });
  }
});

test("a line that never ends is read no further than a line may be long", async () => {
  const stream = endless();
  assert.equal((await tell(stream)).error.code, "bad_answer");
  assert.ok(stream.sent <= 2 ** 23 / 2 ** 16 + 4, `${stream.sent} pieces of 64 KiB were read`);
});

test("a long line in many pieces costs about as much as many lines", async () => {
  const seconds = async (text, pieceBytes) => {
    const data = bytes(text);
    const piece = (_, at) => data.subarray(at * pieceBytes, (at + 1) * pieceBytes);
    const pieces = Array.from({ length: data.length / pieceBytes }, piece);
    const begin = process.cpuUsage();
    await said(body(pieces), { maxLineChars: Infinity });
    const { user, system } = process.cpuUsage(begin);
    return (user + system) / 1e6;
  };
  const line = (chars) => lines(delta("x".repeat(chars)));
  const many = await seconds(line(4_000).repeat(4_000), 4_096);
  const long = await seconds(line(16_000_000), 4_096);
  assert.ok(long < 5 * many + 1, `${long} s for a long line, ${many} s for many`);
});

// -- records

test("records of types yet unknown are handed on, and are no text", async () => {
  const unknown = { type: "weather", text: "rain" };
  const all = [unknown, delta("a"), { type: "reasoning", text: "b" }, { type: "refusal", text: "c" }, DONE];
  assert.deepEqual((await tell(body([lines(...all)]))).yielded, all);
  assert.deepEqual((await said(body([lines(...all)]))).yielded, ["a", "c"]);
});

test("nothing is read after the terminal record", async () => {
  const after = "garbage\n" + lines(delta("more"));
  for (const pieces of [[lines(DONE) + after], [lines(DONE), after]]) {
    const stream = body(pieces, open);
    assert.deepEqual(await tell(stream), { yielded: [DONE], returned: DONE });
    assert.equal(stream.cancelled, true);
  }
});

const NO_OBJECTS = ["null", "5", '"x"', "[]", "<html>", "{"];
const NO_RECORDS = ["{}", '{"type":5}', '{"type":"delta"}', '{"type":"delta","text":5}'];

for (const line of [...NO_OBJECTS, ...NO_RECORDS]) {
  test(`a line of ${line} is a bad answer`, async () => {
    const { yielded, error } = await said(body([lines(delta("a")) + line + "\n" + lines(DONE)]));
    assert.deepEqual(yielded, ["a"]);
    assert.deepEqual(facts(error), { code: "bad_answer", status: 200, text: "a" });
  });
}

test("an error record without a code is a bad answer", async () => {
  const { error } = await said(body([lines({ type: "error" })]));
  assert.deepEqual(facts(error), { code: "bad_answer", status: 200, text: "" });
});

// -- what is sent

test("one question is asked as a message, a list as it is, and fields beside it", async () => {
  const conversation = [{ role: "user", content: "a" }];
  const bodies = [];
  for (const [messages, more] of [["a"], [conversation], [conversation, { model: "m", temperature: 0 }]]) {
    const fetch = fetching(answer(DONE));
    await read(ask(messages, { fetch, body: more }));
    const [{ method, body }] = fetch.requests;
    assert.equal(method, "POST");
    bodies.push(JSON.parse(body));
  }
  assert.deepEqual(bodies, [
    { message: "a" },
    { messages: conversation },
    { model: "m", temperature: 0, messages: conversation },
  ]);
});

test("the chat is beside the module unless an address is given", async () => {
  const fetch = fetching(answer(DONE), answer(DONE));
  await read(ask("a", { fetch }));
  await read(ask("a", { fetch, url: "/ai/api/stream" }));
  const urls = fetch.requests.map(({ url }) => `${url}`);
  assert.deepEqual(urls, [new URL("../api/stream", MODULE).href, "/ai/api/stream"]);
});

const TOKEN = { "X-Auth": "a-token" };
const SENT = { accept: "application/x-ndjson", "content-type": "application/json", "x-auth": "a-token" };
const sent = ({ headers }) => Object.fromEntries(new Headers(headers));

for (const [name, headers] of Object.entries({
  "an object": TOKEN,
  "a function": () => TOKEN,
  "an async function": async () => TOKEN,
  "what would be ours": { ...TOKEN, Accept: "text/plain" },
  "what would be ours, in small letters": { ...TOKEN, "content-type": "application/json", accept: "*/*" },
  Headers: new Headers(TOKEN),
  "a function that gives Headers": () => new Headers(TOKEN),
  pairs: Object.entries(TOKEN),
})) {
  test(`headers are ${name}`, async () => {
    const fetch = fetching(answer(DONE));
    await read(ask("a", { fetch, headers }));
    assert.deepEqual(sent(fetch.requests[0]), SENT);
  });
}

test("headers may be nothing, or a function that gives nothing", async () => {
  const { "x-auth": _, ...ours } = SENT;
  for (const headers of [undefined, null, () => undefined, async () => null]) {
    const fetch = fetching(answer(DONE));
    await read(ask("a", { fetch, headers }));
    assert.deepEqual(sent(fetch.requests[0]), ours);
  }
});

test("a fetch of the caller's own may add to the headers", async () => {
  const fetch = fetching(answer(DONE));
  const adding = (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...TOKEN } });
  await read(ask("a", { fetch: adding }));
  assert.deepEqual(sent(fetch.requests[0]), SENT);
});

test("headers are asked for anew for each request", async () => {
  let count = 0;
  const fetch = fetching(busy(429, 0), answer(DONE));
  await read(ask("a", { fetch, headers: () => ({ "X-Count": `${++count}` }) }));
  assert.deepEqual(
    fetch.requests.map((request) => sent(request)["x-count"]),
    ["1", "2"],
  );
});

test("a failure of the caller's own is thrown as it is", async () => {
  const fetch = fetching(answer(DONE));
  for (const mine of [new Error("no token"), "no token", undefined]) {
    await assert.rejects(ask("a", { fetch, headers: () => Promise.reject(mine) }).next(), (error) => error === mine);
  }
  assert.ok((await read(ask("a", { fetch, body: { n: 1n } }))).error instanceof TypeError);
  assert.deepEqual(fetch.requests, []);
});

test("nothing is asked before the answer is wanted", async () => {
  const fetch = fetching();
  await ask("a", { fetch }).return();
  assert.deepEqual(fetch.requests, []);
});

// -- refusals

const HTML = { "Content-Type": "text/html" };
const PAGE = "<!doctype html>\n<title>Sign in</title>\n{}\n";

const ALIENS = {
  "a gateway's page": [502, PAGE, HTML],
  "a page that asks to sign in": [200, PAGE, HTML],
  "plain text": [200, "an answer", { "Content-Type": "text/plain" }],
  "server-sent events": [200, "data: {}\n\n", { "Content-Type": "text/event-stream" }],
  "records as another type": [200, lines(delta("a"), DONE), { "Content-Type": "application/json" }],
  "records with a status of failure": [500, lines(delta("a"), DONE), NDJSON],
  "records of no type": [200, lines(delta("a"), DONE), {}],
  "an empty body": [500, "", {}],
  "an empty page": [200, "", HTML],
  "no body": [204, null, {}],
  "JSON of another kind": [404, '"nothing here"', { "Content-Type": "application/json" }],
  "an error in words": [400, '{"error":"bad"}', { "Content-Type": "application/json" }],
  "an error of null": [400, '{"error":null}', { "Content-Type": "application/json" }],
};

for (const [name, [status, text, headers]] of Object.entries(ALIENS)) {
  test(`${name} (${status}) is no answer`, async () => {
    const stream = text === null ? null : body([text]);
    const fetch = fetching(response(stream, status, { ...headers, "X-Request-ID": "an-id" }));
    const { yielded, error } = await read(ask("?", { fetch }));
    assert.deepEqual(yielded, []);
    assert.deepEqual(facts(error), { code: "bad_answer", status, id: "an-id", text: "" });
  });
}

test("records that never come are cut off", async () => {
  for (const stream of [body([]), null]) {
    assert.deepEqual(facts((await said(stream)).error), { code: "truncated", status: 200, text: "" });
  }
});

test("a refusal is told as the server tells it", async () => {
  const told = { code: "invalid_request", message: "A field is wrong.", id: "9f", path: "messages.0.role" };
  const fetch = fetching(refusal(422, told));
  const { error } = await read(ask("?", { fetch }));
  const { message, ...known } = told;
  assert.deepEqual(facts(error), { ...known, status: 422, text: "" });
  assert.equal(error.message, message);
});

test("a refusal of OpenAI's kind keeps its words", async () => {
  const { error } = await read(ask("?", { fetch: fetching(refusal(401, { message: "No key.", code: null })) }));
  assert.deepEqual([error.message, error.code, error.status], ["No key.", "bad_answer", 401]);
});

test("a page of errors that never ends is let go of", async () => {
  const { error } = await read(ask("?", { fetch: fetching(response(endless(), 500, HTML)) }));
  assert.deepEqual(facts(error), { code: "bad_answer", status: 500, text: "" });
});

// -- the network

test("no connection is an error of the network, and is not tried again", async () => {
  const cause = new TypeError("Failed to fetch");
  const fetch = fetching(cause, answer(DONE));
  const { error } = await read(ask("?", { fetch }));
  assert.deepEqual(facts(error), { code: "network", text: "" });
  assert.equal(error.cause, cause);
  assert.equal(fetch.requests.length, 1);
});

test("a connection that breaks keeps the text so far and is not tried again", async () => {
  const headers = { ...NDJSON, "X-Request-ID": "an-id" };
  const fetch = fetching(response(body([lines(delta("a"), delta("b")), '{"type":"del'], broken), 200, headers));
  const { yielded, error } = await read(ask("?", { fetch }));
  assert.deepEqual(yielded, ["a", "b"]);
  assert.deepEqual(facts(error), { code: "network", status: 200, id: "an-id", text: "ab" });
  assert.equal(fetch.requests.length, 1);
});

const STRANGE_FETCHES = {
  "that throws at once": [() => assert.fail("boom"), undefined],
  "that gives nothing": [async () => undefined, undefined],
  "whose bodies are no streams of the web": [async () => ({ ...(await streaming({ on() {} })()) }), 200],
  "whose bodies are text": [async () => response(new ReadableStream({ pull: (to) => to.enqueue("{}\n") })), 200],
  "that does not take a header": [fetching(answer(DONE)), undefined, { "a b": "c" }],
};

for (const [name, [fetch, status, headers]] of Object.entries(STRANGE_FETCHES)) {
  test(`a fetch ${name} is an error of the network`, async () => {
    const { yielded, error } = await read(ask("?", { fetch, headers }));
    assert.deepEqual(yielded, []);
    assert.deepEqual(facts(error), JSON.parse(JSON.stringify({ code: "network", status, text: "" })));
    assert.ok(error.cause instanceof Error);
  });
}

test("what is thrown into a generator comes out as it is", async () => {
  const mine = new Error("mine");
  const reading = records("?", stalled());
  await reading.next();
  await assert.rejects(reading.throw(mine), (error) => error === mine);
});

// -- asking again

// The error, and how often it was asked, of a server that answers like this; all waits pass at once.
async function again(options, ...answers) {
  mock.timers.enable({ apis: ["setTimeout"] });
  const fetch = fetching(...answers);
  const told = read(ask("?", { fetch, ...options }));
  for (let turn = 0; turn < 50; turn++) {
    await settled();
    mock.timers.tick(20_000);
  }
  return { error: (await told).error, requests: fetch.requests.length };
}

for (const status of [429, 503]) {
  test(`${status} is asked again twice, and no more`, async () => {
    const tired = await again({}, busy(status), busy(status), busy(status), answer(DONE));
    assert.deepEqual([tired.error.status, tired.requests], [status, 3]);
    mock.timers.reset();
    assert.deepEqual(await again({}, busy(status), busy(status), answer(DONE)), { error: undefined, requests: 3 });
  });
}

for (const status of [400, 401, 408, 409, 500, 502, 504]) {
  test(`${status} is not asked again`, async () => {
    const { error, requests } = await again({}, busy(status), answer(DONE));
    assert.deepEqual([error.status, error.retryAfterSeconds, requests], [status, 2, 1]);
  });
}

test("the server's wait is kept to, and ends with it", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const fetch = fetching(busy(429, 2), answer(delta("a"), DONE));
  const told = read(ask("?", { fetch }));
  await settled();
  mock.timers.tick(1_999);
  await settled();
  assert.equal(fetch.requests.length, 1);
  mock.timers.tick(1);
  assert.deepEqual(await told, { yielded: ["a"], returned: DONE });
  assert.equal(fetch.requests.length, 2);
});

const WAITS = {
  "in the header": [busy(429, 3), 3],
  "in the body": [refusal(429, { code: "rate_limited", retry_after_s: 4 }), 4],
  "in both, where the body counts": [refusal(429, { code: "x", retry_after_s: 4 }, { "Retry-After": "900" }), 4],
  "of nothing": [busy(429, 0), 0],
  "with a page of a proxy": [response(body([PAGE]), 503, { ...HTML, "Retry-After": "5" }), 5],
};

for (const [name, [given, seconds]] of Object.entries(WAITS)) {
  test(`a wait ${name} is understood`, async () => {
    const { error } = await read(ask("?", { fetch: fetching(given), retries: 0 }));
    assert.equal(error.retryAfterSeconds, seconds);
  });
}

const NO_WAITS = {
  "that is not given": refusal(503, { code: "overloaded" }),
  "that is a date": busy(503, "Fri, 20 Nov 2026 10:00:00 GMT"),
  "below zero": busy(503, -1),
  "that is no number": refusal(503, { code: "overloaded", retry_after_s: "soon" }),
};

for (const [name, given] of Object.entries(NO_WAITS)) {
  test(`a wait ${name} is none, and nothing is asked again`, async () => {
    const { error, requests } = await again({}, given, answer(DONE));
    assert.deepEqual([error.status, error.retryAfterSeconds, requests], [503, undefined, 1]);
  });
}

test("a wait that is too long is the caller's to take", async () => {
  const { error, requests } = await again({}, busy(429, 11), answer(DONE));
  assert.deepEqual([error.retryAfterSeconds, requests], [11, 1]);
  mock.timers.reset();
  assert.equal((await again({ maxRetryAfterSeconds: 11 }, busy(429, 11), answer(DONE))).requests, 2);
});

test("nobody asks again more than twice", async () => {
  const busies = Array.from({ length: 6 }, () => busy());
  assert.equal((await again({ retries: 5 }, ...busies)).requests, 3);
});

test("asking again can be turned off", async () => {
  assert.equal((await again({ retries: 0 }, busy(), answer(DONE))).requests, 1);
});

test("a second request that fails is told of as itself", async () => {
  const { error, requests } = await again({}, busy(), new TypeError("Failed to fetch"), answer(DONE));
  assert.deepEqual([facts(error), requests], [{ code: "network", text: "" }, 2]);
});

test("an answer that has begun is never asked for again", async () => {
  const failed = { type: "error", code: "overloaded", message: "…", id: "9f", retry_after_s: 1 };
  const { error, requests } = await again({}, answer(delta("a"), failed), answer(DONE));
  assert.deepEqual([error.code, error.retryAfterSeconds, error.text, requests], ["overloaded", 1, "a", 1]);
});

test("a refused response is let go of before the server is asked again", async () => {
  const stream = body(["<html>\n"], open);
  await again({}, response(stream, 503, { "Retry-After": "1" }), answer(DONE));
  assert.equal(stream.cancelled, true);
});

// -- silence

// Asks under a clock of its own. `wind` lets seconds pass.
function timed(options) {
  mock.timers.enable({ apis: ["setTimeout"] });
  const told = read(ask("?", options));
  const wind = async (seconds) => {
    await settled();
    mock.timers.tick(seconds * 1000);
    await settled();
  };
  return { told, wind };
}

test("a server that does not answer is given up", async () => {
  const fetch = fetching(open());
  const { told, wind } = timed({ fetch });
  await wind(44.9);
  assert.equal(fetch.requests[0].signal.aborted, false);
  await wind(0.1);
  assert.deepEqual(facts((await told).error), { code: "idle", text: "" });
  assert.equal(fetch.requests[0].signal.aborted, true);
});

test("a server that falls silent is given up, and every byte before that counts", async () => {
  let source;
  const stream = new ReadableStream({ start: (controller) => void (source = controller) });
  const fetch = fetching(response(stream));
  const { told, wind } = timed({ fetch, idleSeconds: 10 });
  await wind(9);
  for (const piece of [lines(delta("a")), "\n", " "]) {
    source.enqueue(bytes(piece));
    await wind(9);
  }
  assert.equal(fetch.requests[0].signal.aborted, false);
  await wind(1);
  assert.deepEqual(facts((await told).error), { code: "idle", status: 200, text: "a" });
  assert.equal(fetch.requests[0].signal.aborted, true);
});

test("a page of errors that falls silent is given up", async () => {
  const { told, wind } = timed({ fetch: fetching(response(body(["<ht"], open), 502, HTML)) });
  await wind(45);
  assert.deepEqual(facts((await told).error), { code: "idle", status: 502, text: "" });
});

test("the time that the caller takes is no silence of the server", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const reading = ask("?", { fetch: fetching(response(body([lines(delta("a")), lines(DONE)]))) });
  assert.equal((await reading.next()).value, "a");
  mock.timers.tick(3_600_000);
  assert.deepEqual(await reading.next(), { value: DONE, done: true });
});

test("whoever has the time may wait for ever", async () => {
  const fetch = fetching(open());
  const controller = new AbortController();
  const { told, wind } = timed({ fetch, idleSeconds: Infinity, signal: controller.signal });
  await wind(86_400);
  assert.equal(fetch.requests[0].signal.aborted, false);
  controller.abort();
  assert.equal((await told).error.name, "AbortError");
});

// -- leaving

// A stream of two deltas that then stays open, the fetch that gives it, and what the caller holds.
function stalled() {
  const stream = body([lines(delta("a"), delta("b"))], open);
  const fetch = fetching(response(stream));
  const controller = new AbortController();
  return { stream, fetch, controller, signal: controller.signal };
}

function assertLeft({ stream, fetch, signal }) {
  assert.equal(fetch.requests[0].signal.aborted, true);
  assert.equal(stream.cancelled, true);
  assert.deepEqual(getEventListeners(signal, "abort"), []);
}

for (const each of [ask, records]) {
  const name = each.name;

  test(`breaking out of ${name} ends the request`, async () => {
    const held = stalled();
    for await (const _ of each("?", held)) break;
    assertLeft(held);
  });

  test(`throwing out of ${name} ends the request`, async () => {
    const held = stalled();
    const mine = new Error("mine");
    const thrown = async () => {
      for await (const _ of each("?", held)) throw mine;
    };
    await assert.rejects(thrown, mine);
    assertLeft(held);
  });

  test(`returning out of ${name} ends the request`, async () => {
    const held = stalled();
    const first = async () => {
      for await (const word of each("?", held)) return word;
    };
    assert.ok(await first());
    assertLeft(held);
  });

  test(`the generator of ${name} can be returned and thrown into`, async () => {
    for (const end of ["return", "throw"]) {
      const held = stalled();
      const reading = each("?", held);
      await reading.next();
      await reading[end](new Error("mine")).catch(() => {});
      assertLeft(held);
    }
  });
}

test("the signal ends an answer at once, with its own reason", async () => {
  const held = stalled();
  const reading = read(ask("?", held));
  await settled();
  const reason = new Error("mine");
  held.controller.abort(reason);
  assert.deepEqual(await reading, { yielded: ["a", "b"], error: reason });
  assertLeft(held);
});

test("the signal ends the request while the caller is busy, and nothing more is handed over", async () => {
  const held = stalled();
  const reading = ask("?", held);
  assert.equal((await reading.next()).value, "a");
  held.controller.abort();
  assert.equal(held.fetch.requests[0].signal.aborted, true);
  await assert.rejects(reading.next(), { name: "AbortError" });
  assertLeft(held);
});

test("the signal ends the asking before the first byte", async () => {
  const fetch = fetching(open());
  const controller = new AbortController();
  const reading = read(ask("?", { fetch, signal: controller.signal }));
  await settled();
  controller.abort();
  assert.equal((await reading).error, controller.signal.reason);
  assert.equal(fetch.requests[0].signal.aborted, true);
  assert.deepEqual(getEventListeners(controller.signal, "abort"), []);
});

test("a signal that was given before lets nothing be asked", async () => {
  const fetch = fetching(answer(DONE));
  const signal = AbortSignal.abort();
  assert.equal((await read(ask("?", { fetch, signal }))).error, signal.reason);
  assert.deepEqual(fetch.requests, []);
  assert.deepEqual(getEventListeners(signal, "abort"), []);
});

test("the signal ends the asking while headers are waited for", async () => {
  const fetch = fetching(answer(DONE));
  const controller = new AbortController();
  const headers = async () => controller.abort();
  assert.equal((await read(ask("?", { fetch, headers, signal: controller.signal }))).error.name, "AbortError");
  assert.deepEqual(fetch.requests, []);
});

test("the signal ends the wait for a busy server", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const fetch = fetching(busy(), answer(DONE));
  const controller = new AbortController();
  const reading = read(ask("?", { fetch, signal: controller.signal }));
  await settled();
  controller.abort();
  assert.equal((await reading).error, controller.signal.reason);
  mock.timers.tick(20_000);
  await settled();
  assert.equal(fetch.requests.length, 1);
});

test("a signal without a reason, as browsers of 2021 have it, is an AbortError too", async () => {
  const signal = Object.assign(new EventTarget(), { aborted: false });
  const { fetch } = stalled();
  const reading = read(ask("?", { fetch, signal }));
  await settled();
  signal.aborted = true;
  signal.dispatchEvent(new Event("abort"));
  const { error } = await reading;
  assert.deepEqual([error.name, error instanceof DOMException], ["AbortError", true]);
});

test("a fetch that knows no signals holds nobody up", async () => {
  const stream = body([lines(delta("a"))], open);
  for (const deaf of [async () => response(stream), open]) {
    const controller = new AbortController();
    const reading = read(ask("?", { fetch: deaf, signal: controller.signal }));
    await settled();
    controller.abort();
    assert.equal((await reading).error.name, "AbortError");
  }
  assert.equal(stream.cancelled, true);
});

test("a fetch that knows no signals holds nobody up who was busy when the signal came", async () => {
  const stream = body([lines(delta("a"))], open);
  const controller = new AbortController();
  const reading = ask("?", { fetch: streaming(stream), signal: controller.signal });
  assert.equal((await reading.next()).value, "a");
  controller.abort();
  await assert.rejects(reading.next(), { name: "AbortError" });
  assert.equal(stream.cancelled, true);
});

test("a response that comes after the signal, from a fetch that knows none, is let go of", async () => {
  for (const stream of [body([lines(delta("a"))], open), null]) {
    let answered;
    const controller = new AbortController();
    const fetch = () => new Promise((resolve) => void (answered = resolve));
    const reading = read(ask("?", { fetch, signal: controller.signal }));
    await settled();
    controller.abort();
    assert.equal((await reading).error.name, "AbortError");
    answered(response(stream));
    await settled();
    assert.ok(stream === null || stream.cancelled);
  }
});

test("a response that comes after its time, from a fetch that knows no signals, is let go of", async () => {
  let answered;
  const stream = body([lines(delta("a"))], open);
  const { told, wind } = timed({ fetch: () => new Promise((resolve) => void (answered = resolve)) });
  await wind(45);
  assert.equal((await told).error.code, "idle");
  answered(response(stream));
  await settled();
  assert.equal(stream.cancelled, true);
});

test("a whole answer leaves no listener on the signal", async () => {
  const { signal } = new AbortController();
  assert.equal((await read(ask("?", { fetch: fetching(answer(delta("a"), DONE)), signal }))).returned.type, "done");
  assert.deepEqual(getEventListeners(signal, "abort"), []);
});
