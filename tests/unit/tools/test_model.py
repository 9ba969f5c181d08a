"""A model with tools: its turns, the results that go back to it, approvals, and the end of its steps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from quartapp import ChatError, ChatRequest, Delta, Step, ToolApproval, ToolCall, ToolResult, Usage
from quartapp.core.events import Batch, Batches, Piece
from quartapp.core.request import JsonObject, OpenCalls
from quartapp.hooks import awaited
from quartapp.protocols.common.calls import NO_RESULT
from quartapp.tools.calls import ToolLimits
from quartapp.tools.model import ToolModel
from quartapp.tools.tool import PythonTool
from quartapp.upstreams.model import OpenStream

LIMITS = ToolLimits(tool_timeout_s=30, max_tool_steps=3, max_tool_calls=10, max_tool_result_chars=1000)
QUESTION = {"role": "user", "content": "Do it."}
REQUEST = ChatRequest([QUESTION], shows_tools=True)
STATE = {"extra_content": {"google": {"thought_signature": "c2lnbmVk"}}}
TURN_STATE = {"reasoning_details": [{"type": "reasoning.encrypted", "data": "ZGF0YQ=="}]}

Turn = Sequence[Batch | ChatError]


class ScriptedModel:
    """A model that answers each request with the next turn. The last turn is repeated. `requests` are what it got."""

    def __init__(self, *turns: Turn) -> None:
        self._turns = turns
        self.requests: list[ChatRequest] = []

    def build(self, request: ChatRequest, /) -> OpenStream:
        turn = self._turns[min(len(self.requests), len(self._turns) - 1)]
        self.requests.append(request)
        return lambda: self._stream(turn)

    async def _stream(self, turn: Turn) -> Batches:
        for batch in turn:
            if isinstance(batch, ChatError):
                raise batch
            yield batch


def calling(*calls: ToolCall, text: str = "", reason: str | None = "tool_calls", **fields: Any) -> list[Batch]:
    pieces: list[Piece] = [Delta(text)] if text else []
    return [Batch(1, [*pieces, *calls]), Batch(1, finish_reason=reason, ended=True, **fields)]


def call(name: str, arguments: str = "{}", id: str | None = "c1", index: int = 0, **fields: Any) -> ToolCall:
    return ToolCall(index, id, name, arguments, **fields)


ANSWER = [Batch(1, [Delta("Done.")]), Batch(1, finish_reason="stop", usage=Usage(4, 5, 9), ended=True)]


def look() -> str:
    """Look it up."""
    return "found"


def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


LOOK, PAY = PythonTool(look), PythonTool(pay, needs_approval=True)


async def run(function: Callable[[], Any]) -> Any:
    return await awaited(function())


Run = Callable[[Callable[[], Any]], Awaitable[Any]]


async def batches_of(model: ScriptedModel, request: ChatRequest = REQUEST, *tools: PythonTool) -> list[Batch]:
    wrapped = ToolModel(model, tools or (LOOK, PAY), run, LIMITS, first_event_timeout_s=180)
    return [batch async for batch in wrapped.build(request)()]


async def pieces_of(model: ScriptedModel, request: ChatRequest = REQUEST) -> list[Any]:
    return [piece for batch in await batches_of(model, request) for piece in batch.pieces]


def ending(batches: Sequence[Batch]) -> str | None:
    return next((batch.finish_reason for batch in batches if batch.finish_reason), None)


def names(request: ChatRequest) -> list[str]:
    return [tool["function"]["name"] for tool in request.params.get("tools", ())]


async def test_the_result_of_a_call_goes_back_to_the_model() -> None:
    model = ScriptedModel(calling(call("look"), text="Let me see."), ANSWER)
    batches = await batches_of(model)
    assert [piece for batch in batches for piece in batch.pieces] == [
        Delta("Let me see."),
        ToolCall(0, "c1", "look", "{}", executor="server"),
        Step(),
        ToolResult("c1", "look", "found"),
        Delta("\n\nDone."),
    ]
    assert ending(batches) == "stop"
    turn, result = model.requests[1].messages[1:]
    assert turn == {
        "role": "assistant",
        "content": "Let me see.",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
    }
    assert result == {"role": "tool", "content": "found", "tool_call_id": "c1"}


async def test_the_state_of_a_turn_goes_back_with_it_and_not_with_the_answer() -> None:
    turn = calling(call("look", extra=STATE), extra=TURN_STATE)
    model = ScriptedModel(turn, ANSWER)
    batches = await batches_of(model)
    sent = model.requests[1].messages[1]
    assert (sent["tool_calls"][0]["extra"], sent["extra"]) == (STATE, TURN_STATE)
    assert Step(TURN_STATE) in [piece for batch in batches for piece in batch.pieces]
    assert [batch.extra for batch in batches if batch.extra] == []


async def test_the_state_of_the_last_turn_comes_with_its_end() -> None:
    last = [Batch(1, [Delta("a")], extra=TURN_STATE), Batch(1, finish_reason="stop")]
    batches = await batches_of(ScriptedModel(last))
    assert [(batch.finish_reason, batch.extra) for batch in batches] == [(None, None), ("stop", TURN_STATE)]


async def test_a_batch_of_the_model_is_not_changed() -> None:
    shared = Batch(1, [call("look")], finish_reason="tool_calls")
    await batches_of(ScriptedModel([shared], ANSWER))
    assert shared == Batch(1, [call("look")], finish_reason="tool_calls")


async def test_each_step_has_its_usage_and_its_time() -> None:
    model = ScriptedModel(calling(call("look"), usage=Usage(1, 2, 3)), ANSWER)
    batches = await batches_of(model)
    assert [batch.usage for batch in batches if batch.usage or batch.begins_step] == [
        Usage(1, 2, 3),
        None,
        Usage(4, 5, 9),
    ]
    assert [batch.silence_s for batch in batches if batch.begins_step] == [180]
    assert {batch.silence_s for batch in batches if {Step, ToolResult} & set(map(type, batch.pieces))} == {40}


async def test_results_go_back_in_the_order_of_the_calls() -> None:
    calls = [call("look", id="a"), call("look", id="b", index=1), call("look", '{"x": 1}', "c", 2)]
    model = ScriptedModel(calling(*calls), ANSWER)
    await batches_of(model)
    assert [turn["tool_call_id"] for turn in model.requests[1].messages[2:]] == ["a", "b", "c"]


async def test_calls_of_all_steps_have_different_numbers_and_ids() -> None:
    model = ScriptedModel(calling(call("look", id=None)), calling(call("look")), calling(call("look")), ANSWER)
    with pytest.raises(ChatError):  # in the third step it may not call
        await batches_of(model)
    model = ScriptedModel(calling(call("look")), calling(call("look")), ANSWER)
    calls = [piece for piece in await pieces_of(model) if isinstance(piece, ToolCall)]
    assert [each.index for each in calls] == [0, 1]
    assert len({each.id for each in calls}) == 2
    sent = [turn["tool_calls"][0]["id"] for turn in model.requests[2].messages if "tool_calls" in turn]
    assert sent == [each.id for each in calls]


async def test_arguments_in_fragments_are_joined() -> None:
    fragments = [call("pay", '{"amo'), ToolCall(0, arguments='unt": 7}')]
    pieces = [
        p
        for b in await batches_of(ScriptedModel(calling(*fragments), ANSWER), REQUEST, PythonTool(pay))
        for p in b.pieces
    ]
    assert ToolResult("c1", "pay", "paid 7") in pieces
    assert [piece.executor for piece in pieces if isinstance(piece, ToolCall)] == ["server", None]


async def test_the_last_step_is_without_tools_and_a_call_in_it_is_an_error() -> None:
    model = ScriptedModel(calling(call("look")))
    with pytest.raises(ChatError) as raised:
        await batches_of(model)
    assert raised.value.code == "too_many_steps"
    assert [request.params.get("tool_choice") for request in model.requests] == [None, None, "none"]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "look"}}], ids=str)
async def test_a_demanded_tool_is_demanded_once(choice: Any) -> None:
    model = ScriptedModel(calling(call("look")), ANSWER)
    await batches_of(model, replace(REQUEST, params={"tool_choice": choice}))
    assert [request.params.get("tool_choice") for request in model.requests] == [choice, None]


async def test_no_tools_are_offered_if_the_client_wants_none() -> None:
    model = ScriptedModel(ANSWER)
    await batches_of(model, replace(REQUEST, params={"tool_choice": "none"}))
    assert model.requests[0].params == {"tool_choice": "none"}


THEIRS: JsonObject = {"type": "function", "function": {"name": "open_map"}}


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"n": 2}, "n"),
        ({"tools": [THEIRS, LOOK.definition]}, "tools.1.function.name"),
        ({"tools": [{"type": "custom", "custom": {"name": "look"}}]}, "tools.0.custom.name"),
    ],
)
def test_a_request_that_tools_in_python_rule_out_is_refused(params: JsonObject, path: str) -> None:
    model = ToolModel(ScriptedModel(ANSWER), [LOOK], run, LIMITS, first_event_timeout_s=180)
    with pytest.raises(ChatError) as raised:
        model.build(replace(REQUEST, params=params))
    assert (raised.value.code, raised.value.path) == ("invalid_request", path)


async def test_tools_of_the_client_are_offered_too() -> None:
    model = ScriptedModel(ANSWER)
    await batches_of(model, replace(REQUEST, params={"tools": [THEIRS]}))
    assert names(model.requests[0]) == ["look", "pay", "open_map"]


async def test_a_call_of_the_client_ends_the_answer_after_the_results() -> None:
    model = ScriptedModel(calling(call("look"), call("open_map", id="c2", index=1)))
    batches = await batches_of(model, replace(REQUEST, params={"tools": [THEIRS]}))
    pieces = [piece for batch in batches for piece in batch.pieces]
    assert pieces[-2:] == [Step(), ToolResult("c1", "look", "found")]
    assert [piece.executor for piece in pieces if isinstance(piece, ToolCall)] == ["server", None]
    assert (ending(batches), len(model.requests)) == ("tool_calls", 1)


async def test_without_a_place_for_results_a_call_of_the_client_ends_the_answer_at_once() -> None:
    model = ScriptedModel(calling(call("look"), call("open_map", id="c2", index=1)))
    batches = await batches_of(model, replace(REQUEST, params={"tools": [THEIRS]}, shows_tools=False))
    assert not any(isinstance(piece, ToolResult | Step) for batch in batches for piece in batch.pieces)
    assert ending(batches) == "tool_calls"


@pytest.mark.parametrize("knows_all_tools", [True, False])
async def test_a_name_that_the_model_invents_is_an_error_if_all_names_are_known(knows_all_tools: bool) -> None:
    model = ScriptedModel(calling(call("look_up")), ANSWER)
    wrapped = ToolModel(model, [LOOK], run, LIMITS, first_event_timeout_s=180, knows_all_tools=knows_all_tools)
    batches = [batch async for batch in wrapped.build(replace(REQUEST, params={"tools": [THEIRS]}))()]
    results = [piece for batch in batches for piece in batch.pieces if isinstance(piece, ToolResult)]
    error = ToolResult("c1", "look_up", "There is no tool of that name. There are: look.", is_error=True)
    assert (results, ending(batches)) == (([error], "stop") if knows_all_tools else ([], "tool_calls"))


async def test_the_call_reaches_the_tool() -> None:
    def which(call: ToolCall) -> str:
        return f"{call.id} {call.arguments}"

    model = ScriptedModel(calling(call("which")), ANSWER)
    pieces = [piece for batch in await batches_of(model, REQUEST, PythonTool(which)) for piece in batch.pieces]
    assert ToolResult("c1", "which", "c1 {}") in pieces


async def test_a_tool_that_asks_is_not_offered_without_a_place_for_approvals() -> None:
    model = ScriptedModel(calling(call("pay", '{"amount": 1}')))
    batches = await batches_of(model, replace(REQUEST, shows_tools=False))
    assert names(model.requests[0]) == ["look"]
    assert not any(isinstance(piece, ToolResult) for batch in batches for piece in batch.pieces)


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_a_call_that_may_be_truncated_does_not_run(reason: str) -> None:
    batches = await batches_of(ScriptedModel(calling(call("look"), reason=reason)))
    assert ending(batches) == reason
    assert not any(isinstance(piece, ToolResult) for batch in batches for piece in batch.pieces)


async def test_a_turn_without_a_finish_reason_is_truncated_and_its_call_does_not_run() -> None:
    batches = await batches_of(ScriptedModel([Batch(1, [call("look")])]))
    assert ending(batches) is None
    assert not any(isinstance(piece, ToolResult) for batch in batches for piece in batch.pieces)


async def test_a_server_that_fails_after_the_finish_reason_of_a_turn_does_no_harm() -> None:
    turn: Turn = [*calling(call("look")), ChatError("upstream_error")]
    assert ending(await batches_of(ScriptedModel(turn, ANSWER))) == "stop"


async def test_a_server_that_fails_before_it_ends_the_answer() -> None:
    model = ScriptedModel([Batch(1, [call("look")]), ChatError("upstream_error")])
    with pytest.raises(ChatError, match="upstream_error"):
        await batches_of(model)


async def test_a_refusal_of_the_next_step_ends_the_answer() -> None:
    class Narrow(ScriptedModel):
        def build(self, request: ChatRequest, /) -> OpenStream:
            if len(request.messages) > 1:
                raise ChatError("too_large", path="messages")
            return super().build(request)

    with pytest.raises(ChatError, match="too_large"):
        await batches_of(Narrow(calling(call("look"))))


# -- approvals


async def test_a_call_that_needs_an_approval_ends_the_answer() -> None:
    model = ScriptedModel(calling(call("look"), call("pay", '{"amount": 7}', "c2", 1)))
    batches = await batches_of(model)
    pieces = [piece for batch in batches for piece in batch.pieces]
    assert pieces[2:] == [Step(), ToolApproval("c2", "pay"), ToolResult("c1", "look", "found")]
    assert (ending(batches), len(model.requests)) == ("tool_calls", 1)


def asked(*calls: JsonObject, results: Sequence[JsonObject] = (), approved: Sequence[str] = ()) -> ChatRequest:
    """Return the request that follows an answer with `calls`."""
    turn = {"role": "assistant", "content": "Shall I?", "tool_calls": list(calls), "extra": TURN_STATE}
    settled = [{"role": "assistant", "content": "Shall I?"}]
    opened = OpenCalls(turn, list(results), settled, frozenset(approved))
    return replace(REQUEST, messages=[QUESTION, *settled], open_calls=opened)


def sent(name: str, arguments: str, id: str) -> JsonObject:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}, "extra": STATE}


PAYING = sent("pay", '{"amount": 7}', "c2")


async def test_an_approved_call_runs_before_the_model_is_called() -> None:
    known = {"role": "tool", "content": "found", "tool_call_id": "c1"}
    model = ScriptedModel(ANSWER)
    request = asked(sent("look", "{}", "c1"), PAYING, results=[known], approved=["c2"])
    pieces = await pieces_of(model, request)
    assert pieces == [ToolResult("c2", "pay", "paid 7"), Delta("Done.")]
    paid = {"role": "tool", "content": "paid 7", "tool_call_id": "c2"}
    assert request.open_calls is not None
    assert model.requests[0].messages == [QUESTION, request.open_calls.turn, known, paid]


async def test_an_approved_call_next_to_a_call_without_a_result() -> None:
    model = ScriptedModel(ANSWER)
    await batches_of(model, asked(PAYING, sent("open_map", "{}", "c3"), approved=["c2"]))
    assert [turn["content"] for turn in model.requests[0].messages[2:]] == ["paid 7", NO_RESULT]


@pytest.mark.parametrize(
    "request_",
    [
        asked(PAYING),
        asked(PAYING, approved=["c9"]),
        asked(sent("open_map", "{}", "c2"), approved=["c2"]),
        asked(sent("other", "{}", "c2"), approved=["c2"]),
        replace(asked(PAYING, approved=["c2"]), messages=[QUESTION, QUESTION]),
    ],
    ids=["undecided", "another", "of the client", "not offered", "changed by a hook"],
)
async def test_no_other_call_runs(request_: ChatRequest) -> None:
    model = ScriptedModel(ANSWER)
    pieces = await pieces_of(model, request_)
    assert pieces == [Delta("Done.")]
    assert model.requests[0].messages == request_.messages


async def test_a_call_without_a_need_for_approval_runs_if_the_conversation_ends_with_it() -> None:
    assert (await pieces_of(ScriptedModel(ANSWER), asked(sent("look", "{}", "c1"))))[0].content == "found"
