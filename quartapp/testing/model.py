"""The mock model in a test: its queue of answers and faults, and the requests that it has received."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, Final, Self

from quartapp.core.events import Annotation, Delta, Done, Image, Reasoning, Refusal, ToolCall, Usage
from quartapp.mock import ASGIApp, Reply, Request, counts_tokens, create_mock, offers
from quartapp.protocols.chat_completions.encode import ChunkEncoder, usage_object
from quartapp.testing.received import ModelRequest, model_request
from quartapp.upstreams.rerouting import Rerouting, rerouted

#: A piece of a queued answer. Done is the last one, and sets the finish reason and the usage.
Answered = str | Delta | Reasoning | Refusal | ToolCall | Annotation | Image | Done

#: A function that answers a request. None stands for the answer of the mock model.
AnswerRequest = Callable[[ModelRequest], str | Iterable[Answered] | None]

#: The model of the mock server that has the cause of each error code, before the first token.
_CAUSES: Final[Mapping[str, str]] = {
    "context_too_long": "fault-context-too-long",
    "content_filtered": "fault-content-filtered",
    "upstream_refused": "fault-status:400",
    "upstream_unpaid": "fault-status:402",
    "upstream_busy": "fault-status:429",
    "upstream_error": "fault-status:500",
    "upstream_truncated": "fault-no-finish:0",
    "upstream_overloaded": "fault-status:503",
}

_ECHO: Final = "mock-echo"


class MockModel:
    """The model of a test. It answers in place of the servers of all models, whatever the settings name.

    Requests take queued answers in their order. If the queue is empty, the mock model answers as `python -m quartapp
    mock` does, and echoes the question if the request names a model of another server. If `strict` is true, such a
    request fails, and `check` reports it. `requests` are the received requests, oldest first.

    In a test, the fixture `chat_model` is one.

    >>> model = MockModel()
    >>> model.answer("Buy ", "tea.")
    >>> model
    <MockModel: 1 queued, 0 requests>
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self.requests: list[ModelRequest] = []
        self._queue: deque[Reply] = deque()
        self._unexpected: list[ModelRequest] = []
        self._function: AnswerRequest | None = None
        self._rerouting: Rerouting | None = None
        self._retries = False
        self._calls = count(1)
        self._lock = threading.Lock()  # the chat of a Flask project runs in a thread of its own
        self.app: ASGIApp = create_mock(tokens_per_s=0, choose=self._choose)

    # -- the queue

    def answer(self, *pieces: Answered) -> None:
        """Queue an answer: texts, and events of `quartapp`. Each is one chunk of the model's server.

        Done as the last piece sets the finish reason and the usage. Without it, the finish reason is `tool_calls` if
        there is a ToolCall, else `stop`.

        >>> MockModel().answer(Reasoning("Green or black?"), "Buy tea.", Done("length"))
        """
        self._queue.append(_reply(pieces))

    def call_tool(self, name: str, /, **arguments: Any) -> None:
        """Queue an answer that calls one tool with `arguments`.

        >>> MockModel().call_tool("weather", city="Bern")
        """
        call = ToolCall(0, f"call_{next(self._calls)}", name, json.dumps(arguments, ensure_ascii=False))
        self.answer(call)

    def fault(self, name: str, *pieces: Answered, after: int | None = None) -> None:
        """Queue an answer with a fault of the mock model, by its name without `fault-`: `drop`, or `status:429`.

        `after` is the number of tokens before the fault, or another number that the fault takes after its colon. If
        there are `pieces`, they are the tokens, and the fault follows the last of them unless `after` is given.
        Otherwise the model counts: `1 2 3`. docs/reference/mock.md lists the faults.

        Raises ValueError for an unknown name, or a number out of range.

        >>> MockModel().fault("drop", "Buy ", "more ")
        """
        model = f"fault-{name.removeprefix('fault-')}"
        if after is None and pieces and counts_tokens(model):
            after = len(pieces)
        if after is not None:
            model = f"{model}:{after}"
        if not offers(model):
            raise ValueError(f"the mock model has no fault {model!r}; docs/reference/mock.md lists them, drop:2 is one")
        self._queue.append(_reply(pieces, model) if pieces else Reply(model))

    def fail(self, code: str) -> None:
        """Queue a failure before the first token, by the code of the error that a client of the chat gets.

        Raises ValueError for a code that no single answer of a server causes, for example `upstream_timeout`: use
        `fault("stall")`, and a short time limit in the settings of the app.

        >>> MockModel().fail("upstream_busy")
        """
        if code not in _CAUSES:
            raise ValueError(f"fail takes a failure of a model's server: {', '.join(_CAUSES)}; not {code!r}")
        self._queue.append(Reply(_CAUSES[code]))

    def answer_each(self, function: AnswerRequest) -> AnswerRequest:
        """Answer each request that finds the queue empty with the text or the pieces that `function` returns.

        It gets the ModelRequest. If it returns None, the mock model answers. Returns `function`, so it is a decorator.

        >>> function = MockModel().answer_each(lambda request: request.text.upper())
        """
        self._function = function
        return function

    @property
    def pending(self) -> int:
        """Return the number of queued answers that no request has taken yet."""
        return len(self._queue)

    @property
    def retries(self) -> bool:
        """Return whether the chat retries failed requests as its settings say. If false, as by default, it does not.

        Each retry takes the next answer of the queue.
        """
        return self._retries

    @retries.setter
    def retries(self, value: bool) -> None:
        self._retries = value
        if self._rerouting is not None:
            self._rerouting.has_retries = value

    def reset(self) -> None:
        """Forget the queued answers and the received requests."""
        with self._lock:
            self._queue.clear()
            self.requests.clear()
            self._unexpected.clear()
            self._function = None

    def check(self) -> None:
        """Raise AssertionError if the model is strict, and a request was unexpected or an answer is still queued."""
        if self.strict and self._unexpected:
            shown = "\n".join(map(repr, self._unexpected))
            raise AssertionError(f"the model is strict, and the queue had no answer for:\n{shown}")
        if self.strict and self._queue:
            raise AssertionError(f"the model is strict, and no request took {len(self._queue)} of its queued answers")

    # -- in place of servers

    @contextmanager
    def installed(self) -> Iterator[Self]:
        """Answer the requests of all chats of this process within the `with` block, without a key and a network.

        Models in Python are code of the project, and run. Their calls of `Chat.client` are answered.
        """
        with rerouted(self.app) as rerouting:
            rerouting.has_retries = self._retries
            self._rerouting = rerouting
            try:
                yield self
            finally:
                self._rerouting = None

    def __repr__(self) -> str:
        return f"<MockModel: {self.pending} queued, {len(self.requests)} requests>"

    def _choose(self, received: Request) -> Reply | None:
        request = model_request(received)
        with self._lock:
            self.requests.append(request)
            reply = self._queue.popleft() if self._queue else None
        if reply is None and self._function is not None:
            given = self._function(request)
            reply = None if given is None else _reply([given] if isinstance(given, str) else list(given))
        if reply is not None:
            return reply
        if self.strict:
            self._unexpected.append(request)
            return Reply(_CAUSES["upstream_error"])
        return None if offers(request.model) else Reply(_ECHO)


def _reply(pieces: Sequence[Answered], model: str = _ECHO) -> Reply:
    """Return the answer as the mock server takes it. Raises TypeError for a piece of another type."""
    *before, last = pieces or ("",)
    done = last if isinstance(last, Done) else None
    events = [Delta(each) if isinstance(each, str) else each for each in (before if done else pieces)]
    for event in events:
        if isinstance(event, Done) or not isinstance(event, Answered):
            raise TypeError(f"an answer consists of str and events of quartapp, Done is the last; not {event!r}")
    if done is None:
        done = Done("tool_calls" if any(isinstance(event, ToolCall) for event in events) else "stop")
    encoder = ChunkEncoder(0, include_usage=False)
    deltas = [chunk["choices"][0]["delta"] for event in events for chunk in encoder.of(event)]
    return Reply(model, (*deltas, *([done.extra] if done.extra else [])), done.finish_reason, _usage(done.usage))


def _usage(usage: Usage | None) -> dict[str, Any] | None:
    return None if usage is None else usage_object(usage)
