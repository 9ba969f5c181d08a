"""A request's body: what is accepted unchanged, and what is refused with which code and path, for any input."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quartapp.core.errors import ChatError
from quartapp.core.request import ChatRequest
from quartapp.protocols.common.documents import parse_json
from quartapp.protocols.native.request import parse, parse_query
from quartapp.settings.settings import Settings
from tests.support.examples import examples

SETTINGS = Settings()
CANARY = "canary7f3a"
BODY_BYTES = SETTINGS.max_body_bytes


def taken(document: Any, **given: Any) -> ChatRequest:
    return parse(json.dumps(document).encode(), Settings.load(given))


def refused(body: Any, **given: Any) -> tuple[str, str | None]:
    """Return the code and the path with which a body or a document is refused."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(ChatError) as raised:
        parse(data, Settings.load(given))
    error = raised.value
    description = (
        f"{error} {error!r} {error.path} {error.message} {error.headers} {error.__cause__} {error.retry_after_s}"
    )
    assert CANARY not in description
    return error.code, error.path


def user(content: Any = "hi", **fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **fields}


def messages(*given: Any) -> dict[str, Any]:
    return {"messages": list(given)}


def hi(**fields: Any) -> dict[str, Any]:
    return {"message": "hi", **fields}


TOOL = {"type": "function", "function": {"name": "f"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}

# -- what is taken


def test_a_message_is_one_turn_of_the_user() -> None:
    assert taken({"message": "hi"}) == ChatRequest([user()], shows_tools=True)


def test_a_conversation_is_accepted_unchanged() -> None:
    turns = [
        user("é€😀\u0000\u2028"),
        {"role": "assistant", "content": "hm", "tool_calls": [CALL]},
        {"role": "tool", "content": "", "tool_call_id": "c1"},
        {"role": "assistant", "content": None, "tool_calls": [CALL, CALL]},
        {"role": "tool", "content": "2", "tool_call_id": "c1"},
    ]
    assert taken(messages(*turns)).messages == turns


def test_a_message_without_a_role_is_the_users() -> None:
    assert taken(messages({"content": "hi"})).messages == [user()]


def test_the_type_of_a_tool_call_is_function() -> None:
    call = {"id": "c1", "function": {"name": "f", "arguments": "{}"}}
    result = {"role": "tool", "content": "1", "tool_call_id": "c1"}
    [turn, _] = taken(messages({"role": "assistant", "tool_calls": [call]}, result)).messages
    assert turn["tool_calls"] == [{**call, "type": "function"}]


def test_parameters_are_openais_by_openais_names() -> None:
    params = {
        "temperature": 0.5,
        "top_p": 1,
        "max_tokens": 7,
        "stop": ["a", "b"],
        "seed": -(2**63),
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"x": [None, 1.5, "é"]}}}],
        "tool_choice": {"type": "function"},
        "response_format": {"type": "json_object"},
    }
    request = taken(hi(model="m", stream=True, **params))
    assert (request.model, request.params) == ("m", params)


def test_an_answer_is_one_object_if_stream_is_false() -> None:
    assert taken(hi(stream=False)) == ChatRequest([user()], whole=True, shows_tools=True)
    assert taken(hi(stream=True)) == ChatRequest([user()], shows_tools=True)


def test_text_may_come_in_parts() -> None:
    parts = [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]
    turns = [user(parts, name="ann"), {"role": "assistant", "content": None, "refusal": "no"}, user("why")]
    assert taken(messages(*turns)).messages == turns


def test_null_means_not_given() -> None:
    names = ("model", "temperature", "top_p", "max_tokens", "stop", "seed", "tools", "tool_choice", "stream")
    assert taken(hi(messages=None, **dict.fromkeys(names))) == ChatRequest([user()], shows_tools=True)
    assert taken({"message": None, **messages(user())}) == ChatRequest([user()], shows_tools=True)


@pytest.mark.parametrize("role", ["system", "developer"])
def test_system_roles_are_accepted_if_a_setting_allows_them(role: str) -> None:
    turns = [{"role": role, "content": "Be brief."}, user()]
    assert taken(messages(*turns), CHAT_ALLOW_SYSTEM_ROLE=True).messages == turns
    assert refused(messages(*turns)) == ("invalid_request", "messages.0.role")


@pytest.mark.parametrize(
    "text", ["{{7*7}}", "<|im_start|>system", "%s", "{0.__class__}", "</script>", "\x1b[31m", "\u202e", " ", "\n"]
)
def test_text_of_any_kind_is_unchanged(text: str) -> None:
    assert taken({"message": text}).messages == [user(text)]


def test_a_name_that_comes_twice_counts_once() -> None:
    request = parse(b'{"message": "a", "message": "b", "seed": 1, "seed": 2}', SETTINGS)
    assert request == ChatRequest([user("b")], params={"seed": 2}, shows_tools=True)


# -- what is no JSON

NO_JSON = {
    "nothing": b"",
    "white space": b" \n",
    "half an object": b'{"message": "hi"',
    "two objects": b'{"message": "hi"} {}',
    "a comma too many": b'{"message": "hi",}',
    "a comment": b'{"message": "hi"} // x',
    "single quotes": b"{'message': 'hi'}",
    "a name without quotes": b'{message: "hi"}',
    "NaN": b'{"message": "hi", "temperature": NaN}',
    "Infinity": b'{"message": "hi", "temperature": Infinity}',
    "-Infinity": b'{"message": "hi", "temperature": -Infinity}',
    "a number that is infinite": b'{"message": "hi", "temperature": 1e999}',
    "one that is so deep inside": b'{"message": "hi", "tools": [{"a": [{"b": -1E400}]}]}',
    "a number of 5000 digits": b'{"message": "hi", "max_tokens": %b}' % (b"9" * 5000),
    "a number with a zero first": b'{"message": "hi", "seed": 01}',
    "a number with a plus": b'{"message": "hi", "seed": +1}',
    "a hexadecimal number": b'{"message": "hi", "seed": 0x1}',
    "invalid UTF-8": b'{"message": "\xff"}',
    "invalid UTF-8 in a name": b'{"message": "hi", "\xff": 1}',
    "overlong UTF-8": b'{"message": "\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"message": "\xed\xa0\x80"}',
    "beyond Unicode": b'{"message": "\xf4\x90\x80\x80"}',
    "UTF-8 that was cut": '{"message": "é'.encode()[:-1],
    "a byte order mark": b'\xef\xbb\xbf{"message": "hi"}',
    "UTF-16": '{"message": "hi"}'.encode("utf-16"),
    "UTF-16 without a mark": '{"message": "hi"}'.encode("utf-16-le"),
    "UTF-32": '{"message": "hi"}'.encode("utf-32"),
    "Latin-1": '{"message": "é"}'.encode("latin-1"),
    "a lone surrogate": rb'{"message": "\ud800"}',
    "surrogates the wrong way round": rb'{"message": "\udfff\ud800"}',
    "a lone surrogate in a name": rb'{"message": "hi", "\ud800": 1}',
    "a lone surrogate deep inside": rb'{"message": "hi", "tools": [{"a": ["\udc00"]}]}',
    "a line feed in text": b'{"message": "a\nb"}',
    "NUL in text": b'{"message": "a\x00b"}',
    "NUL at the end": b'{"message": "hi"}\x00',
    "an unknown escape": rb'{"message": "\x41"}',
    "half an escape": rb'{"message": "\u00"}',
    "a form": b"message=hi",
    "HTML": b"<img src=x onerror=alert(1)>",
}


@pytest.mark.parametrize("kind", NO_JSON)
def test_invalid_json_is_a_bad_request(kind: str) -> None:
    assert refused(NO_JSON[kind]) == ("bad_request", None)


def test_escaped_surrogates_that_belong_together_are_a_character() -> None:
    assert parse(rb'{"message": "\ud83d\ude00"}', SETTINGS).messages == [user("😀")]


# -- what is too deep


def nested(depth: int, inner: bytes = b"0") -> bytes:
    """Return a document of `depth` levels, objects and lists in turn."""
    opened = b'{"a":[' * (depth // 2) + b'{"a":' * (depth % 2)
    return opened + inner + b"}" * (depth % 2) + b"]}" * (depth // 2)


@pytest.mark.parametrize("limit", [4, 5, 32, 100])
def test_json_may_be_as_deep_as_the_limit_and_no_deeper(limit: int) -> None:
    assert parse_json(nested(limit), limit, 1000) == json.loads(nested(limit))
    with pytest.raises(ChatError, match="too_deep"):
        parse_json(nested(limit + 1), limit, 1000)


DEEP = {
    "brackets that are not closed": b"[" * BODY_BYTES,
    "brackets that are": b"[" * (BODY_BYTES // 2) + b"]" * (BODY_BYTES // 2),
    "objects that are not closed": b'{"a":' * (BODY_BYTES // 5),
    "objects that are": b'{"a":' * 40_000 + b"0" + b"}" * 40_000,
    "one level beyond the parser's own limit": nested(201),
    "a tool": json.dumps(hi()).encode()[:-1] + b', "tools": [' + nested(40) + b"]}",
    "an empty list at the bottom": nested(32, b"[]"),
}


@pytest.mark.parametrize("kind", DEEP)
def test_json_that_is_too_deep_is_refused_as_such(kind: str) -> None:
    assert refused(DEEP[kind]) == ("too_deep", None)


# -- the wrong shape

WRONG: list[tuple[Any, str]] = [
    (None, ""),
    ([], ""),
    ([user()], ""),
    ("hi", ""),
    (1, ""),
    (True, ""),
    ({}, "messages"),
    ({"model": "m"}, "messages"),
    ({"message": None}, "messages"),
    ({"message": ""}, "message"),
    ({"message": 1}, "message"),
    ({"message": ["hi"]}, "message"),
    ({"message": {"content": CANARY}}, "message"),
    ({"message": "hi", **messages(user())}, "message"),
    ({"message": "", **messages(user())}, "message"),
    ({"messages": []}, "messages"),
    ({"messages": {}}, "messages"),
    ({"messages": CANARY}, "messages"),
    ({"messages": None}, "messages"),
    (messages(None), "messages.0"),
    (messages(CANARY), "messages.0"),
    (messages([]), "messages.0"),
    (messages(user(), 1), "messages.1"),
    (messages({}), "messages.0.content"),
    (messages({"role": "user"}), "messages.0.content"),
    (messages(user("")), "messages.0.content"),
    (messages(user(None)), "messages.0.content"),
    (messages(user(1)), "messages.0.content"),
    (messages(user([])), "messages.0.content"),
    (messages(user([{"type": "text"}])), "messages.0.content.0.text"),
    (messages(user([{"type": "text", "text": ""}])), "messages.0.content"),
    (messages(user([CANARY])), "messages.0.content.0"),
    (messages(user([{"type": "text", "text": "a"}] * 1001)), "messages.0.content"),
    (messages(user(), user("")), "messages.1.content"),
    (messages({"role": CANARY, "content": "hi"}), "messages.0.role"),
    (messages({"role": "User", "content": "hi"}), "messages.0.role"),
    (messages({"role": "user ", "content": "hi"}), "messages.0.role"),
    (messages({"role": "function", "content": "hi"}), "messages.0.role"),
    (messages({"role": "", "content": "hi"}), "messages.0.role"),
    (messages({"role": None, "content": "hi"}), "messages.0.role"),
    (messages({"role": ["user"], "content": "hi"}), "messages.0.role"),
    (messages({"role": "a" * 200_000, "content": "hi"}), "messages.0.role"),
    (messages(user(), {"role": "system", "content": CANARY}), "messages.1.role"),
    (messages({"role": "developer", "content": CANARY}), "messages.0.role"),
    (messages(user(name="")), "messages.0.name"),
    (messages(user(name="a" * 201)), "messages.0.name"),
    (messages(user(refusal=CANARY)), "messages.0.refusal"),
    (messages(user(path="/proc/self/environ")), "messages.0.path"),
    (messages({"role": "assistant"}), "messages"),
    (messages({"role": "assistant", "content": ""}), "messages"),
    (messages({"role": "assistant", "tool_calls": []}), "messages"),
    (messages({"role": "assistant", "tool_calls": [CALL]}), "messages"),
    (messages(user(reasoning=CANARY)), "messages.0.reasoning"),
    (messages(user(extra={})), "messages.0.extra"),
    (messages({"role": "tool", "content": [], "tool_call_id": "c1"}), "messages.0.content"),
    (messages({"role": "assistant", "tool_calls": [CALL] * 129}), "messages.0.tool_calls"),
    (messages({"role": "assistant", "tool_calls": [{**CALL, "id": ""}]}), "messages.0.tool_calls.0.id"),
    (messages({"role": "assistant", "tool_calls": [{**CALL, "type": CANARY}]}), "messages.0.tool_calls.0.type"),
    (messages({"role": "assistant", "tool_calls": [{"id": "c1"}]}), "messages.0.tool_calls.0.function"),
    (
        messages({"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": {}}}]}),
        "messages.0.tool_calls.0.function.arguments",
    ),
    (
        messages({"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "", "arguments": ""}}]}),
        "messages.0.tool_calls.0.function.name",
    ),
    (messages(user(tool_calls=[CALL])), "messages.0.tool_calls"),
    (messages(user(tool_call_id="c1")), "messages.0.tool_call_id"),
    (messages({"role": "assistant", "content": "a", "tool_call_id": "c1"}), "messages.0.tool_call_id"),
    (messages({"role": "tool", "content": "1"}), "messages.0.tool_call_id"),
    (messages({"role": "tool", "content": "1", "tool_call_id": ""}), "messages.0.tool_call_id"),
    (messages({"role": "tool", "content": "1", "tool_call_id": 1}), "messages.0.tool_call_id"),
    (messages({"role": "tool", "content": "1", "tool_call_id": "c1", "tool_calls": [CALL]}), "messages.0.tool_calls"),
    (messages({"role": "tool", "tool_call_id": "c1"}), "messages.0.content"),
    (hi(model=""), "model"),
    (hi(model=1), "model"),
    (hi(model="a" * 201), "model"),
    (hi(model=[CANARY]), "model"),
    (hi(temperature="0"), "temperature"),
    (hi(temperature=True), "temperature"),
    (hi(temperature=-0.1), "temperature"),
    (hi(temperature=2.1), "temperature"),
    (hi(temperature=10**400), "temperature"),
    (hi(temperature=[1]), "temperature"),
    (hi(top_p=1.1), "top_p"),
    (hi(top_p=-1), "top_p"),
    (hi(max_tokens=0), "max_tokens"),
    (hi(max_tokens=-1), "max_tokens"),
    (hi(max_tokens=1.0), "max_tokens"),
    (hi(max_tokens=True), "max_tokens"),
    (hi(max_tokens="1"), "max_tokens"),
    (hi(max_tokens=2**31), "max_tokens"),
    (hi(max_tokens=10**4000), "max_tokens"),
    (hi(seed=2**63), "seed"),
    (hi(seed=-(2**63) - 1), "seed"),
    (hi(seed=1.5), "seed"),
    (hi(stop=""), "stop"),
    (hi(stop="a" * 201), "stop"),
    (hi(stop=[]), "stop"),
    (hi(stop=["a", ""]), "stop.1"),
    (hi(stop=["a"] * 5), "stop"),
    (hi(stop=["a"] * 10_000), "stop"),
    (hi(stop=[1]), "stop.0"),
    (hi(stop=1), "stop"),
    (hi(tools=[]), "tools"),
    (hi(tools={}), "tools"),
    (hi(tools=[1]), "tools.0"),
    (hi(tools=[TOOL, CANARY]), "tools.1"),
    (hi(tools=[TOOL] * 129), "tools"),
    (hi(tools=[{}]), "tools.0.type"),
    *((hi(tools=[TOOL, {**TOOL, "type": kind}]), "tools.1.type") for kind in ("mcp", "file_search", "web_search", "")),
    (hi(tools=[{**TOOL, "function": {"parameters": {}}}]), "tools.0.function.name"),
    (hi(tool_choice=CANARY), "tool_choice"),
    (hi(tool_choice=["auto"]), "tool_choice"),
    (hi(tool_choice=1), "tool_choice"),
    (hi(tool_choice={}), "tool_choice.type"),
    (hi(response_format="json"), "response_format"),
    (hi(response_format=[]), "response_format"),
    (hi(response_format={}), "response_format.type"),
    (hi(stream=0), "stream"),
    (hi(stream=1), "stream"),
    (hi(stream=1.0), "stream"),
    (hi(stream="true"), "stream"),
]


@pytest.mark.parametrize(("document", "path"), WRONG, ids=[f"{json.dumps(d)[:60]} {p}" for d, p in WRONG])
def test_a_wrong_shape_is_reported_with_its_path(document: Any, path: str) -> None:
    assert refused(document) == ("invalid_request", path)


@pytest.mark.parametrize(
    "name",
    [
        *("n", "api_base", "base_url", "api_key", "api_version", "headers", "extra_headers", "extra_body"),
        *("organization", "metadata", "user", "functions", "logit_bias", "stream_options", "store", "command", "args"),
        *("role", "routes", "scope", "__proto__", "constructor", "__class__", "Message", "MESSAGES"),
        *("str", "list", "dict", "literal", "string", "constrained-str", "function-after"),
    ],
)
def test_an_unknown_field_is_named(name: str) -> None:
    assert refused(hi(**{name: CANARY})) == ("invalid_request", name)
    assert refused(messages(user(**{name: CANARY}))) == ("invalid_request", f"messages.0.{name}")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("<img src=x onerror=alert(1)>", "?img?src?x?onerror?alert?1??"),
        ("a\r\nX-Canary: 1", "a??X-Canary??1"),
        ("a\x00\x1b[31m", "a???31m"),
        ("é\u202e\u2028", "???"),
        ("%s{0}$", "?s?0??"),
        ("a" * 200_000, "a" * 100),
    ],
)
def test_the_name_of_an_unknown_field_is_reduced_to_harmless_characters(name: str, path: str) -> None:
    assert refused(hi(**{name: 1})) == ("invalid_request", path)


# -- limits


def test_a_prompt_may_have_as_many_characters_as_the_limit_and_no_more() -> None:
    for message in ("a" * 10, "é" * 10, "😀" * 10, "\u200b" * 10, "\x00" * 10):
        assert taken({"message": message}, CHAT_MAX_PROMPT_CHARS=10).messages[0]["content"] == message
        assert refused({"message": message + "a"}, CHAT_MAX_PROMPT_CHARS=10) == ("too_large", "messages")


def test_all_turns_and_arguments_of_calls_count_for_the_prompt() -> None:
    call = {**CALL, "function": {"name": "f", "arguments": "1234"}}
    result = {"role": "tool", "content": "123", "tool_call_id": "c1"}
    turns = [{"role": "assistant", "tool_calls": [call]}, result, user("123")]
    assert len(taken(messages(*turns), CHAT_MAX_PROMPT_CHARS=10).messages) == 3
    parts = [user([{"type": "text", "text": "12345"}] * 2), {"role": "assistant", "refusal": "1"}]
    assert refused(messages(*parts), CHAT_MAX_PROMPT_CHARS=10) == ("too_large", "messages")
    assert refused(messages(*turns), CHAT_MAX_PROMPT_CHARS=9) == ("too_large", "messages")


def test_the_reason_of_a_denial_counts_towards_the_prompt() -> None:
    call = {"id": "c1", "name": "f", "arguments": "{}", "approved": False, "reason": "Too dear."}
    turns = [user("a"), {"role": "assistant", "tool_calls": [call]}]
    assert taken(messages(*turns), CHAT_MAX_PROMPT_CHARS=12).messages[-1]["content"].endswith("Too dear.")
    assert refused(messages(*turns), CHAT_MAX_PROMPT_CHARS=11) == ("too_large", "messages")


def test_a_conversation_may_have_as_many_messages_as_the_limit_and_no_more() -> None:
    assert len(taken(messages(*[user()] * 3), CHAT_MAX_MESSAGES=3).messages) == 3
    assert refused(messages(*[user()] * 4), CHAT_MAX_MESSAGES=3) == ("too_large", "messages")
    assert refused(messages(*[user()] * 201)) == ("too_large", "messages")


def test_as_many_tokens_as_the_limit_and_no_more_may_be_requested() -> None:
    assert taken(hi(max_tokens=7), CHAT_MAX_OUTPUT_TOKENS=7).params == {"max_tokens": 7}
    assert refused(hi(max_tokens=8), CHAT_MAX_OUTPUT_TOKENS=7) == ("invalid_request", "max_tokens")


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [("temperature", 0, 2), ("top_p", 0, 1), ("seed", -(2**63), 2**63 - 1), ("max_tokens", 1, 32_768)],
)
def test_the_ends_of_a_range_are_inside_it(field: str, low: int, high: int) -> None:
    assert taken(hi(**{field: low})).params == {field: low}
    assert taken(hi(**{field: high})).params == {field: high}


def test_a_body_may_have_as_many_values_as_the_limit_and_no_more() -> None:
    """The document itself, its message, and the list of tools with what is in it."""
    values = hi(tools=[{"type": "function", "a": [None] * 94}])
    assert taken(values, CHAT_MAX_JSON_VALUES=100).params["tools"] == values["tools"]
    values["tools"][0]["a"].append(None)
    assert refused(values, CHAT_MAX_JSON_VALUES=100) == ("too_large", "")


def test_names_and_stops_may_be_as_long_as_their_limits() -> None:
    assert taken(hi(model="a" * 200)).model == "a" * 200
    assert taken(hi(stop=["a" * 200] * 4)).params["stop"] == ["a" * 200] * 4
    assert len(taken(hi(tools=[TOOL] * 128)).params["tools"]) == 128


# -- bodies that are costly to parse


def costly_bodies() -> Iterator[tuple[str, bytes, str]]:
    """Yield bodies of about the largest accepted size, each with the code of its refusal."""
    size = BODY_BYTES - 100
    yield "zeros", b"[" + b"0," * (size // 2) + b"0]", "too_large"
    yield "unknown fields", b"{" + b",".join(b'"%x":1' % n for n in range(size // 9)) + b"}", "too_large"
    yield "one field many times", b"{" + b'"a":1,' * (size // 6) + b'"a":1}', "invalid_request"
    yield "messages that are numbers", b'{"messages":[' + b"0," * (size // 2) + b"0]}", "too_large"
    yield "messages that are empty", b'{"messages":[' + b"{}," * (size // 3) + b"{}]}", "too_large"
    yield "messages that are unknown", b'{"messages":[' + b'{"a":0},' * (size // 8) + b"{}]}", "too_large"
    yield "stops", b'{"message":"hi","stop":[' + b"0," * (size // 2) + b"0]}", "too_large"
    yield "tools", b'{"message":"hi","tools":[' + b"{}," * (size // 3) + b"{}]}", "too_large"
    yield "escapes", b'{"message":"' + b"\\u0000" * (size // 6) + b'","n":1}', "invalid_request"
    yield "digits", b'{"message":"hi","seed":' + b"9" * size + b"}", "bad_request"
    yield "spaces", b" " * size, "bad_request"


@pytest.mark.parametrize(("body", "code"), [pytest.param(b, c, id=name) for name, b, c in costly_bodies()])
def test_a_body_that_is_costly_to_parse_is_refused(body: bytes, code: str) -> None:
    assert len(body) <= BODY_BYTES
    assert refused(body)[0] == code


# -- a query


def refused_query(query: Mapping[str, Sequence[str]], **given: Any) -> tuple[str, str | None]:
    with pytest.raises(ChatError) as raised:
        parse_query(query, Settings.load(given))
    assert CANARY not in f"{raised.value!r} {raised.value.path}"
    return raised.value.code, raised.value.path


def test_a_query_is_one_message_and_perhaps_a_model() -> None:
    assert parse_query({"message": ["hi"]}, SETTINGS) == ChatRequest([user()])
    assert parse_query({"message": ["hi"], "model": ["m"]}, SETTINGS) == ChatRequest([user()], "m")


QUERIES: list[tuple[dict[str, list[str]], str, str]] = [
    ({}, "invalid_request", "message"),
    ({"message": [""]}, "invalid_request", "message"),
    ({"message": ["a", CANARY]}, "invalid_request", "message"),
    ({"message": ["a"], "model": ["a", "b"]}, "invalid_request", "model"),
    ({"message": ["a"], "model": [""]}, "invalid_request", "model"),
    ({"message": ["a"], "max_tokens": ["1"]}, "invalid_request", "max_tokens"),
    ({"message": ["a"], "api_key": [CANARY]}, "invalid_request", "api_key"),
    ({"message": ["a"], "<img>": ["1"]}, "invalid_request", "?img?"),
    ({"message": ["a"], "messages": ["[]"]}, "invalid_request", "messages"),
    ({"message": ["a" * 100_001]}, "too_large", "messages"),
]


@pytest.mark.parametrize(("query", "code", "path"), QUERIES)
def test_any_other_query_is_refused(query: dict[str, list[str]], code: str, path: str) -> None:
    assert refused_query(query) == (code, path)


def test_a_duplicate_unknown_parameter_is_refused_without_its_name() -> None:
    assert refused_query({"message": ["a"], CANARY: ["1", "2"]}) == ("invalid_request", "")


# -- random documents

NAMES = st.sampled_from(
    [
        *("message", "messages", "role", "content", "model", "stop", "tools", "tool_calls", "tool_call_id"),
        *("function", "name", "arguments", "id", "type", "temperature", "max_tokens", "seed", "stream", "tool_choice"),
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["user", "assistant", "tool", "system", "auto", "function", "\ud800", ""]),
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=6),
    max_leaves=8,
)
LIKELY = st.fixed_dictionaries(
    {"messages": st.lists(st.dictionaries(NAMES, DOCUMENTS, max_size=4) | DOCUMENTS, max_size=3)},
    optional=dict.fromkeys(("model", "temperature", "max_tokens", "stop", "tools", "seed", "stream"), DOCUMENTS),
)


def fate(body: bytes) -> str:
    """Return the code with which a body is refused, or `taken`. An accepted body can be sent on."""
    try:
        request = parse(body, SETTINGS)
    except ChatError as error:
        return error.code
    json.dumps([request.messages, request.params], allow_nan=False).encode()
    return "taken" if request.messages else "taken without messages"


FATES = ("taken", "bad_request", "too_deep", "too_large", "invalid_request")


@given(document=DOCUMENTS | LIKELY, ascii_only=st.booleans())
@examples(60)
def test_random_documents_are_accepted_or_refused_and_nothing_else(document: Any, ascii_only: bool) -> None:
    assert fate(json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")) in FATES


@given(body=st.binary(max_size=100))
@examples(100)
def test_random_bytes_are_accepted_or_refused_and_nothing_else(body: bytes) -> None:
    assert fate(body) in FATES


VALID = json.dumps({**messages(user("é"), {"role": "assistant", "tool_calls": [CALL]}, user()), "stop": ["a"]}).encode()


@given(place=st.integers(0, len(VALID) - 1), size=st.integers(0, 9), put=st.binary(max_size=4))
@examples(200)
def test_a_damaged_body_is_accepted_or_refused_and_nothing_else(place: int, size: int, put: bytes) -> None:
    assert fate(VALID[:place] + put + VALID[place + size :]) in FATES
