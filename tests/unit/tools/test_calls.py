"""The calls of tools in one answer: concurrent, bounded, and never an exception for the client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from quartapp import ChatRequest, Principal, ToolError, ToolResult
from quartapp.hooks import HookThreads, awaited, is_async
from quartapp.tools.calls import TOO_MANY, CompleteCall, ToolLimits, ToolRunner
from quartapp.tools.tool import PythonTool
from tests.support.host_code import BASE_EXCEPTIONS

LIMITS = ToolLimits(tool_timeout_s=30, max_tool_steps=3, max_tool_calls=25, max_tool_result_chars=100)
SHORT_S = 0.05


def runner(*tools: PythonTool, limits: ToolLimits = LIMITS, user: str | None = None) -> ToolRunner:
    threads = HookThreads()

    async def run(function: Callable[[], Any]) -> Any:
        return await (awaited(function()) if is_async(function) else threads.run(function))

    request = ChatRequest([], principal=Principal(user) if user else None)
    return ToolRunner({tool.name: tool for tool in tools}, run, request, limits)


def call(name: str, arguments: str = "{}", id: str = "c1") -> CompleteCall:
    return CompleteCall(id, name, arguments)


async def results(runner: ToolRunner, *calls: CompleteCall) -> list[ToolResult]:
    return [result async for result in runner.results(calls)]


async def result_of(function: Callable[..., Any], arguments: str = "{}", **options: Any) -> ToolResult:
    [result] = await results(runner(PythonTool(function, **options)), call(function.__name__, arguments))
    return result


async def test_calls_of_one_turn_run_at_the_same_time() -> None:
    met = asyncio.Barrier(20)

    async def meet(number: int) -> int:
        await met.wait()
        return number

    calls = [call("meet", f'{{"number": {number}}}', str(number)) for number in range(20)]
    found = await results(runner(PythonTool(meet)), *calls)
    assert {(each.id, each.content) for each in found} == {(str(number), str(number)) for number in range(20)}


async def test_a_result_is_there_before_slower_ones() -> None:
    released = asyncio.Event()

    async def slow() -> str:
        await released.wait()
        return "slow"

    async def fast() -> str:
        return "fast"

    found = []
    async for result in runner(PythonTool(slow), PythonTool(fast)).results([call("slow"), call("fast", id="c2")]):
        found.append(result.content)
        released.set()
    assert found == ["fast", "slow"]


async def test_a_sync_tool_does_not_block_the_loop() -> None:
    loop = asyncio.get_running_loop()

    def ask() -> str:
        return asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "from the loop"), loop).result(10)

    assert (await result_of(ask)).content == "from the loop"


async def test_an_error_for_the_model_is_a_result() -> None:
    def fail() -> str:
        raise ToolError("There is no such city.")

    assert await result_of(fail) == ToolResult("c1", "fail", "There is no such city.", is_error=True)


async def test_another_exception_is_logged_and_its_text_is_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> str:
        raise RuntimeError("postgres://user:canary@db")

    result = await result_of(fail)
    assert result == ToolResult("c1", "fail", "The tool failed with RuntimeError.", is_error=True)
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert "canary" in str(record.exc_info[1])


@pytest.mark.parametrize("error", [*BASE_EXCEPTIONS, StopIteration("canary"), StopAsyncIteration()], ids=repr)
@pytest.mark.parametrize("is_sync", [True, False], ids=["sync", "async"])
async def test_an_exception_of_any_kind_is_a_result(error: BaseException, is_sync: bool) -> None:
    def fail() -> str:
        raise error

    async def fail_async() -> str:
        raise error

    result = await result_of(fail if is_sync else fail_async)
    assert result.is_error
    assert result.content.startswith("The tool failed with ")
    assert "canary" not in result.content


async def test_invalid_arguments_never_reach_the_function() -> None:
    called: list[int] = []

    def count(number: int) -> None:
        called.append(number)

    result = await result_of(count, '{"number": "many"}')
    assert result.is_error
    assert result.content.startswith("Invalid arguments. number: ")
    assert called == []


async def test_a_result_that_is_no_json_is_an_error() -> None:
    def give() -> object:
        return object()

    result = await result_of(give)
    assert (result.content, result.is_error) == ("The tool failed with PydanticSerializationError.", True)


async def test_a_long_result_is_cut_with_a_note() -> None:
    def flood() -> str:
        return "x" * 5_000_000

    result = await result_of(flood)
    assert result.content == "x" * 100 + "\n[truncated: the first 100 of 5000000 characters]"
    assert not result.is_error


async def test_a_long_error_is_cut_too() -> None:
    def fail() -> str:
        raise ToolError("y" * 1000)

    assert len((await result_of(fail)).content) < 200


@pytest.mark.parametrize("own_limit_s", [None, SHORT_S], ids=["setting", "option"])
async def test_a_tool_that_hangs_is_cancelled_at_its_limit(own_limit_s: float | None) -> None:
    is_cancelled = asyncio.Event()

    async def hang() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            is_cancelled.set()
        return ""

    limits = ToolLimits(SHORT_S if own_limit_s is None else 30, 3, 25, 100)
    tools = runner(PythonTool(hang, timeout_s=own_limit_s), limits=limits)
    assert tools.timeout_s([call("hang")]) == SHORT_S
    [result] = await results(tools, call("hang"))
    assert result.content == "The tool was stopped, because it took longer than 0.05 seconds."
    assert result.is_error
    await is_cancelled.wait()


async def test_a_tool_that_ignores_its_cancellation_is_left_alone() -> None:
    released = asyncio.Event()

    async def stubborn() -> str:
        while not released.is_set():
            with suppress(asyncio.CancelledError):
                await released.wait()
        return ""

    assert (await result_of(stubborn, timeout_s=SHORT_S)).is_error
    released.set()


@asynccontextmanager
async def begun(tools: ToolRunner, calls: Sequence[CompleteCall]) -> AsyncIterator[asyncio.Task[Any]]:
    """Read the results in a task, as an answer does."""

    async def read() -> None:
        async for _ in tools.results(calls):
            pass

    task = asyncio.create_task(read())
    yield task
    with suppress(asyncio.CancelledError):
        await task


async def test_cancelling_the_answer_cancels_its_tools() -> None:
    running, cancelled = asyncio.Semaphore(0), []

    async def hang(number: int) -> None:
        running.release()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    calls = [call("hang", f'{{"number": {number}}}', str(number)) for number in range(3)]
    async with begun(runner(PythonTool(hang)), calls) as task:
        for _ in calls:
            await running.acquire()
        task.cancel()
    await asyncio.sleep(0)
    assert sorted(cancelled) == [0, 1, 2]


async def test_calls_above_the_number_are_refused_in_all_steps_together() -> None:
    def count() -> str:
        return "counted"

    tools = runner(PythonTool(count), limits=ToolLimits(30, 3, 3, 1000))
    first = await results(tools, call("count", id="a"), call("count", id="b"))
    second = await results(tools, call("count", id="c"), call("count", id="d"))
    third = await results(tools, call("count", id="e"))
    contents = {each.id: each.content for each in [*first, *second, *third]}
    assert contents == {"a": "counted", "b": "counted", "c": "counted", "d": TOO_MANY, "e": TOO_MANY}


async def test_the_user_reaches_the_tool() -> None:
    def who(user: Principal) -> str:
        return user.id

    [result] = await results(runner(PythonTool(who), user="ann"), call("who"))
    assert result.content == "ann"


async def test_a_function_that_cannot_decide_asks_the_user(caplog: pytest.LogCaptureFixture) -> None:
    def pay(amount: int) -> str:
        return str(amount)

    def decide(amount: int) -> bool:
        raise LookupError(amount)

    tools = runner(PythonTool(pay, needs_approval=decide))
    assert tools.waits_for_approval(call("pay", '{"amount": 1}'))
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert not tools.waits_for_approval(call("pay", '{"amount": "much"}'))
