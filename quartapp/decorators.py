"""The decorators that register functions of the project: the part of `Chat` for hooks and models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, Unpack, overload

from quartapp.answer.filter.stream import MAX_WINDOW, FilterFunction, OutputFilter
from quartapp.hooks import Authenticate, Hooks, OnAnswer, Prepare, check_parameters, is_async
from quartapp.models.own import Model, ModelFunction, OwnEntry, check_models
from quartapp.tools.tool import PythonTool, ToolOptions

AuthenticateT = TypeVar("AuthenticateT", bound=Authenticate)
PrepareT = TypeVar("PrepareT", bound=Prepare)
FilterT = TypeVar("FilterT", bound=FilterFunction)
OnAnswerT = TypeVar("OnAnswerT", bound=OnAnswer)
ToolT = TypeVar("ToolT", bound=Callable[..., Any])
ModelT = TypeVar("ModelT", bound=Model | ModelFunction)


class Decorators:
    """The hooks and models of a chat, and the decorators that register them."""

    def __init__(self) -> None:
        self._hooks = Hooks()
        self._models: dict[str, Model | ModelFunction | OwnEntry] = {}

    def authenticate(self, hook: AuthenticateT) -> AuthenticateT:
        """Register the function that identifies clients, as a decorator. A second one replaces the first.

        It gets the host app's request and returns a Principal, its id, or None for a 401.

        >>> chat = Chat()
        >>> @chat.authenticate
        ... def who(request):
        ...     return request.headers.get("X-User")
        """
        check_parameters(hook, "authenticate", "request")
        self._hooks.authenticate = hook
        return hook

    def prepare(self, hook: PrepareT) -> PrepareT:
        """Register a function that may change a request before the model is called, as a decorator.

        It gets the ChatRequest and the Principal or None. It returns the request to send, or None for no change. To
        refuse the request, it raises ChatError. Hooks run in the order of their registration.

        >>> chat = Chat()
        >>> @chat.prepare
        ... async def add_context(request, principal):
        ...     return request.with_context("Today is Monday.")
        """
        check_parameters(hook, "prepare", "request", "principal")
        self._hooks.prepare.append(hook)
        return hook

    @overload
    def filter(self, hook: FilterT) -> FilterT: ...

    @overload
    def filter(self, *, window: int = ...) -> Callable[[FilterT], FilterT]: ...

    def filter(self, hook: Any = None, *, window: int = 64) -> Any:
        """Register a function that replaces the text of answers before the client gets it, as a decorator.

        It gets a text and the Principal or None, and returns the text to send. To end the answer, it raises ChatError.
        It is sync and runs in the event loop. The last `window` characters of a text wait for the next ones, and are
        passed again with them, so the result must depend on the text alone. A match of more than `window` characters,
        which is from 1 to 4096, may be sent in part. Filters run in the order of their registration.

        Raises TypeError for an async function, and ValueError for another `window`.

        >>> chat = Chat()
        >>> @chat.filter(window=80)
        ... def redact(text, principal):
        ...     return re.sub(r"sk-\\w+", "***", text)
        """
        if type(window) is not int or not 1 <= window <= MAX_WINDOW:
            raise ValueError(f"the window of a filter is a number of characters from 1 to {MAX_WINDOW}, not {window!r}")

        def add(function: FilterT) -> FilterT:
            check_parameters(function, "filter", "text", "principal")
            if is_async(function):
                raise TypeError(f"filter takes a sync function, because each text waits for it, not {function!r}")
            self._hooks.filters.append(OutputFilter(function, window))
            return function

        return add if hook is None else add(hook)

    def on_answer(self, hook: OnAnswerT) -> OnAnswerT:
        """Register a function that gets the AnswerReport of each answer that has ended, as a decorator.

        It is called once for each answer: complete, failed, or abandoned by its client.

        >>> chat = Chat()
        >>> @chat.on_answer
        ... async def save(report):
        ...     print(report.request.text, report.text, report.ending)
        """
        check_parameters(hook, "on_answer", "report")
        self._hooks.on_answer.append(hook)
        return hook

    @overload
    def tool(self, function: ToolT, /) -> ToolT: ...

    @overload
    def tool(self, function: None = None, /, **options: Unpack[ToolOptions]) -> Callable[[ToolT], ToolT]: ...

    def tool(self, function: ToolT | None = None, /, **options: Unpack[ToolOptions]) -> Any:
        """Register a function that models may call while they answer, as a decorator. Sync ones run in a thread.

        Its name, its docstring and the types of its parameters describe it to the model. A parameter of the type
        Principal, ChatRequest or ToolCall gets the user, the request or the call, and is not described. The result goes
        to the model: a str unchanged, any other value as JSON. `ToolError` is a result too; any other exception is in
        the log.

        `name` and `description` replace those of the function. `allow(principal)` decides to whom the tool is offered.
        If `needs_approval`, or that function of the arguments returns True, the answer ends with the call, and the next
        request approves it. After `timeout_s` the call is cancelled; without it, after CHAT_TOOL_TIMEOUT_S.

        Raises TypeError for a function without types, ValueError for a name that is invalid or in use.

        >>> chat = Chat()
        >>> @chat.tool
        ... async def weather(city: str) -> str:
        ...     \"\"\"Return the weather in a city.\"\"\"
        ...     return f"21 degrees in {city}"
        """

        def add(function: ToolT) -> ToolT:
            tool = PythonTool(function, **options)
            if tool.name in self._hooks.tools:
                raise ValueError(f"tool: there is a tool {tool.name} already; set another name=")
            self._hooks.tools[tool.name] = tool
            return function

        if (allow := options.get("allow")) is not None:
            check_parameters(allow, "allow", "principal")
        return add if function is None else add(function)

    def model(
        self,
        name: str,
        *,
        fallbacks: Sequence[str] = (),
        retries: int = 0,
        offered: bool = True,
        first_event_timeout_s: float | None = None,
    ) -> Callable[[ModelT], ModelT]:
        """Register a model of your own, as a decorator: an async generator function of str or events.

        If it fails before its first event, or has none within `first_event_timeout_s`, it is retried `retries` times,
        then its `fallbacks` are called. Clients cannot request a model that is not `offered`: it is a fallback, or the
        choice of `prepare`.

        Raises TypeError for a function that can never answer, and RuntimeError once an app has started.

        >>> chat = Chat()
        >>> @chat.model("haiku")
        ... async def haiku(request):
        ...     yield "An old silent pond"
        """

        if not isinstance(name, str):
            raise TypeError("chat.model takes the name of the model; for example @chat.model('haiku')")
        if self._hooks.is_in_use:
            raise RuntimeError(f"the model {name} comes too late: an app with this chat has started")

        def add(model: ModelT) -> ModelT:
            check_models({name: model})
            self._models[name] = OwnEntry(model, tuple(fallbacks), retries, offered, first_event_timeout_s)
            return model

        return add
