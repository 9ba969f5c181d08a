"""The mock model: what it says, how it fails on demand, and that it stops when nobody listens.

Scripts are read without playing them where time matters; the application is driven by hand, one message at a time; and
a few tests go through a real server with the official client.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypercorn.asyncio import serve
from hypercorn.config import Config
from openai import APIError, AsyncOpenAI, NotFoundError, RateLimitError

from quartapp.mock import CATALOGUE, DEFAULT_MODEL, ASGIApp, create_mock, offers
from quartapp.mock.catalogue import ALL, Parameter
from quartapp.mock.player import Event, Head, Mark, Message, Pace, Pause, Send, Step
from quartapp.mock.server import MAX_BODY_BYTES, Receive, Scope, respond
from quartapp.mock.tokens import split

DOCS = Path(__file__).parents[3] / "docs" / "reference" / "mock.md"
CHAT_PATH = "/v1/chat/completions"
ENDLESS = ("fault-stall", "fault-endless-error", "fault-endless-line", "fault-endless-body", "fault-endless-comments")


# Driving the application by hand --------------------------------------------------------------------------------------


class Exchange:
    """One request to the application, whose messages are read one at a time."""

    def __init__(self, app: ASGIApp, method: str, path: str, *body: bytes) -> None:
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        # Without a bound, putting never waits: the application gets no rest from a slow reader.
        self.sent: asyncio.Queue[Message] = asyncio.Queue()
        for place, piece in enumerate(body, start=1):
            self._inbox.put_nowait({"type": "http.request", "body": piece, "more_body": place < len(body)})
        scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}
        self.task = asyncio.ensure_future(app(scope, self._inbox.get, self.sent.put))

    def leave(self) -> None:
        self._inbox.put_nowait({"type": "http.disconnect"})

    async def read_until(self, text: bytes) -> bytes:
        """The body up to the write that completes the text; the head is skipped."""
        body = b""
        while text not in body:
            body += (await self.sent.get()).get("body", b"")
        return body


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    writes: list[bytes]
    is_complete: bool
    """False where the connection was broken off."""

    @property
    def body(self) -> bytes:
        return b"".join(self.writes)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        return parse(self.body)

    @property
    def text(self) -> str:
        return text_of(self.events)


async def request(method: str, path: str, *body: bytes) -> Reply:
    exchange = Exchange(create_mock(tokens_per_s=0), method, path, *body)
    await asyncio.wait([exchange.task])
    start, *rest = [exchange.sent.get_nowait() for _ in range(exchange.sent.qsize())]
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    writes = [message["body"] for message in rest if message["body"]]
    is_complete = not exchange.task.cancelled() and not rest[-1]["more_body"]
    return Reply(start["status"], headers, writes, is_complete)


def chat_body(model: str, content: object = "count to 5", **fields: Any) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": content}], **fields}).encode()


async def ask(model: str, content: object = "count to 5", **fields: Any) -> Reply:
    """A streamed answer, unless the fields say otherwise."""
    return await request("POST", CHAT_PATH, chat_body(model, content, **{"stream": True} | fields))


async def ask_with_usage(model: str, content: str = "count to 5") -> Reply:
    return await ask(model, content, stream_options={"include_usage": True})


def image_part(url: str) -> Any:
    return {"type": "image_url", "image_url": {"url": url}}


def file_part(**fields: str) -> Any:
    return {"type": "file", "file": fields}


def sound_part(data: str) -> Any:
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def parse(body: bytes) -> list[Any]:
    """The events of a body that keeps to the ordinary form; `[DONE]` stays a string."""
    *events, rest = body.split(b"\n\n")
    assert rest == b""
    data = [event.removeprefix(b"data: ") for event in events]
    return ["[DONE]" if each == b"[DONE]" else json.loads(each) for each in data]


def text_of(events: list[Any], field: str = "content", index: int = 0) -> str:
    choices = [choice for event in events if event != "[DONE]" for choice in event["choices"]]
    return "".join(choice["delta"].get(field) or "" for choice in choices if choice["index"] == index)


def finish_reasons(events: list[Any]) -> list[str]:
    choices = [choice for event in events if event != "[DONE]" for choice in event.get("choices", ())]
    return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


def steps(model: str, content: str = "count to 5", **fields: Any) -> Iterator[Step]:
    return respond("POST", CHAT_PATH, chat_body(model, content, **{"stream": True} | fields))


def kinds(script: Iterator[Step]) -> list[object]:
    """What stands in a script, short: kinds of events, and everything else as it is."""
    return ["head" if isinstance(step, Head) else step.kind if isinstance(step, Event) else step for step in script]


# The catalogue --------------------------------------------------------------------------------------------------------


def documented() -> list[list[str]]:
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]


def described(parameter: Parameter | None) -> str:
    if parameter is None:
        return ""
    text = f"{parameter.symbol} = {parameter.default}, {parameter.low} to {parameter.high}"
    return f"{text}, decimals" if parameter.decimals else text


def test_the_docs_list_every_model_with_its_sentence() -> None:
    assert {cells[0].strip("`"): cells[-1] for cells in documented()} == CATALOGUE


def test_the_docs_list_every_parameter_with_its_range() -> None:
    documented_parameters = {cells[0].strip("`"): cells[1] for cells in documented() if len(cells) == 3}
    assert documented_parameters == {
        name: described(model.parameter) for name, model in ALL.items() if name.startswith("fault-")
    }


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_model_is_offered_and_opens_with_a_head(name: str) -> None:
    assert offers(name)
    opening = next(step for step in steps(name) if not isinstance(step, Pause))
    assert isinstance(opening, Head)


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name not in ENDLESS])
async def test_every_model_answers_in_one_piece_or_refuses(name: str) -> None:
    parameter = ALL[name].parameter
    without_waiting = f"{name}:0" if parameter and parameter.symbol == "S" else name
    reply = await ask(without_waiting, stream=False)
    assert reply.is_complete
    if reply.status == 200:
        assert reply.json["object"] == "chat.completion"
        assert reply.json["choices"][0]["message"]["role"] == "assistant"


@pytest.mark.parametrize(
    "name",
    ["fault-drop:0", "fault-drop:100000", "fault-pauses:0.25", "fault-status:400", "fault-status:599", "fault-big:64"],
)
def test_a_parameter_in_range_is_offered(name: str) -> None:
    assert offers(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "gpt-5",
        "Mock",
        "mock:1",
        "fault-no-done:1",
        "fault-drop:",
        "fault-drop:-1",
        "fault-drop:1.5",
        "fault-drop:100001",
        "fault-drop:1:2",
        "fault-drop: 1",
        "fault-drop:٣",
        "fault-pauses:3601",
        "fault-pauses:nan",
        "fault-pauses:1e3",
        "fault-status:200",
        "fault-status:600",
        "fault-big:0",
        "fault-big:65",
        "fault-flood:0",
    ],
)
def test_an_unknown_name_or_a_parameter_out_of_range_is_not_offered(name: str) -> None:
    assert not offers(name)


def test_the_default_model_is_in_the_catalogue() -> None:
    assert DEFAULT_MODEL in CATALOGUE


# The ordinary stream --------------------------------------------------------------------------------------------------


async def test_a_stream_opens_with_the_role_and_ends_with_the_finish_and_done() -> None:
    reply = await ask("mock")
    role, *tokens, finish, done = reply.events
    assert reply.status == 200
    assert reply.is_complete
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["x-request-id"]
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert [token["choices"][0]["delta"]["content"] for token in tokens] == ["1", " 2", " 3", " 4", " 5"]
    assert finish["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]
    assert done == "[DONE]"
    assert {event["id"] for event in reply.events[:-1]} == {role["id"]}
    assert not any("usage" in event for event in reply.events[:-1])


async def test_each_event_is_a_write_of_its_own() -> None:
    reply = await ask("mock")
    assert [len(parse(write)) for write in reply.writes] == [1] * len(reply.events)


async def test_usage_comes_last_and_is_null_before_if_it_is_asked_for() -> None:
    *chunks, usage, done = (await ask_with_usage("mock")).events
    assert all(chunk["usage"] is None for chunk in chunks)
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 5
    assert usage["usage"]["total_tokens"] == usage["usage"]["prompt_tokens"] + 5
    assert done == "[DONE]"


async def test_choices_are_interleaved_and_each_one_is_whole() -> None:
    reply = await ask("mock", "count to 3", n=2)
    indexes = [chunk["choices"][0]["index"] for chunk in reply.events[:-1]]
    assert indexes == [0, 1] * 5
    assert [text_of(reply.events, index=index) for index in range(2)] == ["1 2 3", "1 2 3"]
    assert finish_reasons(reply.events) == ["stop", "stop"]


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_a_token_limit_cuts_the_answer_with_the_reason_length(field: str) -> None:
    reply = await ask("mock", **{field: 2})
    assert (reply.text, finish_reasons(reply.events)) == ("1 2", ["length"])


async def test_a_token_limit_that_is_just_met_cuts_nothing() -> None:
    reply = await ask("mock", max_tokens=5)
    assert (reply.text, finish_reasons(reply.events)) == ("1 2 3 4 5", ["stop"])


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        (" 3", "1 2"),
        ("2 3", "1 "),
        (["5", " 4"], "1 2 3"),
        (["3 4 x", "4"], "1 2 3 "),
        ("5 6", "1 2 3 4 5"),
        ("1", ""),
    ],
)
async def test_a_stop_sequence_ends_the_answer_before_it(stop: object, text: str) -> None:
    reply = await ask("mock", stop=stop)
    assert (reply.text, finish_reasons(reply.events)) == (text, ["stop"])


async def test_an_answer_in_one_piece_says_the_same_as_the_stream() -> None:
    reply = await ask("mock", n=2, stream=False, max_tokens=3)
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["content-length"] == str(len(reply.body))
    assert [choice["message"]["content"] for choice in reply.json["choices"]] == ["1 2 3", "1 2 3"]
    assert [choice["finish_reason"] for choice in reply.json["choices"]] == ["length", "length"]
    assert reply.json["usage"]["completion_tokens"] == 6


async def test_an_answer_is_not_streamed_unless_asked() -> None:
    reply = await request("POST", CHAT_PATH, chat_body("mock"))
    assert reply.json["object"] == "chat.completion"


# What the models say --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "ends_with"),
    [("Count to 12", " 12"), ("please count up to 3!", " 3"), ("count to 999999999999999999", " 100000")],
)
async def test_it_counts_as_far_as_asked_but_not_over_the_limit(question: str, ends_with: str) -> None:
    text = (await ask("mock", question, stream=False)).json["choices"][0]["message"]["content"]
    assert text.startswith("1 2 3")
    assert text.endswith(ends_with)


async def test_the_tour_shows_each_element_of_markdown() -> None:
    text = (await ask("mock", "a Markdown tour")).text
    for element in ("# ", "\n   - ", "\n1. ", "```js\n", "|:--", "\n> ", "](https://", "`inline code`", "**"):
        assert element in text or text.startswith(element), element


async def test_the_long_answer_is_long_and_repeats_no_paragraph() -> None:
    text = (await ask("mock", "a long answer")).text
    paragraphs = text.split("\n\n")
    assert 1400 <= len(text.split()) <= 1700
    assert len(set(paragraphs)) == len(paragraphs)


async def test_the_scripts_hold_families_flags_and_both_directions() -> None:
    text = (await ask("mock", "some languages and emoji")).text
    for sample in ("Grüße", "Καλημέρα", "Привет", "مرحبا", "שלום", "नमस्ते", "你好", "こんにちは", "안녕하세요", "สวัสดี"):
        assert sample in text
    assert "\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}" in text
    assert "\N{REGIONAL INDICATOR SYMBOL LETTER E}\N{REGIONAL INDICATOR SYMBOL LETTER U}" in text


async def test_anything_else_is_echoed_with_a_hint() -> None:
    text = (await ask("mock", "Hello there, decoder")).text
    assert "Hello there, decoder" in text
    assert "count to 20" in text


async def test_content_may_come_in_parts() -> None:
    parts = [{"type": "text", "text": "count "}, {"type": "of_no_kind_we_know"}, {"type": "text", "text": "to 2"}]
    assert (await ask("mock", parts)).text == "1 2"


PNG = "data:image/png;base64,iVBORw0KGgo="
ATTACHED: list[tuple[list[Any], str]] = [
    ([image_part(PNG)], "1 image (image/png, 8 bytes)."),
    ([image_part(PNG), {"type": "text", "text": "count to 2"}], "1 image (image/png, 8 bytes). You said: count to 2"),
    ([image_part(PNG), image_part("data:image/gif;base64,AA==")], "2 images (image/png, 8 bytes; image/gif, 1 byte)."),
    ([image_part("https://example.com/a.png")], "1 image (by its URL)."),
    ([image_part("data:,hi")], "1 image (by its URL)."),
    ([file_part(file_data="data:application/pdf;base64,AAA=")], "1 file (application/pdf, 2 bytes)."),
    ([file_part(file_data="data:text/plain;charset=utf-8;base64,AAAA")], "1 file (text/plain, 3 bytes)."),
    ([file_part(file_data="data:;base64,AAAA")], "1 file (of no type, 3 bytes)."),
    ([file_part(file_data="AAAA", filename="a.pdf")], "1 file (a.pdf, 3 bytes)."),
    ([file_part(file_id="file-1")], "1 file (by its id)."),
    (
        [sound_part("AAAA"), image_part(PNG), sound_part("AA==")],
        "2 sounds (wav, 3 bytes; wav, 1 byte), 1 image (image/png, 8 bytes).",
    ),
]


@pytest.mark.parametrize(("parts", "told"), ATTACHED)
async def test_what_is_attached_is_told(parts: list[Any], told: str) -> None:
    assert (await ask("mock", parts)).text == f"I was sent {told}"


async def test_what_was_attached_before_is_not_told_again() -> None:
    turns = [{"role": "user", "content": [image_part(PNG)]}, {"role": "user", "content": "count to 2"}]
    body = {"model": "mock", "stream": True, "messages": turns}
    assert (await request("POST", CHAT_PATH, json.dumps(body).encode())).text == "1 2"


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "image_url", "image_url": PNG}, "image_url"),
        ({"type": "image_url", "image_url": {"url": 1}}, "image_url.url"),
        ({"type": "file", "file": {"file_data": 1}}, "file.file_data"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA"}}, "input_audio"),
    ],
)
async def test_an_attachment_of_the_wrong_shape_is_refused(part: Any, param: str) -> None:
    reply = await ask("mock", [part])
    assert (reply.status, reply.json["error"]["param"]) == (400, f"messages[0].content[0].{param}")


async def test_the_echo_repeats_the_last_user_message_verbatim() -> None:
    message = "  two  spaces,\n\ttabs,\n\n\nlines 👨‍👩‍👧‍👦 and a wordlongerthananytoken \n"
    body = {"model": "mock-echo", "stream": True, "messages": [
        {"role": "user", "content": "first"},
        {"role": "user", "content": message},
        {"role": "assistant", "content": "not this"},
    ]}  # fmt: skip
    reply = await request("POST", CHAT_PATH, json.dumps(body).encode())
    assert reply.text == message


@pytest.mark.parametrize(("question", "last"), [("how about 7?", "7"), ("no number", "20")])
async def test_the_count_goes_to_the_number_in_the_message_or_to_20(question: str, last: str) -> None:
    assert (await ask("mock-count", question)).text.split()[-1] == last


async def test_reasoning_comes_before_the_text_and_is_counted() -> None:
    reply = await ask_with_usage("mock-reasoning", "why?")
    deltas = [event["choices"][0]["delta"] for event in reply.events[1:-3]]
    fields = [next(iter(delta)) for delta in deltas]
    assert fields == sorted(fields, reverse=True)
    assert {"reasoning_content", "content"} == set(fields)
    assert "why?" in reply.text
    details = reply.events[-2]["usage"]["completion_tokens_details"]
    assert details["reasoning_tokens"] == fields.count("reasoning_content")


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "unit": {"enum": ["celsius", "kelvin"]},
            },
        },
    },
}


async def test_a_tool_call_comes_in_fragments_that_make_arguments_of_the_right_types() -> None:
    reply = await ask("mock-tool-call", "Paris, in the spring", tools=[WEATHER])
    deltas = [event["choices"][0]["delta"] for event in reply.events[1:-2]]
    first, *fragments = [call for delta in deltas for call in delta["tool_calls"]]
    assert (first["type"], first["function"]) == ("function", {"name": "weather", "arguments": ""})
    assert first["id"]
    assert len(fragments) > 3
    arguments = json.loads("".join(fragment["function"]["arguments"] for fragment in fragments))
    assert arguments == {"city": "Paris, in the spring", "days": 1, "unit": "celsius"}
    assert finish_reasons(reply.events) == ["tool_calls"]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("string", "Überall"),
        ("integer", 1),
        ("number", 1.5),
        ("boolean", True),
        ("array", []),
        ("object", {}),
        ("null", None),
        ("unknown", "Überall"),
    ],
)
async def test_an_argument_has_the_type_of_its_property(kind: str, value: object) -> None:
    parameters = {"type": "object", "properties": {"it": {"type": kind}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    reply = await ask("mock-tool-call", "Überall", stream=False, tools=[tool])
    [call] = reply.json["choices"][0]["message"]["tool_calls"]
    assert call["function"]["arguments"] == json.dumps({"it": value}, ensure_ascii=False)


async def test_a_tool_result_is_quoted() -> None:
    messages = [{"role": "user", "content": "Paris?"}, {"role": "tool", "tool_call_id": "1", "content": "18 degrees"}]
    body = {"model": "mock-tool-call", "stream": True, "tools": [WEATHER], "messages": messages}
    reply = await request("POST", CHAT_PATH, json.dumps(body).encode())
    assert "18 degrees" in reply.text
    assert finish_reasons(reply.events) == ["stop"]


async def test_without_tools_it_says_that_it_has_none() -> None:
    assert "no tools" in (await ask("mock-tool-call")).text


@pytest.mark.parametrize("parameters", [None, {}, {"properties": []}, {"properties": {"x": True}}])
async def test_a_tool_with_a_strange_schema_is_called_all_the_same(parameters: object) -> None:
    tool = {"type": "function", "function": {"name": "odd", "parameters": parameters}}
    reply = await ask("mock-tool-call", "x", tools=[tool])
    assert finish_reasons(reply.events) == ["tool_calls"]


async def test_a_refusal_comes_in_refusal_deltas() -> None:
    events = (await ask("mock-refusal")).events
    assert text_of(events) == ""
    assert text_of(events, "refusal").startswith("I'm sorry")
    assert finish_reasons(events) == ["stop"]


@pytest.mark.parametrize("text", ["", " ", "a b", "\n\n x\t", "x" * 100, " " * 30 + "y", "a\u2028b\x00", "語" * 40])
def test_tokens_joined_are_the_text(text: str) -> None:
    assert "".join(split(text)) == text


# Routes and refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/chat/completions", CHAT_PATH, "/openai/deployments/x/chat/completions"])
async def test_any_prefix_will_do(path: str) -> None:
    assert (await request("POST", path, chat_body("mock"))).status == 200


async def test_the_models_are_listed_with_what_they_do() -> None:
    reply = await request("GET", "/v1/models", b"")
    assert reply.json["object"] == "list"
    assert {card["id"]: card["description"] for card in reply.json["data"]} == CATALOGUE


@pytest.mark.parametrize("name", ["mock", "fault-drop:7"])
async def test_one_model_is_shown_under_the_name_it_was_asked_by(name: str) -> None:
    assert (await request("GET", f"/v1/models/{name}", b"")).json["id"] == name


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models/gpt-5", 404),
        ("GET", "/", 404),
        ("POST", "/v1/embeddings", 404),
        ("GET", CHAT_PATH, 405),
        ("DELETE", "/v1/models/mock", 405),
    ],
)
async def test_any_other_route_is_an_error_in_the_form_of_openai(method: str, path: str, status: int) -> None:
    reply = await request(method, path, b"")
    assert reply.status == status
    assert set(reply.json["error"]) == {"message", "type", "param", "code"}
    assert reply.headers["x-request-id"]


async def test_a_wrong_method_is_told_the_right_one() -> None:
    assert (await request("GET", CHAT_PATH, b"")).headers["allow"] == "POST"


async def test_an_unknown_model_is_not_found() -> None:
    reply = await ask("fault-drop:-1")
    assert (reply.status, reply.json["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
        (b'{"model":"mock","messages":[],"x":' + b"[" * 100_000, "messages"),
        (chat_body("mock", "\ud83d"), None),
        (chat_body("mock", 3), "messages[0].content"),
        (b'{"model":"mock"}', None),
        (b'{"model":"mock","messages":[]}', "messages"),
        (b'{"model":"mock","messages":[{"role":"king","content":"x"}]}', "messages[0].role"),
        (chat_body("mock", n=9), "n"),
        (chat_body("mock", n=0), "n"),
        (chat_body("mock", max_tokens=0), "max_tokens"),
        (chat_body("mock", stop=""), "stop"),
        (chat_body("mock", stop=["1", "2", "3", "4", "5"]), "stop"),
        (chat_body("mock", stream="yes"), "stream"),
        (chat_body("mock", stream_options={"include_usage": True}), "stream_options"),
    ],
)
async def test_a_malformed_request_is_refused_with_the_place_of_the_fault(body: bytes, param: str | None) -> None:
    reply = await request("POST", CHAT_PATH, body)
    assert reply.status == 400
    assert reply.json["error"]["type"] == "invalid_request_error"
    assert reply.json["error"]["param"] == param


async def test_a_body_may_come_in_pieces() -> None:
    body = chat_body("mock", "count to 2")
    reply = await request("POST", CHAT_PATH, *(body[at : at + 7] for at in range(0, len(body), 7)))
    assert reply.json["choices"][0]["message"]["content"] == "1 2"


async def test_a_body_over_the_limit_is_refused_before_it_is_all_there() -> None:
    app = create_mock(0)
    exchange = Exchange(app, "POST", CHAT_PATH, b" " * (MAX_BODY_BYTES + 1), b" ", b"not read")
    assert (await exchange.sent.get())["status"] == 413
    await exchange.task


# Faults in time -------------------------------------------------------------------------------------------------------


def test_the_slow_first_byte_waits_before_the_headers() -> None:
    script = steps("fault-slow-first-byte:2.5")
    assert next(script) == Pause(2.5)
    assert isinstance(next(script), Head)


def test_the_slow_first_byte_waits_for_an_answer_in_one_piece_too() -> None:
    assert next(steps("fault-slow-first-byte", stream=False)) == Pause(30)


def test_the_slow_first_token_waits_after_the_role() -> None:
    script = kinds(steps("fault-slow-first-token:2", "count to 1"))
    assert script == ["head", "role", Mark.BEAT, Pause(2), "token", Mark.BEAT, "finish", "done"]


def test_comments_fill_the_time_before_the_answer() -> None:
    script = kinds(steps("fault-comments:0.06", "count to 1"))
    assert script[:8] == ["head", *[b": keep-alive\n\n", Pause(0.02)] * 3, "role"]


def test_pauses_come_before_each_token() -> None:
    script = kinds(steps("fault-pauses:2", "count to 2"))
    assert script[2:8] == [Mark.BEAT, Pause(2), "token", Mark.BEAT, Pause(2), "token"]


def test_the_slow_end_waits_between_the_finish_and_the_rest() -> None:
    script = kinds(steps("fault-slow-end:2", "count to 1", stream_options={"include_usage": True}))
    assert script[-4:] == ["finish", Pause(2), "usage", "done"]


@pytest.mark.parametrize("name", ["fault-slow-first-byte", "fault-slow-first-token", "fault-comments"])
async def test_after_the_wait_the_answer_is_whole(name: str) -> None:
    reply = await ask(f"{name}:0.05")
    lines = [line for line in reply.body.splitlines(keepends=True) if not line.startswith(b":")]
    body = b"".join(lines).lstrip(b"\n")
    assert (text_of(parse(body)), finish_reasons(parse(body))) == ("1 2 3 4 5", ["stop"])


async def test_a_stall_sends_its_tokens_and_then_nothing_until_the_client_leaves() -> None:
    exchange = Exchange(create_mock(0), "POST", CHAT_PATH, chat_body("fault-stall:2", stream=True))
    body = await exchange.read_until(b'" 2"')
    exchange.leave()
    await exchange.task
    assert text_of(parse(body)) == "1 2"
    assert exchange.sent.empty()


# Faults of the status -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503, 599])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_status_comes_with_an_error_that_holds_the_marker(status: int, stream: bool) -> None:
    reply = await ask(f"fault-status:{status}", stream=stream)
    assert reply.status == status
    assert "upstream-secret" in reply.json["error"]["message"]
    assert reply.headers.get("retry-after") == ("7" if status in (429, 503) else None)


def test_an_endless_error_has_a_status_of_errors() -> None:
    head = next(steps("fault-endless-error"))
    assert isinstance(head, Head)
    assert head.status == 500


async def test_a_status_can_come_with_html() -> None:
    reply = await ask("fault-html:503")
    assert reply.status == 503
    assert reply.headers["content-type"].startswith("text/html")
    assert reply.headers["retry-after"] == "7"
    assert reply.body.startswith(b"<!doctype html>")


async def test_a_status_can_come_with_nothing() -> None:
    reply = await ask("fault-empty:404")
    assert (reply.status, reply.body, reply.is_complete) == (404, b"", True)


async def test_a_redirect_leads_to_another_path_of_the_same_server() -> None:
    reply = await ask("fault-redirect")
    assert (reply.status, reply.headers["location"]) == (302, "/v1/models")


@pytest.mark.parametrize(
    ("name", "code"),
    [("fault-context-too-long", "context_length_exceeded"), ("fault-content-filtered", "content_filter")],
)
async def test_a_prompt_is_refused_with_its_code(name: str, code: str) -> None:
    reply = await ask(name)
    assert (reply.status, reply.json["error"]["code"]) == (400, code)


# Faults of the end ----------------------------------------------------------------------------------------------------


async def test_an_error_object_comes_after_its_tokens_and_ends_the_body() -> None:
    reply = await ask("fault-error-object:2")
    *chunks, error = reply.events
    assert text_of(chunks) == "1 2"
    assert error["error"]["code"] == "boom"
    assert "upstream-secret" in error["error"]["message"]
    assert reply.is_complete


@pytest.mark.parametrize(("tokens", "text"), [(1, "1"), (4, "1 2 3 4"), (9, "1 2 3 4 5")])
async def test_a_drop_comes_after_its_tokens_and_before_any_end(tokens: int, text: str) -> None:
    reply = await ask(f"fault-drop:{tokens}")
    assert (reply.text, finish_reasons(reply.events), reply.is_complete) == (text, [], False)


async def test_a_drop_after_no_token_leaves_only_the_headers() -> None:
    exchange = Exchange(create_mock(0), "POST", CHAT_PATH, chat_body("fault-drop:0", stream=True))
    await asyncio.wait([exchange.task])
    assert exchange.task.cancelled()
    assert exchange.sent.get_nowait()["status"] == 200
    assert exchange.sent.empty()


async def test_a_message_without_a_number_leaves_tokens_to_be_missed() -> None:
    assert (await ask("fault-drop:30", "hello")).text.split()[-1] == "30"
    assert kinds(steps("fault-drop:30", "hello")).count("token") == 31


async def test_a_clean_end_may_lack_both_finish_and_done() -> None:
    reply = await ask("fault-no-finish:2")
    assert (reply.text, finish_reasons(reply.events), reply.is_complete) == ("1 2", [], True)
    assert "[DONE]" not in reply.events


async def test_a_clean_end_may_lack_the_finish_alone() -> None:
    reply = await ask("fault-no-finish-done:2")
    assert (reply.text, finish_reasons(reply.events), reply.is_complete) == ("1 2", [], True)
    assert reply.events[-1] == "[DONE]"


async def test_a_clean_end_may_lack_done_alone() -> None:
    reply = await ask_with_usage("fault-no-done")
    assert (reply.text, finish_reasons(reply.events), reply.is_complete) == ("1 2 3 4 5", ["stop"], True)
    assert reply.events[-1]["usage"]["completion_tokens"] == 5


async def test_a_drop_may_come_after_the_finish() -> None:
    reply = await ask_with_usage("fault-drop-after-finish")
    assert (reply.text, finish_reasons(reply.events), reply.is_complete) == ("1 2 3 4 5", ["stop"], False)
    assert reply.events[-1]["choices"][0]["finish_reason"] == "stop"


# Garbage, endless, large ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "garbage"), [("garbage", b"data: {not json\n\n"), ("garbage-line", b"<html>\n")])
async def test_garbage_stands_where_it_was_ordered_in_an_answer_that_is_else_whole(name: str, garbage: bytes) -> None:
    reply = await ask(f"fault-{name}:2")
    before, after = reply.body.split(garbage)
    assert text_of(parse(before)) == "1 2"
    assert text_of(parse(after)) == " 3 4 5"
    assert parse(after)[-1] == "[DONE]"


@pytest.mark.parametrize(
    ("name", "start", "again"),
    [
        ("fault-endless-error", b'{"error":', b"upstream-secret " * 200),
        ("fault-endless-line", b'data: {"id":"x', b"x" * 100_000),
        ("fault-endless-body", b'data: {"id"', b""),
        ("fault-endless-comments", b": keep-alive\n\n", b": keep-alive\n\n" * 200),
    ],
)
async def test_an_endless_body_goes_on_until_the_client_leaves(name: str, start: bytes, again: bytes) -> None:
    exchange = Exchange(create_mock(0), "POST", CHAT_PATH, chat_body(name, stream=True))
    body = await exchange.read_until(again or b"\n\n")
    for _ in range(200):
        body += (await exchange.sent.get())["body"]
    exchange.leave()
    await exchange.task
    assert body.startswith(start)
    assert name != "fault-endless-body" or text_of(parse(body)).startswith("111111")


async def test_a_flood_is_one_write() -> None:
    reply = await ask("fault-flood:300")
    assert len(reply.writes) == 1
    assert reply.text.split() == [str(number) for number in range(1, 301)]
    assert reply.events[-1] == "[DONE]"


def test_a_big_answer_has_its_size_and_no_pace() -> None:
    script = list(steps("fault-big:2"))
    assert Mark.BEAT not in script
    tokens = [step.body for step in script if isinstance(step, Event) and step.kind == "token"]
    assert len(text_of(tokens)) == 2 * 1024 * 1024


# Unusual on the wire --------------------------------------------------------------------------------------------------


async def test_split_utf8_cuts_every_write_inside_a_character_and_loses_none() -> None:
    reply = await ask("fault-split-utf8")
    assert len(reply.writes) > 200
    for write in reply.writes[:-1]:
        with pytest.raises(UnicodeDecodeError, match="unexpected end of data"):
            write.lstrip(bytes(range(0x80, 0xC0))).decode()
    assert reply.text == (await ask("mock", "scripts")).text


async def test_one_byte_at_a_time() -> None:
    reply = await ask("fault-one-byte")
    assert {len(write) for write in reply.writes} == {1}
    assert reply.text == "1 2 3 4 5"


async def test_lines_may_end_in_crlf() -> None:
    body = (await ask("fault-crlf")).body
    assert body.count(b"\n") == body.count(b"\r\n") > 0
    assert text_of(parse(body.replace(b"\r\n", b"\n"))) == "1 2 3 4 5"


async def test_the_space_after_data_may_be_missing() -> None:
    body = (await ask("fault-no-space")).body
    assert b"data: " not in body
    assert text_of(parse(body.replace(b"data:", b"data: "))) == "1 2 3 4 5"


async def test_a_byte_order_mark_may_come_first() -> None:
    body = (await ask("fault-bom")).body
    assert body.startswith(b"\xef\xbb\xbfdata: ")
    assert text_of(parse(body[3:])) == "1 2 3 4 5"


async def test_the_body_may_be_compressed_and_still_streams() -> None:
    reply = await ask("fault-gzip")
    assert reply.headers["content-encoding"] == "gzip"
    unpack = zlib.decompressobj(wbits=31)
    events = [unpack.decompress(write) for write in reply.writes]
    assert [len(parse(event)) for event in events[:-1]] == [1] * (len(events) - 1)
    assert text_of(parse(b"".join(events))) == "1 2 3 4 5"
    assert unpack.eof


async def test_chunks_without_choices_stand_around_the_answer() -> None:
    events = (await ask("fault-empty-choices")).events
    assert events[0]["choices"] == events[-2]["choices"] == []
    assert events[0]["prompt_filter_results"]
    assert (text_of(events), finish_reasons(events)) == ("1 2 3 4 5", ["stop"])


async def test_null_content_stands_between_the_tokens() -> None:
    deltas = [event["choices"][0]["delta"] for event in (await ask("fault-null-content")).events[1:-2]]
    assert [delta["content"] for delta in deltas[:4]] == [None, "1", None, " 2"]


@pytest.mark.parametrize("stream", [True, False])
async def test_an_emoji_may_come_in_two_halves(stream: bool) -> None:
    body = (await ask("fault-lone-surrogate", stream=stream)).body
    first, second = (body.index(half) for half in (rb"\ud83d", rb"\ude00"))
    assert (b"data: " in body[first:second]) == stream
    body.decode("ascii")


# Usage and finish reasons ---------------------------------------------------------------------------------------------


async def test_usage_may_be_null_in_every_chunk() -> None:
    events = (await ask_with_usage("fault-usage-null")).events
    assert [event["usage"] for event in events[:-1]] == [None] * (len(events) - 1)


async def test_usage_may_come_with_the_finish() -> None:
    *tokens, finish, done = (await ask_with_usage("fault-usage-with-finish")).events
    assert finish["usage"]["completion_tokens"] == 5
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert all(token["usage"] is None for token in tokens)
    assert done == "[DONE]"


async def test_usage_may_run_along() -> None:
    events = (await ask_with_usage("fault-usage-every-chunk")).events
    assert [event["usage"]["completion_tokens"] for event in events[:-1]] == [0, 1, 2, 3, 4, 5, 5, 5]
    assert all(event["usage"]["total_tokens"] >= event["usage"]["prompt_tokens"] for event in events[:-1])


async def test_usage_may_never_be_mentioned() -> None:
    reply = await ask_with_usage("fault-usage-none")
    assert b"usage" not in reply.body.replace(b"fault-usage-none", b"")
    assert finish_reasons(reply.events) == ["stop"]


async def test_usage_may_have_another_shape() -> None:
    usage = (await ask_with_usage("fault-usage-odd")).events[-2]["usage"]
    assert isinstance(usage["prompt_tokens"], str)
    assert isinstance(usage["completion_tokens"], float)
    assert "total_tokens" not in usage


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name.startswith("fault-usage")])
async def test_a_usage_fault_is_quiet_where_usage_is_not_asked_for(name: str) -> None:
    reply = await ask(name)
    assert (reply.text, finish_reasons(reply.events)) == ("1 2 3 4 5", ["stop"])
    assert not any(event.get("usage") for event in reply.events[:-1])


@pytest.mark.parametrize(("name", "reason"), [("fault-length", "length"), ("fault-content-filter", "content_filter")])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_finish_reason_may_not_be_stop(name: str, reason: str, stream: bool) -> None:
    reply = await ask(name, stream=stream)
    reasons = finish_reasons(reply.events) if stream else [reply.json["choices"][0]["finish_reason"]]
    assert reasons == [reason]


# Pace, leaving, and the life of the application -----------------------------------------------------------------------


def test_the_pace_makes_up_for_delays() -> None:
    pace = Pace(tokens_per_s=10, now_s=0)
    assert pace.wait_s(now_s=0.05) == pytest.approx(0.05)
    assert pace.wait_s(now_s=0.1) == pytest.approx(0.1)
    assert pace.wait_s(now_s=0.5) < 0
    assert pace.wait_s(now_s=0.3) == pytest.approx(0.1)


def test_the_pace_starts_afresh_after_a_pause() -> None:
    pace = Pace(tokens_per_s=10, now_s=0)
    pace.restart(now_s=5)
    assert pace.wait_s(now_s=5) == pytest.approx(0.1)


def test_a_pace_of_zero_never_waits() -> None:
    assert Pace(tokens_per_s=0, now_s=0).wait_s(now_s=1) == 0


@pytest.mark.parametrize("pace", [-1.0, float("nan"), float("inf")])
def test_a_pace_that_is_none_is_refused(pace: float) -> None:
    with pytest.raises(ValueError, match="tokens_per_s"):
        create_mock(tokens_per_s=pace)


@pytest.mark.parametrize("name", ["fault-slow-first-byte", "fault-pauses:3600", "fault-comments", "mock"])
async def test_when_the_client_leaves_it_stops_at_once_and_leaves_no_task(name: str) -> None:
    before = asyncio.all_tasks()
    exchange = Exchange(create_mock(0.001), "POST", CHAT_PATH, chat_body(name, stream=True))
    if name != "fault-slow-first-byte":
        await exchange.sent.get()
    exchange.leave()
    await exchange.task
    assert asyncio.all_tasks() == before


async def test_when_it_is_cancelled_it_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    exchange = Exchange(create_mock(0), "POST", CHAT_PATH, chat_body("fault-stall", stream=True))
    await exchange.read_until(b'" 3"')
    exchange.task.cancel()
    await asyncio.wait([exchange.task])
    assert asyncio.all_tasks() == before


async def test_a_client_who_leaves_before_the_body_is_there_gets_nothing() -> None:
    exchange = Exchange(create_mock(0), "POST", CHAT_PATH)
    exchange.leave()
    await exchange.task
    assert exchange.sent.empty()


async def test_it_starts_and_stops_with_its_server() -> None:
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    sent: asyncio.Queue[Message] = asyncio.Queue()
    inbox.put_nowait({"type": "lifespan.startup"})
    inbox.put_nowait({"type": "lifespan.shutdown"})
    await create_mock()({"type": "lifespan"}, inbox.get, sent.put)
    assert [sent.get_nowait()["type"] for _ in range(2)] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_websocket_is_not_spoken() -> None:
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    with pytest.raises(ValueError, match="websocket"):
        await create_mock()({"type": "websocket"}, inbox.get, inbox.put)


# Through a real server ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[int]:
    """Hypercorn in this loop, on a free port of the loopback interface."""
    stop = asyncio.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.loglevel = "ERROR"
    stop = asyncio.Event()
    server = asyncio.ensure_future(serve(app, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]
    try:
        yield port
    finally:
        stop.set()
        await server


@pytest.fixture(name="port")
async def _port() -> AsyncIterator[int]:
    async with serving(create_mock(tokens_per_s=0)) as port:
        yield port


@pytest.fixture(name="client")
async def _client(port: int) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="unused", max_retries=0) as client:
        yield client


async def test_the_official_client_reads_a_streamed_answer(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="mock",
        messages=[{"role": "user", "content": "count to 5"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == "1 2 3 4 5"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5


async def test_the_official_client_reads_an_answer_in_one_piece(client: AsyncOpenAI) -> None:
    completion = await client.chat.completions.create(
        model="mock", messages=[{"role": "user", "content": "count to 5"}]
    )
    assert completion.choices[0].message.content == "1 2 3 4 5"
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 5


async def test_the_official_client_assembles_a_tool_call(client: AsyncOpenAI) -> None:
    async with client.chat.completions.stream(
        model="mock-tool-call",
        messages=[{"role": "user", "content": "Paris"}],
        tools=[WEATHER],  # type: ignore[list-item]
    ) as stream:
        completion = await stream.get_final_completion()
    assert completion.choices[0].message.tool_calls
    call = completion.choices[0].message.tool_calls[0]
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] == "Paris"


async def test_the_official_client_lists_and_finds_the_models(client: AsyncOpenAI) -> None:
    assert {model.id async for model in client.models.list()} == set(CATALOGUE)
    assert (await client.models.retrieve("fault-drop:3")).id == "fault-drop:3"
    with pytest.raises(NotFoundError):
        await client.models.retrieve("gpt-5")


async def test_the_official_client_understands_the_errors(client: AsyncOpenAI) -> None:
    with pytest.raises(RateLimitError) as refused:
        await client.chat.completions.create(model="fault-status:429", messages=[{"role": "user", "content": "x"}])
    assert refused.value.response.headers["retry-after"] == "7"
    stream = await client.chat.completions.create(
        model="fault-error-object", messages=[{"role": "user", "content": "x"}], stream=True
    )
    with pytest.raises(APIError, match="upstream-secret") as broken:
        [chunk async for chunk in stream]
    assert broken.value.code == "boom"


async def open_chat(port: int, model: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = chat_body(model, stream=True)
    head = f"POST {CHAT_PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    return reader, writer


async def raw_answer(port: int, model: str) -> bytes:
    """All bytes of the connection, until the server closes it."""
    reader, writer = await open_chat(port, model)
    received = await reader.read()
    writer.close()
    await writer.wait_closed()
    return received


async def test_a_dropped_connection_lacks_the_last_chunk(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    dropped = await raw_answer(port, "fault-drop:2")
    assert dropped.startswith(b"HTTP/1.1 200")
    assert re.search(rb'" 2"[^\r]*\r\n$', dropped)
    assert not dropped.endswith(b"0\r\n\r\n")
    assert capfd.readouterr().err == ""


async def test_a_clean_end_without_a_finish_has_the_last_chunk(port: int) -> None:
    assert (await raw_answer(port, "fault-no-finish:2")).endswith(b"\r\n0\r\n\r\n")


async def test_a_reader_who_closes_ends_the_answer() -> None:
    app, ended = create_mock(tokens_per_s=0), asyncio.Event()

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        if scope["type"] == "http":
            ended.set()

    async with serving(watched) as port:
        reader, writer = await open_chat(port, "fault-stall")
        await reader.readuntil(b'" 3"')
        writer.close()
        await writer.wait_closed()
        await ended.wait()


def test_scripts_are_read_no_further_than_needed() -> None:
    assert len(list(islice(steps("fault-drop:99999", "hello"), 10))) == 10
