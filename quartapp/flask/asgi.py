"""A Flask project and its chat as one ASGI app."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import flask

try:
    from a2wsgi import WSGIMiddleware
    from a2wsgi.wsgi import build_environ
except ImportError as error:
    raise ImportError("a Flask project under ASGI needs a2wsgi: pip install 'quartapp[flask]'") from error

from quartapp.app import ChatApp
from quartapp.flask.chat import FlaskChat
from quartapp.flask.host import REQUEST_THREAD, Job, RequestThread
from quartapp.flask.project import CompleteEnviron, ProjectExchange, Receive, Send


def asgi_app(app: flask.Flask, chat: FlaskChat, workers: int) -> ChatApp:
    """Return an ASGI app that serves `chat` at its prefix, and `app` at all other paths.

    The Flask project runs in up to `workers` threads, one for each request. An answer takes one of them only until the
    model is called.
    """
    served = chat.for_server()
    rest = WSGIMiddleware(cast(Any, CompleteEnviron(app)), workers=workers)
    served.asgi_app = _Fork(app, served.asgi_app, rest, chat.url_prefix)  # type: ignore[method-assign]
    return served


class _Release:
    """The end of a request's contexts: the status and headers of the response, with those that the project adds."""

    def __init__(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.status, self.headers = status, headers
        self.done = asyncio.Event()


class _ContextThread(RequestThread):
    """The contexts of a request to the chat, in a thread that is free again once the model is called."""

    def __init__(self, app: flask.Flask, scope: Any) -> None:
        super().__init__()
        self._app = app
        self._loop = asyncio.get_running_loop()
        self._environ = cast(dict[str, Any], build_environ(scope, cast(Any, io.BytesIO())))
        self._released: _Release | None = None
        self.is_ready = asyncio.Event()
        self.refusal: flask.Response | None = None
        self.failure: BaseException | None = None

    def serve(self) -> None:
        """Run the `before_request` functions of the project, then the jobs of the chat. Called in the thread."""
        has_entered = False
        try:
            with self._app.request_context(self._environ):
                self.refusal = self._preprocess()
                self.enter()
                has_entered = True
                self._loop.call_soon_threadsafe(self.is_ready.set)
                if self.refusal is None:
                    self._run_jobs()
        except BaseException as error:
            self.failure = error
            if has_entered:  # the answer may have begun, so its client cannot get an error
                self._app.logger.error("failed after the hooks of the chat", exc_info=error)
        finally:
            self._loop.call_soon_threadsafe(self.is_ready.set)

    def _preprocess(self) -> flask.Response | None:
        try:
            result = self._app.preprocess_request()
        except Exception as error:  # noqa: BLE001 - the project's error handlers answer it
            try:
                result = self._app.handle_user_exception(error)
            except Exception as unhandled:  # noqa: BLE001 - Flask logs it
                return self._app.handle_exception(unhandled)
        if result is None:
            return None
        return self._app.process_response(self._app.make_response(result))

    def _run_jobs(self) -> None:
        while True:
            job = self.jobs.get()
            if isinstance(job, Job):
                job.run()
                continue
            response = flask.Response(status=job.status, headers=job.headers)
            try:
                job.headers = list(self._app.process_response(response).headers)
            finally:
                self._loop.call_soon_threadsafe(job.done.set)
            return

    async def release(self) -> None:
        if self._released is None:
            await self._release(200, [])

    async def headers(self, status: int, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return `headers` with those that the project adds, for example the cookie of its session.

        Once the model has been called, the project's hooks have seen an empty response with the status 200.
        """
        if self._released is None:
            return await self._release(status, headers)
        own = {name.lower() for name, _ in headers} | {"content-type", "content-length"}
        own -= {"set-cookie", "vary"}
        return headers + [pair for pair in self._released.headers if pair[0].lower() not in own]

    async def _release(self, status: int, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        self._released = _Release(status, headers)
        self.jobs.put(self._released)
        await self._released.done.wait()
        return self._released.headers

    def end(self) -> None:
        """Free the thread, if it has not been released."""
        if self._released is None:
            self._released = _Release(200, [])
            self.jobs.put(self._released)


class _Fork:
    """An ASGI app that sends requests below `prefix`, and the lifespan, to `chat`, and the others to `rest`."""

    def __init__(self, app: flask.Flask, chat: Any, rest: WSGIMiddleware, prefix: str) -> None:
        self._app = app
        self._chat = chat
        self._rest: Any = rest
        self._threads: ThreadPoolExecutor = rest.executor
        self._prefix = prefix

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        given = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        path = "/" + given.lstrip("/")  # as Flask reads it
        is_ours = path == self._prefix or path.startswith(self._prefix + "/")
        if scope["type"] != "http":
            await self._chat(scope, receive, send)
        elif is_ours:
            await self._serve_chat({**scope, "path": scope["path"].removesuffix(given) + path}, receive, send)
        else:
            exchange = ProjectExchange(receive, send)
            await self._rest(scope, exchange.receive, exchange.send)

    async def _serve_chat(self, scope: Any, receive: Receive, send: Send) -> None:
        thread = _ContextThread(self._app, scope)
        REQUEST_THREAD.set(thread)
        self._threads.submit(thread.serve)
        try:
            await thread.is_ready.wait()
            if thread.failure is not None:
                raise thread.failure
            if thread.refusal is not None:
                await _send_response(thread.refusal, ProjectExchange(receive, send).send)
                return

            async def send_with_headers(message: Any) -> None:
                if message["type"] == "http.response.start":
                    own = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]
                    headers = await thread.headers(message["status"], own)
                    message = {**message, "headers": _encoded(headers)}
                await send(message)

            await self._chat(scope, receive, send_with_headers)
        finally:
            thread.end()


async def _send_response(response: flask.Response, send: Send) -> None:
    body = response.get_data()
    with contextlib.closing(response):
        await send(
            {"type": "http.response.start", "status": response.status_code, "headers": _encoded(response.headers)}
        )
        await send({"type": "http.response.body", "body": body})


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
