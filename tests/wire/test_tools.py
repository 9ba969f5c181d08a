"""Tools in Python with a server that calls them: each fault ends within its limit, and each client gets an end."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pydantic
import pytest

from quartapp import AnswerReport, Chat, ChatError, ChatRequest, Done, Principal, Step, ToolCall, ToolError, ToolResult
from tests.support.endpoints import Client, Reply, chunk, event_stream
from tests.support.host_code import BASE_EXCEPTIONS
from tests.support.loopback import CHUNKED_HEAD, Exchange, Loopback, http_chunk, reply
from tests.support.sampling import SOAK
from tests.support.tool_upstreams import Scripts, Turns, answering, ask, call, calling, serving_tools
from tests.support.wire_formats import CHUNKS, COMPLETION, DONE, FORMATS, JSON, NDJSON, SSE, SSE_GET, TEXT, UI, Format

Json = dict[str, Any]

each_format = pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
#: Formats that carry the tools of the client.
with_tools = pytest.mark.parametrize("form", [NDJSON, SSE, JSON, CHUNKS, COMPLETION], ids=lambda form: form.name)

WEATHER = calling(call("weather", {"city": "Bern"}), text="Let me look.")
FINAL = answering("It is sunny.")
TEXT_OF_ALL = "Let me look.\n\nIt is sunny."
THEIRS = {"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}
HI = {"role": "user", "content": "hi"}


async def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"sunny in {city}"


def is_complete(form: Format, answer: Reply) -> bool:
    return answer.status == 200 and form.ending(answer.body) in (DONE, None)


def records_of(answer: Reply, kind: str) -> list[Json]:
    return [record for record in answer.records if record["type"] == kind]


async def result_of(function: Callable[..., Any], arguments: Any = None, **settings: Any) -> tuple[str, Reply]:
    """Return the result that the model gets of a tool, and the answer in NDJSON."""
    turn = calling(call(function.__name__, arguments))
    async with Turns(turn, FINAL) as upstream, serving_tools(upstream, function, **settings) as client:
        answer = await ask(client, NDJSON)
        assert is_complete(NDJSON, answer), answer.body
        return upstream.results["c0"], answer


# -- every format


@each_format
async def test_a_client_gets_the_text_of_all_turns(form: Format) -> None:
    async with Turns(WEATHER, FINAL) as upstream, serving_tools(upstream, weather) as client:
        answer = await ask(client, form)
    assert is_complete(form, answer)
    if form is TEXT:
        assert answer.body.decode() == TEXT_OF_ALL
    elif form is JSON:
        assert (answer.json["text"], answer.json["usage"]["total_tokens"]) == (TEXT_OF_ALL, 24)
    elif form is COMPLETION:
        assert answer.json["choices"][0]["message"] == {"role": "assistant", "content": TEXT_OF_ALL}
    elif form is CHUNKS:
        deltas = [choice["delta"] for each in answer.data for choice in each["choices"]]
        assert "".join(delta.get("content", "") for delta in deltas) == TEXT_OF_ALL
        assert not any("tool_calls" in delta for delta in deltas)
    elif form is UI:
        assert [part["type"] for part in answer.data].count("start-step") == 2
    else:
        records = answer.records if form is NDJSON else answer.data
        kinds = ["start", "delta", "tool_call", "step", "tool_result", "delta", "done"]
        assert [record["type"] for record in records] == kinds
        assert records[-1]["usage"]["total_tokens"] == 24


@each_format
async def test_each_fault_of_a_tool_is_a_result_and_the_answer_goes_on(form: Format) -> None:
    """Twenty at once, and one each that hangs, floods, raises, and gets invalid arguments."""

    async def hangs() -> str:
        await asyncio.Event().wait()
        return ""

    def floods() -> str:
        return "x" * 5_000_000

    def raises() -> str:
        raise LookupError("a secret")

    faults = [call(each.__name__, id=each.__name__) for each in (hangs, floods, raises)]
    many = [call("weather", {"city": str(number)}, id=f"many-{number}") for number in range(20)]
    turn = calling(*many, *faults, call("weather", {"town": 1}, id="invalid"))
    async with (
        Turns(turn, FINAL) as upstream,
        serving_tools(
            upstream,
            *(weather, floods, raises),
            setup=lambda chat: chat.tool(timeout_s=0.1)(hangs),
            max_tool_result_chars=100,
        ) as client,
    ):
        answer = await ask(client, form)
        results = upstream.results
    assert is_complete(form, answer)
    assert "a secret" not in json.dumps(results) + answer.body.decode()
    assert [results[f"many-{number}"] for number in range(20)] == [f"sunny in {number}" for number in range(20)]
    assert results["hangs"] == "The tool was stopped, because it took longer than 0.1 seconds."
    assert results["floods"] == "x" * 100 + "\n[truncated: the first 100 of 5000000 characters]"
    assert results["raises"] == "The tool failed with LookupError."
    assert results["invalid"].startswith("Invalid arguments. ")


@each_format
async def test_a_model_that_never_stops_ends_with_an_error(form: Format) -> None:
    async with (
        Turns(calling(call("weather", {"city": "Bern"}))) as upstream,
        serving_tools(upstream, weather, max_tool_steps=3) as client,
    ):
        answer = await ask(client, form)
    if form is not TEXT:  # its body is aborted
        assert (form.ending if form.is_streamed else form.refused)(answer.body) == "too_many_steps"
    assert [each.json.get("tool_choice") for each in upstream.requests] == [None, None, "none"]


async def test_more_calls_than_allowed_get_an_error_as_their_result() -> None:
    ran: list[int] = []

    def count(number: int) -> str:
        ran.append(number)
        return "counted"

    turn = calling(*[call("count", {"number": number}, id=f"c{number}") for number in range(100)])
    async with Turns(turn, turn, FINAL) as upstream, serving_tools(upstream, count, max_tool_calls=150) as client:
        answer = await ask(client, NDJSON)
    assert is_complete(NDJSON, answer)
    assert (len(ran), len(records_of(answer, "tool_result"))) == (150, 200)
    assert len([each for each in records_of(answer, "tool_result") if each.get("is_error")]) == 50


# -- values and exceptions


class Point(pydantic.BaseModel):
    x: float = 1.5


@dataclasses.dataclass
class Pair:
    left: int = 1
    right: Any = None


VALUES: list[tuple[Any, str]] = [
    (None, "null"),
    (Point(), '{"x":1.5}'),
    (Pair(), '{"left":1,"right":null}'),
    (b"abc", '"abc"'),
    ([1, {"a": "é"}], '[1,{"a":"é"}]'),
    ({"share": float("nan")}, '{"share":"NaN"}'),
    ("a\ud800b", "a\ufffdb"),
    ({"a": "\ud800"}, "The tool failed with PydanticSerializationError."),
    (b"\xff", "The tool failed with PydanticSerializationError."),
    (object(), "The tool failed with PydanticSerializationError."),
    ((number for number in range(3)), "The tool failed with TypeError."),
    ("x" * 50_000_000, "x" * 100 + "\n[truncated: the first 100 of 50000000 characters]"),
]


async def test_the_value_of_a_tool_is_text_for_the_model() -> None:
    def give(number: int) -> Any:
        return VALUES[number][0]

    turn = calling(*[call("give", {"number": number}, id=f"c{number}") for number in range(len(VALUES))])
    async with Turns(turn, FINAL) as upstream, serving_tools(upstream, give, max_tool_result_chars=100) as client:
        answer = await ask(client, NDJSON)
        assert is_complete(NDJSON, answer)
        assert list(upstream.results.values()) == [text for _, text in VALUES]
    sent = {record["id"]: record["content"] for record in records_of(answer, "tool_result")}
    assert sent == upstream.results


ERRORS = [*BASE_EXCEPTIONS, StopIteration(), StopAsyncIteration(), BaseExceptionGroup("g", [KeyboardInterrupt()])]


async def test_any_exception_of_a_tool_is_a_result() -> None:
    def sync_tool(number: int) -> None:
        raise ERRORS[number]

    async def async_tool(number: int) -> None:
        raise ERRORS[number]

    tools = ("sync_tool", "async_tool")
    calls = [call(name, {"number": number}, id=f"{name}-{number}") for name in tools for number in range(len(ERRORS))]
    async with Turns(calling(*calls), FINAL) as upstream, serving_tools(upstream, sync_tool, async_tool) as client:
        assert is_complete(NDJSON, await ask(client, NDJSON))
        results = upstream.results
    assert len(results) == len(calls)
    assert [text for text in results.values() if not text.startswith("The tool failed with ") or "canary" in text] == []


async def test_a_tool_that_cancels_its_own_task_has_failed() -> None:
    async def cancels() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    assert (await result_of(cancels))[0] == "The tool failed with CancelledError."


async def test_a_tool_error_goes_to_the_model_within_the_limit_of_results() -> None:
    def refuse() -> str:
        raise ToolError("no " * 100)

    result, _ = await result_of(refuse, max_tool_result_chars=100)
    assert result.startswith("no no ")
    assert len(result) < 200


async def test_arguments_that_are_not_json_are_not_sent_back_to_the_server() -> None:
    """Many servers refuse a conversation with them."""
    async with (
        Turns(calling(call("weather", '{"city": ')), FINAL) as upstream,
        serving_tools(upstream, weather) as client,
    ):
        answer = await ask(client, JSON)
        assert [turn["tool_calls"][0]["function"]["arguments"] for turn in upstream.messages[1:2]] == ["{}"]
        assert answer.json["tool_calls"][0]["arguments"] == '{"city": '
        await ask(client, JSON, messages=[HI, *answer.json["messages"], HI])
        assert [turn["tool_calls"][0]["function"]["arguments"] for turn in upstream.messages[1:2]] == ["{}"]


async def test_40_sync_tools_that_hang_leave_room_for_the_hooks() -> None:
    release, endings = threading.Event(), list[str]()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang() -> None:
        release.wait()

    def setup(chat: Chat) -> None:
        @chat.on_answer
        def save(report: Any) -> None:
            endings.append(report.ending)
            loop.call_soon_threadsafe(ended.set)

    turn = calling(*[call("hang", id=f"c{number}") for number in range(40)])
    async with (
        Turns(turn, FINAL) as upstream,
        serving_tools(upstream, hang, setup=setup, tool_timeout_s=0.2) as client,
    ):
        assert is_complete(NDJSON, await ask(client, NDJSON))
        async with asyncio.timeout(2):
            await ended.wait()
        release.set()
    assert endings == ["done"]


# -- the turns of a server


def sending(*bodies: bytes, is_reset: bool = False) -> Callable[[Exchange], Any]:
    """Return an answer of a server that sends chunks, and then resets or keeps the connection."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(CHUNKED_HEAD + b"".join(map(http_chunk, bodies)))
        if is_reset:
            exchange.reset()
        else:
            await exchange.client_leaves()

    return answer


CALLS = (chunk({"tool_calls": [call("weather", {"city": "Bern"}, index=0)]}), chunk({}, "tool_calls"))


@pytest.mark.parametrize("turn", [sending(event_stream(*CALLS, done=False), is_reset=True), sending(WEATHER)])
async def test_the_end_of_a_connection_after_the_finish_reason_leaves_the_calls_complete(turn: Any) -> None:
    async with Turns(turn, FINAL) as upstream, serving_tools(upstream, weather) as client:
        async with asyncio.timeout(1.5):
            assert is_complete(NDJSON, await ask(client, NDJSON))
        assert upstream.results == {"c0": "sunny in Bern"}


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_a_call_that_is_not_complete_does_not_run(reason: str) -> None:
    turn = calling(call("weather", '{"city": "Be'), reason=reason)
    async with Turns(turn, FINAL) as upstream, serving_tools(upstream, weather) as client:
        answer = await ask(client, NDJSON)
    assert (answer.records[-1]["finish_reason"], len(upstream.requests)) == (reason, 1)
    assert records_of(answer, "tool_result") == []


async def test_a_truncated_turn_fails_and_its_calls_do_not_run() -> None:
    turn = event_stream(CALLS[0], done=False)
    async with Turns(turn, FINAL) as upstream, serving_tools(upstream, weather, retries=0) as client:
        answer = await ask(client, NDJSON)
    assert NDJSON.ending(answer.body) == "upstream_truncated"
    assert records_of(answer, "tool_result") == []


async def test_a_second_step_is_retried_and_has_fallbacks() -> None:
    async with (
        Turns(WEATHER, reply(503, b"{}"), reply(503, b"{}"), reply(503, b"{}")) as first,
        Turns(FINAL) as second,
    ):
        table = {
            "ours": {"kind": "compatible", "base_url": first.base_url, "fallbacks": ["other"], "retries": 1},
            "other": {"kind": "compatible", "base_url": second.base_url},
        }
        async with serving_tools(first, weather, models=table) as client:
            answer = await ask(client, JSON)
            assert answer.json["text"] == TEXT_OF_ALL
            assert (len(first.requests), len(second.requests)) == (3, 1)
            assert second.results == {"c0": "sunny in Bern"}


async def test_a_fallback_that_falls_silent_in_the_second_step_ends_with_a_timeout() -> None:
    begun = sending(event_stream(chunk({"content": "It is"}), done=False))
    async with Turns(WEATHER, reply(503, b"{}")) as first, Turns(begun) as second:
        table = {
            "ours": {"kind": "compatible", "base_url": first.base_url, "fallbacks": ["other"], "retries": 0},
            "other": {"kind": "compatible", "base_url": second.base_url},
        }
        async with serving_tools(first, weather, models=table, idle_timeout_s=1) as client:
            assert NDJSON.ending((await ask(client, NDJSON)).body) == "upstream_timeout"


async def test_a_server_that_refuses_the_second_step_ends_the_answer() -> None:
    async with Turns(WEATHER, reply(400, b"{}")) as upstream, serving_tools(upstream, weather) as client:
        assert NDJSON.ending((await ask(client, NDJSON)).body) == "upstream_refused"


async def test_state_of_a_server_comes_back_in_the_next_step() -> None:
    """Gemini and OpenRouter refuse the second step without it."""
    signed: Json = {"extra_content": {"google": {"thought_signature": "c2lnbmF0dXJl"}}}
    details = {"reasoning_details": [{"type": "reasoning.encrypted", "data": "ZGF0YQ==", "index": 0}]}
    turn = event_stream(
        chunk({"reasoning": "Hm."}),
        chunk({"tool_calls": [{"index": 0, **call("weather", {"city": "Bern"}, **signed)}]}),
        chunk(details),
        chunk({}, "tool_calls"),
    )
    async with Turns(turn, FINAL) as upstream, serving_tools(upstream, weather) as client:
        answer = await ask(client, NDJSON)
        assert upstream.messages[1]["tool_calls"][0]["extra_content"] == signed["extra_content"]
        assert upstream.messages[1]["reasoning_details"] == details["reasoning_details"]
        assert records_of(answer, "step")[0]["extra"] == details


async def test_ids_are_unique_in_an_answer_and_in_the_conversation() -> None:
    turn = calling(call("weather", {"city": "Bern"}))
    history = [HI, {"role": "assistant", "tool_calls": [{"id": "c1", "name": "weather", "arguments": "{}"}]}]
    history += [{"role": "tool", "tool_call_id": "c1", "content": "x"}]
    later = calling(call("weather", {"city": "Oslo"}, id="c1"))
    async with Turns(turn, turn, later, FINAL) as upstream, serving_tools(upstream, weather) as client:
        answer = await ask(client, NDJSON, messages=history)
        assert len(upstream.results) == 4
    ids = [record["id"] for record in records_of(answer, "tool_call")]
    assert len({*ids, "c1"}) == 4
    assert [record["index"] for record in records_of(answer, "tool_call")] == [0, 1, 2]
    assert [record["id"] for record in records_of(answer, "tool_result")] == ids


async def test_a_model_in_python_calls_tools_without_ids() -> None:
    def setup(chat: Chat) -> None:
        @chat.model("caller")
        async def caller(request: ChatRequest) -> AsyncGenerator[Any, None]:
            results = [turn["content"] for turn in request.messages if turn["role"] == "tool"]
            if len(results) < 4:
                yield ToolCall(0, None, "weather", '{"city": "Bern"}')
                yield ToolCall(1, "", "weather", '{"city": "Oslo"}')
                yield Done("tool_calls")
            else:
                yield str(results)

    async with Loopback(reply()) as upstream, serving_tools(upstream, weather, setup=setup) as client:
        answer = await ask(client, JSON, model="caller")
    assert answer.json["text"] == str(["sunny in Bern", "sunny in Oslo"] * 2)
    assert len({each["id"] for each in answer.json["tool_calls"]}) == 4


async def test_a_model_in_python_runs_calls_of_its_own_next_to_ours() -> None:
    messages: list[Json] = []

    def setup(chat: Chat) -> None:
        @chat.model("agent")
        async def agent(request: ChatRequest) -> AsyncGenerator[Any, None]:
            messages[:] = request.messages
            if request.messages[-1]["role"] == "tool":
                yield "It is sunny."
                return
            yield ToolCall(0, "a", "search", "{}", executor="server")
            yield ToolResult("a", "search", "found")
            yield ToolCall(1, "b", "weather", '{"city": "Bern"}')
            yield Done("tool_calls")

    history = [HI, {"role": "assistant", "tool_calls": [{"id": "a", "name": "search", "arguments": "{}"}]}]
    history += [{"role": "tool", "tool_call_id": "a", "content": "x"}, HI]
    async with Loopback(reply()) as upstream, serving_tools(upstream, weather, setup=setup) as client:
        answer = await ask(client, NDJSON, model="agent", messages=history)
    assert is_complete(NDJSON, answer), answer.body
    assert [(each["id"], each["content"]) for each in records_of(answer, "tool_result")] == [
        ("a", "found"),
        ("b", "sunny in Bern"),
    ]
    assert [turn["content"] for turn in messages[-2:]] == ["found", "sunny in Bern"]


# -- parameters of the client


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", ["auto", "auto"]),
        ("required", ["required", None]),
        (named := {"type": "function", "function": {"name": "weather"}}, [named, None]),
    ],
)
async def test_a_tool_is_demanded_in_the_first_step_alone(choice: Any, sent: list[Any]) -> None:
    async with Turns(WEATHER, FINAL) as upstream, serving_tools(upstream, weather) as client:
        assert is_complete(NDJSON, await ask(client, NDJSON, tool_choice=choice))
    assert [each.json.get("tool_choice") for each in upstream.requests] == sent


async def test_no_tool_is_offered_to_a_client_that_wants_none() -> None:
    async with Turns(FINAL) as upstream, serving_tools(upstream, weather, max_choices=2) as client:
        assert is_complete(CHUNKS, await ask(client, CHUNKS, tool_choice="none", n=2))
    assert "tools" not in upstream.requests[0].json


async def test_several_answers_at_once_are_refused() -> None:
    async with Turns(FINAL) as upstream, serving_tools(upstream, weather, max_choices=2) as client:
        answer = await ask(client, COMPLETION, n=2)
    assert (answer.status, answer.json["error"]["param"], upstream.requests) == (400, "n", [])


async def test_a_tool_of_the_client_with_the_name_of_ours_is_refused() -> None:
    async with Turns(FINAL) as upstream, serving_tools(upstream, weather) as client:
        tool = {"type": "function", "function": {"name": "weather"}}
        answer = await ask(client, NDJSON, tools=[THEIRS, tool])
    assert answer.error["path"] == "tools.1.function.name"


@with_tools
async def test_a_call_of_a_tool_of_the_client_ends_the_answer(form: Format) -> None:
    turn = calling(call("weather", {"city": "Bern"}), call("search", id="c1"))
    async with Turns(turn, FINAL) as upstream, serving_tools(upstream, weather) as client:
        answer = await ask(client, form, tools=[THEIRS])
        assert is_complete(form, answer)
        assert len(upstream.requests) == 1
        if form in (CHUNKS, COMPLETION):
            chunks = answer.data if form is CHUNKS else [answer.json]
            turns = [choice.get("delta") or choice.get("message") for each in chunks for choice in each["choices"]]
            calls = [each for delta in turns if delta for each in delta.get("tool_calls", [])]
            assert [(each.get("index", 0), each["id"]) for each in calls] == [(0, "c1")]
            assert "sunny" not in answer.body.decode()
        else:
            assert "sunny in Bern" in answer.body.decode()


async def test_a_client_goes_on_after_a_turn_with_calls_of_both() -> None:
    turn = calling(call("weather", {"city": "Bern"}), call("search", id="c1"))
    async with Turns(turn, FINAL) as upstream, serving_tools(upstream, weather) as client:
        document = (await ask(client, JSON, tools=[THEIRS])).json
        found = {"role": "tool", "tool_call_id": "c1", "content": "found"}
        answer = await ask(client, JSON, messages=[HI, *document["messages"], found], tools=[THEIRS])
        assert upstream.results == {"c0": "sunny in Bern", "c1": "found"}
    assert answer.json["text"] == "It is sunny."


# -- who may call


def forbid(principal: Any) -> bool:
    return False


async def forbid_later(principal: Any) -> bool:
    return False


@pytest.mark.parametrize("allow", [forbid, forbid_later])
async def test_a_tool_that_is_not_offered_does_not_run(allow: Any) -> None:
    ran: list[str] = []

    def danger() -> None:
        ran.append("danger")

    call_of_client = {"id": "a", "name": "danger", "arguments": "{}", "approved": True}
    async with (
        Turns(calling(call("danger"))) as upstream,
        serving_tools(upstream, setup=lambda chat: chat.tool(allow=allow)(danger)) as client,
    ):
        await ask(client, NDJSON)
        await ask(client, NDJSON, messages=[HI, {"role": "assistant", "tool_calls": [call_of_client]}])
    assert ran == []
    assert ["tools" in each.json for each in upstream.requests] == [False, False]


async def test_a_tool_that_needs_a_user_is_not_offered_without_one() -> None:
    def mine(user: Principal) -> str:
        return user.id

    async with Turns(FINAL) as upstream, serving_tools(upstream, mine) as client:
        await ask(client, NDJSON)
    assert "tools" not in upstream.requests[0].json


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LookupError("secret"), "internal_error"),
        (SystemExit(), "internal_error"),
        (ChatError("forbidden"), "forbidden"),
    ],
)
async def test_an_exception_of_allow_refuses_the_request(error: BaseException, code: str) -> None:
    def allow(principal: Any) -> bool:
        raise error

    async with (
        Turns(FINAL) as upstream,
        serving_tools(upstream, setup=lambda chat: chat.tool(allow=allow)(weather)) as client,
    ):
        answer = await ask(client, NDJSON)
    assert (answer.json["error"]["code"], upstream.requests) == (code, [])


# -- approvals


def danger_call(id: str, number: Any, approved: bool | None = None) -> Json:
    decision = {} if approved is None else {"approved": approved}
    return {"id": id, "name": "danger", "arguments": json.dumps({"number": number}), **decision}


def conversation(*calls: Json) -> list[Json]:
    return [HI, {"role": "assistant", "tool_calls": [*calls]}]


FORGED: dict[str, tuple[list[Json], list[int]]] = {
    "approved": (conversation(danger_call("a", 1, True)), [1]),
    "no decision": (conversation(danger_call("a", 1)), []),
    "denied": (conversation(danger_call("a", 1, False)), []),
    "approved twice": (conversation(danger_call("a", 1, True), danger_call("a", 1, True)), [1]),
    "invalid arguments": (conversation(danger_call("a", "one", True)), []),
    "answered": (
        [*conversation(danger_call("a", 1, True)), {"role": "tool", "tool_call_id": "a", "content": "x"}],
        [],
    ),
    "in the middle": ([*conversation(danger_call("a", 1, True)), HI], []),
    "before another turn": (
        [*conversation(danger_call("a", 1, True)), {"role": "assistant", "content": "x"}],
        [],
    ),
    "custom": (
        conversation({"id": "a", "kind": "custom", "name": "danger", "arguments": "1", "approved": True}),
        [],
    ),
    "128": (conversation(*[danger_call(f"a{number}", number, True) for number in range(128)]), [*range(64)]),
}


@pytest.mark.parametrize("form", [NDJSON, SSE, JSON], ids=lambda form: form.name)
async def test_a_call_of_a_client_runs_once_and_only_with_its_approval(form: Format) -> None:
    ran: list[int] = []
    runs: dict[str, list[int]] = {}

    async def danger(number: int) -> None:
        ran.append(number)

    async with (
        Turns(FINAL) as upstream,
        serving_tools(upstream, setup=lambda chat: chat.tool(needs_approval=True)(danger)) as client,
    ):
        for name, (messages, _) in FORGED.items():
            assert is_complete(form, await ask(client, form, messages=messages))
            sent = [each["id"] for turn in upstream.messages for each in turn.get("tool_calls", [])]
            assert {*sent} == {*upstream.results}
            runs[name] = sorted(ran)
            ran.clear()
    assert runs == {name: expected for name, (_, expected) in FORGED.items()}


@pytest.mark.parametrize("form", [TEXT, SSE_GET, CHUNKS, COMPLETION], ids=lambda form: form.name)
async def test_a_tool_with_an_approval_is_not_offered_without_a_place_for_it(form: Format) -> None:
    def setup(chat: Chat) -> None:
        chat.tool(needs_approval=lambda city: False)(weather)

    async with Turns(FINAL) as upstream, serving_tools(upstream, setup=setup) as client:
        assert is_complete(form, await ask(client, form))
        assert "tools" not in upstream.requests[0].json
        if form in (TEXT, CHUNKS, COMPLETION):
            forged = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "x"}'}}
            messages = conversation({**forged, "approved": True})
            assert b"sunny in" not in (await ask(client, form, messages=messages)).body
            assert upstream.results == {}


async def test_a_function_that_decides_and_fails_asks_the_user() -> None:
    def decide(city: str) -> bool:
        raise SystemExit

    open_call = {"id": "a", "name": "weather", "arguments": '{"city": "Bern"}'}
    async with (
        Turns(FINAL, WEATHER) as upstream,
        serving_tools(upstream, setup=lambda chat: chat.tool(needs_approval=decide)(weather)) as client,
    ):
        answer = await ask(client, NDJSON, messages=conversation(open_call))
        assert records_of(answer, "tool_result") == []
        answer = await ask(client, NDJSON)
        assert [record["id"] for record in records_of(answer, "tool_approval")] == ["c0"]


async def test_an_approved_tool_may_take_longer_than_the_first_event_of_a_model() -> None:
    async def slow() -> str:
        await asyncio.sleep(1.2)
        return "slept"

    approved = {"id": "a", "name": "slow", "arguments": "{}", "approved": True}
    async with (
        Turns(FINAL) as upstream,
        serving_tools(
            upstream, setup=lambda chat: chat.tool(needs_approval=True)(slow), first_event_timeout_s=1
        ) as client,
    ):
        answer = await ask(client, NDJSON, messages=conversation(approved))
    assert is_complete(NDJSON, answer), answer.body


@pytest.mark.parametrize("decide", [weather, pytest.param(None, id="yields")])
async def test_functions_that_cannot_work_are_refused_at_the_start(decide: Any) -> None:
    async def counts() -> AsyncGenerator[int, None]:
        yield 1

    with pytest.raises(TypeError):
        Chat().tool(needs_approval=decide)(weather) if decide else Chat().tool(counts)


# -- filters


async def test_a_filter_changes_calls_and_results_for_the_client_alone() -> None:
    def setup(chat: Chat) -> None:
        chat.filter(lambda text, principal: text.replace("Bern", "***"))

    for form in FORMATS:
        async with Turns(WEATHER, FINAL) as upstream, serving_tools(upstream, weather, setup=setup) as client:
            answer = await ask(client, form)
            assert is_complete(form, answer)
            assert b"Bern" not in answer.body
            assert upstream.results == {"c0": "sunny in Bern"}


# -- hooks


async def test_the_report_has_all_turns_as_messages_of_the_next_request() -> None:
    reports: list[AnswerReport] = []
    async with (
        Turns(WEATHER, FINAL) as upstream,
        serving_tools(upstream, weather, setup=lambda chat: chat.on_answer(reports.append)) as client,
    ):
        document = (await ask(client, JSON)).json
    [report] = reports
    assert report.answer is not None
    assert (report.answer.messages, report.steps) == (document["messages"], 2)
    assert [turn["role"] for turn in document["messages"]] == ["assistant", "tool", "assistant"]


async def test_code_of_the_host_app_runs_tools_for_its_user_and_can_stop_them() -> None:
    cancelled = asyncio.Event()
    chats: list[Chat] = []

    async def wait(user: Principal) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            cancelled.set()

    turn = calling(call("wait"))
    async with Turns(turn) as upstream, serving_tools(upstream, wait, setup=chats.append) as client:
        async with client.app.app_context():
            answer = chats[0].stream("hi", principal=Principal("ann"))
            async for event in answer:
                if isinstance(event, Step):
                    break
            await answer.aclose()
        async with asyncio.timeout(2):
            await cancelled.wait()


# -- time


async def test_a_tool_may_be_silent_for_longer_than_a_model_and_the_client_gets_pings() -> None:
    async def slow() -> str:
        await asyncio.sleep(1.2)
        return "slept"

    turn = calling(call("slow"), text="Wait.")
    async with (
        Scripts({"hi": [turn, FINAL]}) as upstream,
        serving_tools(upstream, slow, idle_timeout_s=1, keep_alive_s=1) as client,
    ):
        answers = await asyncio.gather(*(ask(Client(client.app), form) for form in FORMATS))
    for form, answer in zip(FORMATS, answers, strict=True):
        assert is_complete(form, answer)
        assert form.ping in answer.body


@pytest.mark.parametrize("form", [NDJSON, *(pytest.param(each, marks=SOAK) for each in (JSON, UI))])
async def test_the_time_limit_of_the_answer_cancels_its_tools(form: Format) -> None:
    cancelled = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            cancelled.set()

    async with (
        Turns(calling(call("hang"), text="Wait.")) as upstream,
        serving_tools(upstream, hang, answer_timeout_s=1) as client,
    ):
        answer = await ask(client, form)
        async with asyncio.timeout(1):
            await cancelled.wait()
    code = form.ending(answer.body) if form.is_streamed else form.refused(answer.body)
    assert code == "deadline_exceeded"
