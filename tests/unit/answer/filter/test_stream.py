"""The filter around a model's stream: its functions, its errors, and the batches that it yields."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from markupsafe import Markup

from quartapp.answer.filter.stream import FilterFunction, OutputFilter, filtered
from quartapp.core.errors import ChatError
from quartapp.core.events import Batch, Batches, Delta, Piece, Raw, ToolCall
from quartapp.core.principal import Principal
from quartapp.upstreams.model import OpenStream

STOP = Batch(0, finish_reason="stop")


def redact(text: str, principal: Any) -> str:
    return text.replace("secret", "***")


def fail(text: str, principal: Any) -> str:
    raise LookupError("secret")


def model(*batches: Batch | BaseException) -> OpenStream:
    async def stream() -> Batches:
        for batch in batches:
            if isinstance(batch, BaseException):
                raise batch
            yield batch

    return stream


async def read(open_stream: OpenStream) -> tuple[list[Batch], ChatError | None]:
    """Return the batches of a stream, and the error that ended it."""
    found = []
    try:
        async for batch in open_stream():
            found.append(batch)  # noqa: PERF401 - those before an error count
    except ChatError as error:
        return found, error
    return found, None


async def batches(
    *sent: Batch | BaseException, by: Sequence[FilterFunction] = (redact,), window: int = 8
) -> tuple[list[Batch], ChatError | None]:
    return await read(filtered(model(*sent), [OutputFilter(each, window) for each in by], None))


def text(found: Sequence[Batch]) -> str:
    return "".join(piece.text for batch in found for piece in batch.pieces if isinstance(piece, Delta))


def deltas(words: str) -> list[Batch]:
    return [Batch(1, [Delta(character)]) for character in words]


def test_without_a_filter_the_stream_of_the_model_is_unchanged() -> None:
    open_stream = model(STOP)
    assert filtered(open_stream, [], None) is open_stream


async def test_filters_run_in_order_each_with_the_result_of_the_one_before() -> None:
    calls: list[Any] = []

    def note(text: str, principal: Any) -> str:
        calls.append((text, principal))
        return text

    principal = Principal("ann")
    filters = [OutputFilter(redact, 2), OutputFilter(note, 8)]
    found, _ = await read(filtered(model(*deltas("a secret"), STOP), filters, principal))
    assert text(found) == "a ***"
    assert calls == [("a ***", principal)]


async def test_the_window_of_several_filters_is_the_largest() -> None:
    filters = [OutputFilter(redact, 1), OutputFilter(redact, 8)]
    found, _ = await read(filtered(model(Batch(1, [Delta("a" * 20)])), filters, None))
    assert [piece.text for piece in found[0].pieces if isinstance(piece, Delta)] == ["a" * 12]


async def test_all_that_waits_is_sent_with_the_finish_reason_and_at_the_end_of_the_stream() -> None:
    found, _ = await batches(*deltas("a secret"), Batch(1, finish_reason="stop"))
    assert (text(found), text(found[-1:]), found[-1].finish_reason) == ("a ***", "a ***", "stop")
    found, _ = await batches(*deltas("a secret"), Batch(1, ended=True))
    assert text(found[-1:]) == "a ***"
    found, _ = await batches(*deltas("a secret"))
    assert text(found[-1:]) == "a ***"


async def test_text_after_a_finish_reason_is_filtered() -> None:
    late = [Batch(1, [Delta("sec")], resumes=True), Batch(1, [Delta("ret")]), Batch(0, ended=True)]
    found, _ = await batches(*deltas("a "), STOP, *late)
    assert text(found) == "a ***"
    assert [batch.resumes for batch in found if batch.resumes] == [True]


async def test_a_batch_reports_that_its_events_are_held() -> None:
    found, _ = await batches(Batch(1), Batch(1, [Delta("a")]), Batch(1, [Delta("a" * 20)]), STOP)
    assert [batch.is_held for batch in found] == [False, True, False, False]


async def test_the_text_before_a_failure_of_the_server_is_sent() -> None:
    found, error = await batches(*deltas("a secret"), ChatError("upstream_error"))
    assert text(found) == "a ***"
    assert error is not None
    assert error.code == "upstream_error"


async def test_a_filter_that_ends_the_answer_drops_what_waits() -> None:
    def refuse(text: str, principal: Any) -> str:
        if "secret" in text:
            raise ChatError("brand_unsafe", message="This answer was stopped.", status=422)
        return text

    found, error = await batches(*deltas("so it is a secret, and more"), by=[refuse])
    assert "so it is a ".startswith(text(found))
    assert error is not None
    assert (error.code, error.status) == ("brand_unsafe", 422)


@pytest.mark.parametrize("result", [None, b"a", 1])
async def test_a_result_that_is_no_text_ends_the_answer(result: Any) -> None:
    found, error = await batches(*deltas("a secret"), STOP, by=[lambda text, principal: result])
    assert text(found) == ""
    assert error is not None
    assert (error.code, error.is_hosts) == ("internal_error", True)
    assert isinstance(error.__cause__, TypeError)


@pytest.mark.parametrize("failure", [LookupError("x"), StopIteration(), SystemExit(), asyncio.CancelledError()])
async def test_any_exception_of_a_filter_ends_the_answer(failure: BaseException) -> None:
    def broken(text: str, principal: Any) -> str:
        raise failure

    found, error = await batches(*deltas("a secret"), STOP, by=[redact, broken])
    assert text(found) == ""
    assert error is not None
    assert (error.code, error.is_hosts) == ("internal_error", True)


@pytest.mark.parametrize("is_shown", [True, False])
async def test_the_text_of_an_exception_is_shown_only_to_those_who_debug(is_shown: bool) -> None:
    open_stream = filtered(model(*deltas("a"), STOP), [OutputFilter(fail, 1)], None, shows_faults=is_shown)
    _, error = await read(open_stream)
    assert error is not None
    assert error.detail == ("LookupError: secret" if is_shown else None)


async def test_a_result_of_a_subclass_of_str_is_a_text() -> None:
    found, _ = await batches(*deltas("<b> & more"), STOP, by=[lambda text, principal: Markup(text)])
    assert text(found) == "<b> & more"


async def test_state_of_the_server_is_unchanged_or_dropped() -> None:
    kept, dropped = {"reasoning_details": ["a"]}, {"reasoning_details": [{"text": "a secret"}]}
    found, _ = await batches(Batch(0, extra=kept), Batch(0, extra=dropped), STOP)
    assert [batch.extra for batch in found] == [kept, {}, None]


async def test_a_closed_stream_closes_that_of_the_model() -> None:
    is_closed = False

    async def stream() -> Batches:
        nonlocal is_closed
        try:
            yield Batch(1, [Delta("a")])
            yield Batch(1, [Delta("b")])
        finally:
            is_closed = True

    batches = filtered(stream, [OutputFilter(redact, 8)], None)()
    await anext(batches)
    await batches.aclose()
    assert is_closed


async def test_events_and_chunks_keep_their_order() -> None:
    chunk = Raw(b'{"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":null}]}')
    pieces: list[Piece] = [Delta("a"), chunk, ToolCall(0, "c", "find", "{}")]
    found, _ = await batches(Batch(1, pieces), STOP)
    assert [type(piece) for batch in found for piece in batch.pieces] == [Delta, Raw, ToolCall]
