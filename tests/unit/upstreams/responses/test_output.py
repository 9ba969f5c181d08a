"""The output of a response: each item is sent once in full, whatever a server omits, repeats or renumbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pytest

from quartapp.core.events import Annotation, Delta, Image, Reasoning, ToolCall
from quartapp.protocols.native.whole import WholeToolCall, merge
from tests.support import responses_upstream as upstream
from tests.support.responses_reads import (
    CLOCK,
    FIRST,
    ITEMS,
    ROME,
    SECOND,
    changed,
    completed,
    item_done,
    read,
    renamed,
    renamed_calls,
    without,
)
from tests.support.responses_upstream import (
    Document,
    begun,
    call,
    encode,
    ended,
    message,
    stream,
    text,
    thinking,
    told,
)

# -- citations and images


CITED: Document = {"url": "https://a.example/b", "title": "B", "start_index": 0, "end_index": 1}
FILE: Document = {"file_id": "file-1", "filename": "a.pdf", "index": 1}
SOURCES = [{"type": "url_citation", **CITED}, {"type": "file_citation", **FILE}]
SOURCED = completed(Delta("a"), Annotation("url_citation", **CITED), Annotation("file_citation", **FILE))


def annotations_added() -> list[Document]:
    kind, place = "response.output_text.annotation.added", {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    return [{"type": kind, **place, "annotation_index": at, "annotation": each} for at, each in enumerate(SOURCES)]


@pytest.mark.parametrize("left_out", [(), ("annotation",), ("item.done",), ("annotation", "item.done")])
def test_citations_are_sent_once_wherever_a_server_sends_them(left_out: tuple[str, ...]) -> None:
    cited = message({**text("a"), "annotations": SOURCES})
    events = stream(cited)
    after = next(at for at, each in enumerate(events) if each["type"] == "response.output_text.delta") + 1
    assert read(encode(without([*events[:after], *annotations_added(), *events[after:]], *left_out))) == SOURCED


def test_an_image_from_a_tool_of_the_server_is_sent_once() -> None:
    made = {"id": "ig_1", "type": "image_generation_call", "status": "completed", "result": "iVBORw0KGgo="}
    body = encode(stream(message("See:"), made))
    assert read(body) == completed(Delta("See:"), Image("data:image/png;base64,iVBORw0KGgo="))


# -- events that a server omits or numbers differently


@pytest.mark.parametrize("name", ITEMS)
@pytest.mark.parametrize(
    "left_out",
    [
        (),
        (".delta",),
        (".done",),
        (".delta", "text.done", "refusal.done", "arguments.done"),
        (".delta", "output_item.done"),
        (".delta", ".done"),
        (".delta", ".done", ".added"),
        (".added",),
        (".added", "output_item.done"),
    ],
    ids=" ".join,
)
def test_an_item_is_sent_completely_and_once_whichever_of_its_events_come(name: str, left_out: Sequence[str]) -> None:
    item, piece = ITEMS[name]
    reason = "tool_calls" if name == "call" else "stop"
    events = [*begun(), *without(told(item), *left_out), *ended(item)]
    assert read(encode(events)) == completed(piece, reason=reason)


@pytest.mark.parametrize("name", ITEMS)
@pytest.mark.parametrize("left_out", [(".delta",), (".delta", "output_item.done"), (".delta", "text.done"), (".done",)])
def test_an_item_is_sent_completely_without_the_output_at_the_end(name: str, left_out: Sequence[str]) -> None:
    item, piece = ITEMS[name]
    events = [*begun(), *without(told(item), *left_out), *ended()]
    assert read(encode(events)) == completed(piece, reason="tool_calls" if name == "call" else "stop")


@pytest.mark.parametrize("left_out", [(), (".delta",), (".delta", "text.done", "arguments.done"), (".delta", ".done")])
def test_several_items_are_sent_completely_and_once(left_out: Sequence[str]) -> None:
    items = [thinking("Hm."), message("One. "), call(), CLOCK, thinking("So.", id="rs_2"), message("Two.", id="msg_2")]
    answer = merge(read(encode([*begun(), *without(told(*items), *left_out), *ended(*items)])).pieces)
    assert (answer.text, answer.reasoning) == ("One. Two.", "Hm.\n\nSo.")
    assert answer.tool_calls == [WholeToolCall("call_1", "weather", ROME), WholeToolCall("call_2", "clock", "{}")]


def test_a_summary_is_sent_next_to_its_reasoning_only_if_both_are_streamed() -> None:
    item = thinking("In short.", content=["I think."])
    assert read(encode(ended(item))).pieces == (Reasoning("I think."),)
    assert read(encode([*told(item), *ended(item)])).pieces == (Reasoning("In short.\n\nI think."),)


EVERYTHING = [thinking("I think."), message("Hello"), call(), CLOCK]
COMPLETE = completed(Reasoning("I think."), Delta("Hello"), FIRST, SECOND, reason="tool_calls")


def without_id(events: Iterable[Document]) -> list[Document]:
    """Return the events as llama.cpp sends them: calls have no id, and their arguments refer to the `call_id`."""
    changed_events: list[Document] = []
    for event in changed(events, output_index=None):
        item = event.get("item", {})
        if item.get("type") == "function_call":
            event = {**event, "item": {name: value for name, value in item.items() if name != "id"}}
        if event.get("item_id", "").startswith("fc_"):
            event = {**event, "item_id": event["item_id"].replace("fc_", "call_")}
        changed_events.append(event)
    return changed_events


def numbered_anew(events: Iterable[Document]) -> list[Document]:
    """Return the events with another id of an item in each of them."""
    counted = [(number, dict(event)) for number, event in enumerate(events)]
    for number, event in counted:
        if "item" in event:
            event["item"] = {**event["item"], "id": f"id_{number}"}
        if "item_id" in event:
            event["item_id"] = f"id_{number}"
    return [event for _, event in counted]


def nameless_in(events: Iterable[Document], kind: str) -> list[Document]:
    """Return the events, those of that kind without numbers and ids."""
    nothing = {"output_index": None, "item_id": None}
    return [each for event in events for each in (changed([event], **nothing) if kind in event["type"] else [event])]


def numbered_in(events: Iterable[Document], kind: str) -> list[Document]:
    """Return the events, with the numbers of items only in those of that kind."""
    return [
        each for event in events for each in ([event] if kind in event["type"] else changed([event], output_index=None))
    ]


ODD = {
    "an output that is left out of the end": [*told(*EVERYTHING), *ended()],
    "other ids at the end": [*told(*EVERYTHING), *ended(*renamed(EVERYTHING))],
    "other ids of calls, too": [*told(*EVERYTHING), *ended(*renamed_calls(EVERYTHING))],
    "another order at the end": [*told(*EVERYTHING), *ended(EVERYTHING[1], *EVERYTHING[2:], EVERYTHING[0])],
    "no numbers of items": [*changed(told(*EVERYTHING), output_index=None), *ended(*EVERYTHING)],
    "no numbers and no ids of calls": [*without_id(told(*EVERYTHING)), *ended(*EVERYTHING)],
    "the same number for all items": [*changed(told(*EVERYTHING), output_index=0), *ended(*EVERYTHING)],
    "a new id in each event": [*numbered_anew(told(*EVERYTHING)), *ended(*EVERYTHING)],
    "an empty id for all items": [*changed(told(*EVERYTHING), item_id=""), *ended(*EVERYTHING)],
    "neither numbers nor ids of texts": [
        *changed(told(*EVERYTHING[:2]), output_index=None, item_id=None),
        *[{**event, "output_index": event["output_index"] + 2} for event in told(*EVERYTHING[2:])],
        *ended(*EVERYTHING),
    ],
    "empty ids and no numbers": [
        *changed(told(*EVERYTHING[:2]), output_index=None, item_id=""),
        *[{**event, "output_index": event["output_index"] + 2} for event in told(*EVERYTHING[2:])],
        *ended(*EVERYTHING),
    ],
    "deltas that say nothing of their items": [*nameless_in(told(*EVERYTHING[:2]), ".delta"), *ended(*EVERYTHING)],
    "ends of parts that say nothing of their items": [
        *nameless_in(told(*EVERYTHING[:2]), "text.done"),
        *ended(*EVERYTHING),
    ],
    "numbers in deltas alone": [*numbered_in(told(*EVERYTHING), ".delta"), *ended(*EVERYTHING)],
    "numbers of items alone": [*numbered_in(told(*EVERYTHING), "output_item"), *ended(*EVERYTHING)],
    "no numbers of parts": [
        *changed(told(*EVERYTHING), content_index=None, summary_index=None),
        *ended(*EVERYTHING),
    ],
    "a completion by another name": [*told(*EVERYTHING), {**ended(*EVERYTHING)[0], "type": "response.done"}],
    "no status at the end": [
        *told(*EVERYTHING),
        {"type": "response.completed", "response": {"output": EVERYTHING, "usage": upstream.USAGE}},
    ],
    "a status that nobody closed": [
        *told(*EVERYTHING),
        {
            "type": "response.completed",
            "response": {"status": "in_progress", "output": EVERYTHING, "usage": upstream.USAGE},
        },
    ],
}


@pytest.mark.parametrize("name", ODD)
def test_servers_with_their_own_numbers_and_ids_are_understood(name: str) -> None:
    assert read(encode([*begun(), *ODD[name]])) == COMPLETE


def test_done_items_of_one_number_are_all_sent() -> None:
    items = [call(), CLOCK, message("One. "), message("Two.", id="msg_2")]
    events = changed(without(told(*items), ".delta", ".added", "arguments"), output_index=1)
    expected = completed(FIRST, SECOND, Delta("One. Two."), reason="tool_calls")
    assert read(encode([*events, *ended()])) == expected


ENCRYPTED = {**thinking("Hm."), "encrypted_content": "ZW5j", "status": "completed"}


def test_an_encrypted_item_of_reasoning_goes_with_the_call_that_it_led_to() -> None:
    state = {"extra_content": {"openai": {"reasoning_items": [ENCRYPTED]}}}
    at_end = read(encode(ended(ENCRYPTED, call()))).pieces
    streamed = read(
        encode([{"type": "response.output_item.done", "output_index": 0, "item": ENCRYPTED}]),
        encode(ended(ENCRYPTED, call(), call(number=2))),
    ).pieces
    [first] = [piece for piece in at_end if isinstance(piece, ToolCall)]
    assert first.extra == state
    assert [piece.extra for piece in streamed if isinstance(piece, ToolCall)] == [state, None]


def test_reasoning_without_encrypted_content_is_no_state() -> None:
    [piece] = [piece for piece in read(encode(ended(thinking("Hm."), call()))).pieces if isinstance(piece, ToolCall)]
    assert piece.extra is None


# -- events with more than the events before them


@pytest.mark.parametrize("kind", ["text", "output_text"])
def test_a_part_of_a_message_is_text_by_either_name(kind: str) -> None:
    item = message({"type": kind, "text": "hello"})
    for events in ([item_done(item), *ended()], [item_done(item), *ended(item)], ended(item)):
        assert read(encode(events)) == completed(Delta("hello"))


@pytest.mark.parametrize("events_of", [stream, ended])
def test_encrypted_items_have_their_place_among_text_and_calls(events_of: Callable[..., list[Document]]) -> None:
    second = {**ENCRYPTED, "id": "rs_2", "encrypted_content": "c2Vj"}
    orders = {1: (ENCRYPTED, message("Look:"), second), None: (message("Look:"), ENCRYPTED, second)}
    for count, items in orders.items():
        [first, *_] = [piece for piece in read(encode(events_of(*items, call()))).pieces if isinstance(piece, ToolCall)]
        before_text = {} if count is None else {"before_text": count}
        assert first.extra == {"extra_content": {"openai": {"reasoning_items": [ENCRYPTED, second], **before_text}}}
