"""The requests of /api/ui: messages of the AI SDK become a conversation with every result at its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quartapp.core.errors import ChatError
from quartapp.core.request import ChatRequest
from quartapp.protocols.ai_sdk.request import parse_ui
from quartapp.settings.settings import Settings
from tests.support.examples import examples

CANARY = "canary7f3a"


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


def message(*parts: Any, role: str = "user", **fields: Any) -> dict[str, Any]:
    return {"id": "m1", "role": role, "parts": list(parts), **fields}


def body(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"id": "c1", "messages": list(messages), "trigger": "submit-message", **fields}


HI = message(text("hi"))

PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0="


def file(url: Any = PNG, media_type: Any = "image/png", **fields: Any) -> dict[str, Any]:
    """Return a file as the page sends it."""
    return {"type": "file", "mediaType": media_type, "url": url, **fields}


def image(url: str = PNG) -> dict[str, Any]:
    """Return an image as a model receives it."""
    return {"type": "image_url", "image_url": {"url": url}}


def taken(document: Any, **given: Any) -> ChatRequest:
    return parse_ui(json.dumps(document).encode(), Settings.load(given))


def refused(document: Any, **given: Any) -> tuple[str, str | None]:
    with pytest.raises(ChatError) as raised:
        taken(document, **given)
    assert CANARY not in f"{raised.value!r} {raised.value.path} {raised.value.__cause__}"
    return raised.value.code, raised.value.path


def tool(state: str | None = "output-available", **fields: Any) -> dict[str, Any]:
    return {"type": "tool-weather", "toolCallId": "c1", "state": state, "input": {"city": "Bern"}, **fields}


def called(id: str = "c1", name: str = "weather", arguments: str = '{"city": "Bern"}') -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


# -- what is taken


def test_a_message_is_its_text() -> None:
    assert taken(body(HI)) == ChatRequest([{"role": "user", "content": "hi"}], shows_tools=True)
    assert taken(body(message(text("h"), text("i")), model="m")) == ChatRequest(
        [{"role": "user", "content": "hi"}], "m", shows_tools=True
    )


def test_an_answer_behind_a_message_of_the_assistant_continues_it() -> None:
    answer = message(tool(), role="assistant") | {"id": "a1"}
    assert taken(body(HI, answer)).continued_id == "a1"
    assert taken(body(HI)).continued_id is None
    assert taken(body(answer, HI)).continued_id is None
    assert taken(body(HI, answer, trigger="regenerate-message")).continued_id is None  # the SDK starts a new message


def test_unknown_fields_of_the_body_are_ignored() -> None:
    context = {"system": "Be brief.", "callSettings": {"temperature": 0}, "config": {"apiKey": CANARY}}
    cases: list[dict[str, Any]] = [{"tools": {}}, {"tools": {}, **context}, {"userId": 7, "__proto__": {}}]
    for fields in cases:
        assert taken(body(HI, **fields)) == ChatRequest([{"role": "user", "content": "hi"}], shows_tools=True)


def test_fields_of_the_sdk_are_accepted() -> None:
    marked = message({**text("hi"), "state": "done", "providerMetadata": {"x": {}}}, metadata={"model": "m"})
    for fields in ({}, {"messageId": "m1"}, {"trigger": "regenerate-message", "messageId": None}):
        assert taken(body(marked, **fields)).messages == [{"role": "user", "content": "hi"}]


def test_parts_that_are_not_for_the_model_are_ignored() -> None:
    answer = message(
        {"type": "step-start"},
        {"type": "reasoning", "text": "hm", "state": "done"},
        text("a"),
        {"type": "source-url", "sourceId": "1", "url": "http://x"},
        {"type": "source-document", "sourceId": "1", "mediaType": "x", "title": "t"},
        {"type": "data-weather", "id": "1", "data": {"x": 1}},
        text("b"),
        role="assistant",
    )
    turn = taken(body(HI, answer, HI)).messages[1]
    assert turn == {"role": "assistant", "content": "ab", "extra": {"reasoning": "hm"}}


def test_an_answer_without_text_is_dropped() -> None:
    """The page keeps an empty message of an answer that was stopped at once."""
    empty = message({"type": "step-start"}, {"type": "reasoning", "text": "hm"}, role="assistant")
    assert len(taken(body(HI, empty, message(role="assistant"), HI)).messages) == 2


@pytest.mark.parametrize(
    ("part", "content"),
    [
        (tool(output="sunny"), "sunny"),
        (tool(output={"sky": ["é"]}), '{"sky":["é"]}'),
        (tool(output=None), "null"),
        (tool(output=""), ""),
        (tool("output-error", errorText="no such city"), "no such city"),
        (tool(output=1, preliminary=True, providerExecuted=False), "1"),
    ],
)
def test_a_tool_call_is_followed_by_its_result(part: dict[str, Any], content: str) -> None:
    assert taken(body(HI, message(part, role="assistant"))).messages[1:] == [
        {"role": "assistant", "content": None, "tool_calls": [called()]},
        {"role": "tool", "content": content, "tool_call_id": "c1"},
    ]


def test_a_dynamic_tool_has_its_name_in_a_field() -> None:
    part = {**tool(output="x"), "type": "dynamic-tool", "toolName": "search", "input": None}
    assert taken(body(HI, message(part, role="assistant"))).messages[1]["tool_calls"] == [
        called(name="search", arguments="{}")
    ]


UNANSWERED = ("input-streaming", "input-available", "approval-requested", "approval-responded")


@pytest.mark.parametrize("state", UNANSWERED)
def test_a_call_without_a_result_is_dropped(state: str) -> None:
    """After an answer that ended inside a call, the page sends such a part in each request."""
    answer = message({"type": "step-start"}, text("Let me look."), tool(state), role="assistant")
    assert taken(body(HI, answer, HI)).messages == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Let me look."},
        {"role": "user", "content": "hi"},
    ]
    assert len(taken(body(HI, message(tool(state), role="assistant"), HI)).messages) == 2


@pytest.mark.parametrize(
    ("part", "content"),
    [
        (tool("output-denied"), "The user did not allow this call."),
        (
            tool("output-denied", approval={"approved": False, "reason": "Too dear."}),
            "The user did not allow this call. Too dear.",
        ),
        (tool("approval-responded", approval={"approved": False}), "The user did not allow this call."),
    ],
)
def test_a_call_that_the_user_refused_has_that_as_its_result(part: dict[str, Any], content: str) -> None:
    result = taken(body(HI, message(part, role="assistant"), HI)).messages[2]
    assert result == {"role": "tool", "content": content, "tool_call_id": "c1"}


def test_arguments_that_are_not_json_are_sent_as_an_empty_object() -> None:
    part = tool("output-error", rawInput="{half", errorText="The arguments are not JSON.")
    del part["input"]
    [_, turn, _] = taken(body(HI, message(part, role="assistant"))).messages
    assert turn["tool_calls"] == [called(arguments="{}")]


def test_metadata_of_parts_belongs_to_the_turn_and_its_calls() -> None:
    state, signed = {"extra_content": {"google": {"thought_signature": "s"}}}, {"reasoning_details": [{"data": "d"}]}
    metadata = {"quartapp": {"extra": state, "turn": signed}}
    answer = message(
        {"type": "reasoning", "text": "hm"}, tool(output="sunny", callProviderMetadata=metadata), role="assistant"
    )
    [_, turn, _] = taken(body(HI, answer)).messages
    assert turn["extra"] == {"reasoning": "hm", **signed}
    assert turn["tool_calls"] == [{**called(), "extra": state}]


@pytest.mark.parametrize("name", ["callProviderMetadata", "resultProviderMetadata"])
def test_a_custom_call_keeps_its_text(name: str) -> None:
    part = tool(output="1") | {name: {"quartapp": {"kind": "custom"}}, "input": "print(1)"}
    [_, turn, _] = taken(body(HI, message(part, role="assistant"))).messages
    assert turn["tool_calls"] == [{"id": "c1", "type": "custom", "custom": {"name": "weather", "input": "print(1)"}}]


def test_an_answer_may_have_more_parts_than_a_question() -> None:
    answer = message(*[text("a"), {"type": "reasoning", "text": "b"}] * 600, role="assistant")
    assert taken(body(HI, answer, HI), CHAT_MAX_JSON_VALUES=10_000).messages[1]["content"] == "a" * 600


def test_text_after_a_result_stays_after_it() -> None:
    answer = message(
        {"type": "step-start"},
        text("Let me look."),
        tool(output="sunny"),
        tool(output="warm", toolCallId="c2"),
        {"type": "step-start"},
        text("It is sunny."),
        role="assistant",
    )
    assert taken(body(HI, answer, HI)).messages[1:] == [
        {"role": "assistant", "content": "Let me look.", "tool_calls": [called(), called("c2")]},
        {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
        {"role": "tool", "content": "warm", "tool_call_id": "c2"},
        {"role": "assistant", "content": "It is sunny."},
        {"role": "user", "content": "hi"},
    ]


def test_instructions_are_accepted_if_a_setting_allows_them() -> None:
    document = body(message(text("Be brief."), role="system"), HI)
    assert taken(document, CHAT_ALLOW_SYSTEM_ROLE=True).messages[0] == {"role": "system", "content": "Be brief."}
    assert refused(document) == ("invalid_request", "messages.0.role")


def test_a_fault_is_at_the_message_of_the_client_and_not_at_the_turn_that_it_becomes() -> None:
    answer = message(tool(output="sunny"), text("It is sunny."), role="assistant")
    document = body(HI, answer, message(text("Be brief."), role="system"))
    assert refused(document) == ("invalid_request", "messages.2.role")


# -- files


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        (file(), image()),
        (file(filename="a/b.png", providerMetadata={"x": {}}), image()),
        (file(media_type="image"), image()),
        (file(media_type="image/*"), image()),
        (file(PDF, "application/pdf"), {"type": "file", "file": {"file_data": PDF}}),
        (
            file(PDF, "application/pdf", filename="é a.pdf"),
            {"type": "file", "file": {"file_data": PDF, "filename": "é a.pdf"}},
        ),
        (file(PDF, "", filename=""), {"type": "file", "file": {"file_data": PDF}}),
        *[
            (
                file(f"data:{kind};base64,UklGRg==", kind, filename="a"),
                {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": format}},
            )
            for kind, format in {
                "audio/wav": "wav",
                "audio/x-wav": "wav",
                "audio/mpeg": "mp3",
                "audio/mp3": "mp3",
            }.items()
        ],
        (
            file("data:audio/ogg;base64,T2dnUw==", "audio/ogg"),
            {"type": "file", "file": {"file_data": "data:audio/ogg;base64,T2dnUw=="}},
        ),
    ],
)
def test_a_file_of_a_question_is_sent_by_its_media_type(part: dict[str, Any], sent: dict[str, Any]) -> None:
    assert taken(body(message(part, text("hi")))).messages == [{"role": "user", "content": [sent, text("hi")]}]
    assert taken(body(message(part))).messages == [{"role": "user", "content": [sent]}]


def test_files_and_text_stay_in_their_order() -> None:
    parts = [text("a"), text("b"), file(), text(""), file("data:image/gif;base64,R0lG"), text("c")]
    [turn] = taken(body(message(*parts))).messages
    assert turn["content"] == [text("ab"), image(), image("data:image/gif;base64,R0lG"), text("c")]


def test_the_url_of_an_image_is_passed_on_if_a_setting_allows_it() -> None:
    address = "https://example.com/a.png"
    document = body(message(file(address)))
    assert taken(document, CHAT_ALLOW_REMOTE_URLS=True).messages == [{"role": "user", "content": [image(address)]}]
    assert refused(document) == ("invalid_request", "messages.0.parts.0.url")
    for kind in ("application/pdf", "audio/wav"):
        document = body(message(file("https://example.com/a", kind)))
        assert refused(document, CHAT_ALLOW_REMOTE_URLS=True) == ("invalid_request", "messages.0.parts.0.url")


@pytest.mark.parametrize(
    ("url", "kind"),
    [(PNG, "image/png"), (PDF, "application/pdf"), ("data:audio/wav;base64,AAAAAAAA", "audio/wav")],
)
def test_the_limits_of_attachments_apply_to_files(url: str, kind: str) -> None:
    document = body(message(text("hi"), file(url, kind)), message(file()))
    assert len(taken(document, CHAT_MAX_ATTACHMENTS=2, CHAT_MAX_PROMPT_CHARS=2).messages) == 2
    assert refused(document, CHAT_MAX_ATTACHMENTS=1) == ("too_large", "messages")
    assert refused(document, CHAT_MAX_ATTACHMENT_BYTES=4) == ("too_large", "messages.0.parts.1.url")


WRONG_FILES: list[tuple[dict[str, Any], str]] = [
    ({"type": "file", "url": PNG}, "mediaType"),
    (file(media_type=None), "mediaType"),
    (file(media_type=1), "mediaType"),
    ({"type": "file", "mediaType": "image/png"}, "url"),
    (file(None, "application/pdf"), "url"),
    (file(None, "audio/wav"), "url"),
    (file(1), "url"),
    (file(CANARY), "url"),
    (file("data:image/svg+xml;base64,AAAA", "image/svg+xml"), "url"),
    (file("data:image/png;base64,AAA"), "url"),
    (file("data:application/pdf,AAAA", "application/pdf"), "url"),
    (file("JVBERi0=", "application/pdf"), "url"),
    (file("data:audio/wav,AAAA", "audio/wav"), "url"),
    (file("data:audio/wav;base64,AAA", "audio/wav"), "url"),
    (file(PDF, "application/pdf", filename="/etc/passwd"), "filename"),
    (file(PDF, "application/pdf", filename="a" * 201), "filename"),
    (file(providerReference={"openai": "file-1"}), "providerReference"),
    (file("", providerReference={"openai": "file-1"}), "providerReference"),
]


@pytest.mark.parametrize(("part", "field"), WRONG_FILES)
def test_an_invalid_file_is_reported_with_its_field(part: dict[str, Any], field: str) -> None:
    document = body(message(text("hi"), part))
    given = {"CHAT_ALLOW_REMOTE_URLS": True, "CHAT_ALLOW_FILE_IDS": True}
    assert refused(document, **given) == ("invalid_request", f"messages.0.parts.1.{field}")


def test_instructions_have_no_files() -> None:
    document = body(HI, message(text("a"), file(), role="system"))
    assert refused(document, CHAT_ALLOW_SYSTEM_ROLE=True) == ("invalid_request", "messages.1.parts.1.type")


@pytest.mark.parametrize("part", [file(), {"type": "custom", "kind": "x"}, {"type": "new"}])
def test_an_answer_may_have_parts_that_no_model_accepts(part: dict[str, Any]) -> None:
    answer = message(text("a"), part, role="assistant")
    assert taken(body(HI, answer, HI)).messages[1] == {"role": "assistant", "content": "a"}


# -- what is refused

WRONG: list[tuple[Any, str]] = [
    ({}, "id"),
    ([], ""),
    ({"id": "c1"}, "messages"),
    ({"id": 1, "messages": [HI]}, "id"),
    (body(), "messages"),
    (body(HI, trigger=CANARY), "trigger"),
    (body(HI, model=""), "model"),
    (body({"role": "user", "content": "hi"}), "messages.0.id"),
    (body(message(role="tool")), "messages.0.role"),
    (body(message(text("hi"), content="hi")), "messages.0.content"),
    (body(message("hi")), "messages.0.parts.0"),
    (body(message({"text": "hi"})), "messages.0.parts.0.type"),
    (body(message({"type": "text"})), "messages.0.parts.0.text"),
    (body(message({"type": "text", "text": 1})), "messages.0.parts.0.text"),
    (body(message()), "messages.0.parts"),
    (body(message(text(""))), "messages.0.parts"),
    (body(message({"type": "reasoning", "text": "hm"})), "messages.0.parts"),
    (body(message(*[text("a")] * 1001)), "messages.0.parts"),
    (body(message(text("hi"), {"type": CANARY})), "messages.0.parts.1.type"),
    (body(message(text("hi"), {"type": "custom", "kind": "x"})), "messages.0.parts.1.type"),
    (body(message(tool(output=1))), "messages.0.parts"),
    *[(body(message(tool(state), role="assistant")), "messages.0.parts.0") for state in (CANARY, None)],
    (body(message({**tool(output=1), "type": "tool-"}, role="assistant")), "messages.0.parts.0"),
    (body(message({**tool(output=1), "type": "dynamic-tool"}, role="assistant")), "messages.0.parts.0"),
    (body(message({**tool(output=1), "toolCallId": None}, role="assistant")), "messages.0.parts.0"),
    (body(message(*[tool(output=1)] * 129, role="assistant")), "messages.0"),
]


@pytest.mark.parametrize(("document", "path"), WRONG)
def test_a_wrong_shape_is_reported_with_its_path(document: Any, path: str) -> None:
    assert refused(document) == ("invalid_request", path)


def test_a_conversation_of_answers_without_anything_is_refused() -> None:
    assert refused(body(message(role="assistant")))[0] == "invalid_request"


def test_limits_apply_to_the_converted_turns() -> None:
    document = body(HI, message(tool(output="12345"), role="assistant"))
    assert len(taken(document, CHAT_MAX_MESSAGES=3).messages) == 3
    assert refused(document, CHAT_MAX_MESSAGES=2) == ("too_large", "messages")
    assert refused(document, CHAT_MAX_PROMPT_CHARS=20) == ("too_large", "messages")
    assert refused(body(*[HI] * 201)) == ("too_large", "messages")


# -- random messages

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "tool-", "tool-x", "dynamic-tool", "step-start", "reasoning", "data-x", "file"])},
    optional={
        "text": st.text(max_size=3) | st.none(),
        "toolCallId": st.sampled_from(["c1", "", None]),
        "toolName": st.sampled_from(["f", "", None]),
        "state": st.sampled_from(["output-available", "output-error", "input-available", None]),
        "input": ANYTHING,
        "output": ANYTHING,
        "errorText": st.none() | st.text(max_size=3),
        "mediaType": st.sampled_from(["image/png", "application/pdf", "audio/wav", "", None]),
        "url": st.sampled_from([PNG, PDF, "data:audio/wav;base64,AAAA", "", None]),
        "filename": st.none() | st.text(max_size=3),
    },
)
MESSAGES = st.fixed_dictionaries(
    {"id": st.just("m"), "role": st.sampled_from(["user", "assistant"]), "parts": st.lists(PARTS, max_size=5)}
)


@given(messages=st.lists(MESSAGES, min_size=1, max_size=4))
@examples(100)
def test_random_messages_are_accepted_unchanged_or_refused_and_nothing_else(messages: list[Any]) -> None:
    turns = taken_or_refused(body(*messages))
    calls = [call["id"] for turn in turns for call in turn.get("tool_calls", ())]
    assert calls == [turn["tool_call_id"] for turn in turns if turn["role"] == "tool"]


def taken_or_refused(document: Any) -> list[Any]:
    """Return the converted turns, at least one, or none if the document is refused with a wrong shape."""
    try:
        turns = taken(document).messages
    except ChatError as error:
        if error.code != "invalid_request":
            raise
        return []
    assert turns
    return turns


@pytest.mark.parametrize("limit", [4, 32, 100])
@pytest.mark.parametrize("name", ["input", "output"])
def test_a_tools_input_and_output_may_be_as_deep_as_the_limit(name: str, limit: int) -> None:
    value: dict[str, Any] = {}
    for _ in range(limit - 1):
        value = {"a": value}
    as_deep, deeper = (body(HI, message(tool() | {name: each}, role="assistant"), HI) for each in (value, {"a": value}))
    assert taken(as_deep, CHAT_MAX_JSON_DEPTH=limit)
    assert refused(deeper, CHAT_MAX_JSON_DEPTH=limit) == ("too_deep", None)
