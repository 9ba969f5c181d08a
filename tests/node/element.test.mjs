// What of a chat is sent, what a browser keeps of it, and under which key.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { History, keyOf, messagesOf, newChat, newTurn, sha256, Store } from "./element.mjs";

/** A chat of these questions and answers; an answer that is null never came. */
function chatOf(...pairs) {
  const turns = pairs.map(([question, text]) => {
    const turn = newTurn(question);
    if (text) Object.assign(turn.reply, { text, ending: "done" });
    return turn;
  });
  return { ...newChat(), turns };
}

const texts = ({ messages }) => messages.map(({ content }) => content);

// -- what is sent

test("a chat that fits is sent whole", () => {
  const sent = messagesOf(chatOf(["one", "1"], ["two", "2"], ["three"]), false, { max_messages: 5 });
  assert.deepEqual(texts(sent), ["one", "1", "two", "2", "three"]);
  assert.equal(sent.from, 0);
});

test("without limits all of it is sent", () => {
  assert.equal(messagesOf(chatOf(...Array(500).fill(["q", "a"]), ["last"]), false).messages.length, 1001);
});

for (const [limit, most] of [
  ["max_messages", 3],
  ["max_prompt_chars", 12],
  ["max_body_bytes", 130],
  ["max_json_values", 12],
]) {
  test(`the oldest turns are left out where ${limit} is over`, () => {
    const sent = messagesOf(chatOf(["one", "1"], ["two", "2"], ["three"]), false, { [limit]: most });
    assert.deepEqual(texts(sent), ["two", "2", "three"]);
    assert.equal(sent.from, 1);
  });
}

test("a turn is left out as a whole, question and answer", () => {
  const sent = messagesOf(chatOf(["one", "1"], ["two", "2"], ["three"]), false, { max_messages: 4 });
  assert.deepEqual(texts(sent), ["two", "2", "three"]);
});

test("nothing older is sent than a turn that does not fit", () => {
  const sent = messagesOf(chatOf(["a", "b"], ["x".repeat(50), "y"], ["c", "d"], ["e"]), false, {
    max_prompt_chars: 20,
  });
  assert.deepEqual(texts(sent), ["c", "d", "e"]);
});

test("the last question and the instructions are always sent", () => {
  const chat = { ...chatOf(["one", "1"], ["x".repeat(50)]), system: "Briefly." };
  const sent = messagesOf(chat, true, { max_prompt_chars: 10, max_messages: 1 });
  assert.deepEqual(texts(sent), ["Briefly.", "x".repeat(50)]);
});

test("the instructions take room from the turns", () => {
  const chat = { ...chatOf(["one", "1"], ["two"]), system: "Briefly." };
  assert.equal(messagesOf(chat, true, { max_messages: 3 }).from, 1);
  assert.equal(messagesOf(chat, true, { max_messages: 4 }).from, 0);
});

test("a model that takes less than the server gets less", () => {
  const chat = { ...chatOf(["one", "1"], ["two", "2"], ["three"]), mostChars: 10 };
  assert.deepEqual(texts(messagesOf(chat, false, { max_prompt_chars: 1000 })), ["two", "2", "three"]);
});

test("what else a request holds takes room in its body", () => {
  const chat = chatOf(["one", "1"], ["two"]);
  const limits = { max_body_bytes: 200 };
  assert.equal(messagesOf(chat, false, limits).from, 0);
  assert.equal(messagesOf(chat, false, limits, { tools: ["x".repeat(150)] }).from, 1);
});

test("characters beyond ASCII weigh their bytes", () => {
  const chat = chatOf(["日本語".repeat(20), "1"], ["two"]);
  assert.equal(messagesOf(chat, false, { max_body_bytes: 250 }).from, 1);
});

test("older questions that were never answered are nothing that is left out", () => {
  assert.equal(messagesOf(chatOf(["one", null], ["two"]), false, { max_messages: 1 }).from, 0);
});

// -- what is kept

const KEY = "quart-chat test";
const titles = (history) => history.list().map(({ title }) => title);

function keep(history, question, text = "yes") {
  const chat = chatOf([question, text]);
  return history.save(Object.assign(chat, { title: question, changedMs: 1 }), true);
}

test("no chat is deleted for another, however many there are", () => {
  const history = new History(new Store(), KEY);
  for (let count = 0; count < 80; count++) assert.ok(keep(history, `q${count}`));
  assert.equal(titles(history).length, 80);
});

test("where there is no room all stays as it was, and it is said", () => {
  const store = new Store();
  const history = new History(store, KEY);
  keep(history, "old");
  const before = store.getItem(KEY);
  store.room = before.length + 10;
  assert.equal(keep(history, "new"), false);
  assert.equal(store.getItem(KEY), before);
});

test("two million characters are all that a page's own things leave", () => {
  const history = new History(new Store(), KEY);
  assert.ok(keep(history, "old"));
  assert.equal(keep(history, "new", "x".repeat(2_000_000)), false);
  assert.deepEqual(titles(history), ["old"]);
});

test("chats can be deleted from a store that holds more than it may", () => {
  const store = new Store();
  const long = { id: "long", changedMs: 2, turns: [{ question: "x".repeat(3_000_000) }] };
  store.setItem(KEY, JSON.stringify([long, { ...long, id: "two" }]));
  const history = new History(store, KEY);
  history.remove("two");
  assert.equal(history.list().length, 1);
});

test("a chat that did not fit is kept once there is room", () => {
  const store = new Store();
  const history = new History(store, KEY);
  keep(history, "old");
  const chat = Object.assign(chatOf(["new", "x".repeat(500)]), { title: "new" });
  store.room = 600;
  assert.equal(history.save(chat, true), false);
  history.remove(history.list()[0].id);
  store.room = 5000;
  assert.ok(history.save(chat));
  assert.deepEqual(titles(history), ["new"]);
});

test("the error of an answer is kept, and one that an earlier version kept is read", () => {
  const history = new History(new Store(), KEY);
  const chat = chatOf(["q", "half"]);
  const fault = { message: "Broken.", code: "upstream_error", status: 502, id: "abc" };
  Object.assign(chat.turns[0].reply, { ending: "failed", fault, model: "fast" });
  history.save(chat, true);
  const { reply } = history.list()[0].turns[0];
  assert.deepEqual([reply.fault, reply.model], [fault, "fast"]);
  history.storage.setItem(KEY, JSON.stringify([{ turns: [{ question: "q", reply: { fault: "Broken." } }] }]));
  assert.deepEqual(history.list()[0].turns[0].reply.fault, { message: "Broken.", code: "", status: 0, id: "" });

  test("an image of more characters than there is room for is kept as none, and stays in the chat", () => {
    const history = new History(new Store(), KEY);
    const chat = chatOf(["draw", ""]);
    const images = ["x".repeat(100_000), "x".repeat(100_001)];
    chat.turns[0].reply.images = images;
    history.save(chat);
    assert.deepEqual(history.list()[0].turns[0].reply.images, [images[0], ""]);
    assert.equal(chat.turns[0].reply.images, images);
  });
});

test("all is deleted at once", () => {
  const store = new Store();
  const history = new History(store, KEY);
  keep(history, "old");
  history.clear();
  assert.equal(store.items.size, 0);
});

// -- whose it is

test("a digest is SHA-256", () => {
  for (const text of ["", "abc", "x".repeat(55), "x".repeat(56), "x".repeat(64), "y".repeat(1000), "日本語 🎉"]) {
    assert.equal(sha256(text), createHash("sha256").update(text).digest("hex"));
  }
});

test("each user of each element has a key of their own, which does not say who they are", () => {
  const users = ["alice", "Alice", "bob", "alice ", "a", "http://x/ a"];
  const keys = ["http://x/ai/", "http://x/ai/ a"].flatMap((address) =>
    ["", "a", "a alice"].flatMap((id) => users.map((user) => keyOf(address, id, user))),
  );
  assert.equal(new Set(keys).size, 2 * 3 * users.length);
  for (const key of keys) assert.match(key, /^quart-chat-user [0-9a-f]{64}$/);
  assert.equal(keyOf("http://x/ai/", "one", ""), "quart-chat http://x/ai/ one"); // as before there were users
});
