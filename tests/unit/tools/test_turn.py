"""One turn of a model with tools in Python: its events for the client, its calls, and the end of its stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from quartapp.core.errors import ChatError
from quartapp.core.events import Batch, Batches, Delta, Piece, Reasoning, ToolCall, Usage
from quartapp.core.request import ChatRequest
from quartapp.tools.calls import ToolLimits, ToolRunner
from quartapp.tools.tool import PythonTool
from quartapp.tools.turn import Turn

LIMITS = ToolLimits(tool_timeout_s=1, max_tool_steps=2, max_tool_calls=2, max_tool_result_chars=100)


async def weather(city: str = "Bern") -> str:
    return f"sunny in {city}"


async def run(function: Callable[[], Awaitable[Any]]) -> Any:
    return await function()


def turn(ids: set[str] | None = None, first: int = 0, *, is_later: bool = False) -> Turn:
    runner = ToolRunner({"weather": PythonTool(weather)}, run, ChatRequest([]), LIMITS)
    return Turn(runner, set() if ids is None else ids, first, is_later=is_later)


async def read(turn: Turn, *batches: Batch | Exception | None) -> list[Batch]:
    """Read a stream of these batches. None is silence."""

    async def stream() -> Batches:
        for batch in batches:
            if isinstance(batch, Exception):
                raise batch
            if batch is None:
                await asyncio.Event().wait()
            else:
                yield batch

    async with aclosing(turn.read(stream())) as found:
        return [batch async for batch in found]


def pieces(batches: list[Batch]) -> list[Piece]:
    return [piece for batch in batches for piece in batch.pieces]


OWN = ToolCall(0, "a", "weather", "{}")
THEIRS = ToolCall(1, "b", "search", "{}")


async def test_a_turn_without_own_calls_is_the_end_of_the_answer() -> None:
    batches = await read(reading := turn(), Batch(1, [Delta("x"), THEIRS]), Batch(0, finish_reason="tool_calls"))
    assert batches[-1].finish_reason == "tool_calls"
    assert (reading.has_server_calls, reading.has_client_calls) == (False, True)


async def test_the_finish_reason_of_a_turn_with_own_calls_is_kept_from_the_client() -> None:
    usage = Usage(1, 2, 3)
    batches = await read(
        reading := turn(), Batch(1, [OWN]), Batch(0, finish_reason="tool_calls"), Batch(0, usage=usage, ended=True)
    )
    assert [(each.finish_reason, each.ended) for each in batches] == [(None, False)] * 3
    assert (reading.finish_reason, batches[-1].usage) == ("tool_calls", usage)


async def test_calls_of_the_server_are_marked_in_their_first_fragment() -> None:
    batches = await read(turn(), Batch(1, [ToolCall(0, "a", "weather"), THEIRS, ToolCall(0, arguments="{}")]))
    assert [piece.executor for piece in pieces(batches) if isinstance(piece, ToolCall)] == ["server", None, None]


@pytest.mark.parametrize("id", [None, "", "a"])
async def test_a_call_without_an_id_of_its_own_gets_one(id: str | None) -> None:
    batches = await read(reading := turn({"a"}), Batch(1, [ToolCall(0, id, "weather", "{}")]))
    [call] = reading.calls
    assert call.id not in ("", "a")
    assert [piece.id for piece in pieces(batches) if isinstance(piece, ToolCall)] == [call.id]


async def test_numbers_with_gaps_do_not_meet_those_of_the_next_turn() -> None:
    ids: set[str] = set()
    await read(first := turn(ids), Batch(1, [ToolCall(0, "a", "weather"), ToolCall(5, "b", "weather")]))
    batches = await read(turn(ids, first.end), Batch(1, [ToolCall(0, "c", "weather"), ToolCall(3, "d", "weather")]))
    assert [piece.index for piece in pieces(batches) if isinstance(piece, ToolCall)] == [6, 9]


async def test_a_custom_call_with_the_name_of_a_tool_belongs_to_the_client() -> None:
    await read(reading := turn(), Batch(1, [ToolCall(0, "a", "weather", "x", kind="custom")]))
    assert (reading.has_server_calls, reading.has_client_calls) == (False, True)


async def test_a_blank_line_precedes_the_text_of_a_later_turn_for_the_client_alone() -> None:
    batches = await read(reading := turn(is_later=True), Batch(1, [Reasoning("r"), Delta("x"), Delta("y")]))
    assert pieces(batches) == [Reasoning("r"), Delta("\n\nx"), Delta("y")]
    assert reading.answer.text == "xy"


async def test_a_call_after_the_finish_reason_withdraws_it() -> None:
    first, second = Batch(1, [OWN], finish_reason="tool_calls"), Batch(1, [THEIRS], resumes=True)
    await read(reading := turn(), first, second)
    assert reading.finish_reason is None


@pytest.mark.parametrize("end", [ChatError("upstream_truncated"), ChatError("upstream_error")])
async def test_a_failure_after_the_finish_reason_leaves_the_calls_complete(end: ChatError) -> None:
    await read(reading := turn(), Batch(1, [OWN], finish_reason="tool_calls"), end)
    assert reading.finish_reason == "tool_calls"


async def test_a_failure_before_the_finish_reason_is_raised() -> None:
    with pytest.raises(ChatError):
        await read(turn(), Batch(1, [OWN]), ChatError("upstream_error"))


@pytest.mark.parametrize(("ended", "least_s", "most_s"), [(True, 0.1, 1), (False, 1.9, 3)])
async def test_silence_after_the_finish_reason_has_a_limit(ended: bool, least_s: float, most_s: float) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await read(reading := turn(), Batch(1, [OWN], finish_reason="tool_calls", ended=ended), None)
    assert least_s < loop.time() - began < most_s
    assert reading.finish_reason == "tool_calls"


async def test_state_of_a_turn_with_own_calls_is_kept_for_its_step() -> None:
    state = {"reasoning_details": [{"data": "x"}]}
    batches = await read(reading := turn(), Batch(1, [OWN]), Batch(0, extra=state, finish_reason="tool_calls"))
    assert ([each.extra for each in batches], reading.extra) == ([None, None], state)
