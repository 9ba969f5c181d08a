"""The transport to an app in this process: it streams, and each side receives the disconnect of the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from quartapp.upstreams.in_process import ASGIMessage, InProcessTransport
from tests.support.scheduling import wait_all_tasks_blocked

Receive = Callable[[], Awaitable[ASGIMessage]]
Send = Callable[[ASGIMessage], Awaitable[None]]

START: ASGIMessage = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}


def body(data: bytes = b"", *, more: bool = True) -> ASGIMessage:
    return {"type": "http.response.body", "body": data, "more_body": more}


class App:
    """An ASGI app whose `script` a test gives; it keeps what it was called with and how its call ended."""

    def __init__(self, script: Callable[[Receive, Send], Awaitable[None]]) -> None:
        self._script = script
        self.scope: ASGIMessage = {}
        self.called = asyncio.Event()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self, scope: ASGIMessage, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.called.set()
        ending = "crashed"
        try:
            await self._script(receive, send)
            ending = "returned"
        except asyncio.CancelledError:
            ending = "cancelled"
            raise
        finally:
            self.ended.set_result(ending)


@asynccontextmanager
async def open_response(app: App, content: bytes = b"") -> AsyncIterator[httpx2.Response]:
    async with (
        httpx2.AsyncClient(transport=InProcessTransport(app)) as client,
        client.stream("POST", "http://app/v1/chat?a=1&b=%20", content=content, headers={"X-One": "1"}) as response,
    ):
        yield response


# -- what the app is given and gives


async def test_the_app_is_given_the_request_and_its_body() -> None:
    received: list[ASGIMessage] = []

    async def script(receive: Receive, send: Send) -> None:
        received.append(await receive())
        await send(START)
        await send(body(b"hello", more=False))

    app = App(script)
    async with open_response(app, "é".encode()) as response:
        assert await response.aread() == b"hello"
    assert received == [{"type": "http.request", "body": "é".encode(), "more_body": False}]
    scope = {name: app.scope[name] for name in ("type", "method", "scheme", "path", "raw_path", "query_string")}
    assert scope == {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/chat",
        "raw_path": b"/v1/chat",
        "query_string": b"a=1&b=%20",
    }
    assert (b"x-one", b"1") in app.scope["headers"]
    assert all(name == name.lower() for name, _ in app.scope["headers"])


async def test_the_client_is_given_status_headers_and_body() -> None:
    async def script(receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 429, "headers": [(b"retry-after", b"7"), (b"a", b"\xe9")]})
        await send(body(b"to"))
        await send(body(b""))
        await send(body(b"o"))
        await send(body(b" busy", more=False))

    async with open_response(App(script)) as response:
        assert response.status_code == 429
        assert response.headers["retry-after"] == "7"
        assert [data async for data in response.aiter_raw()] == [b"to", b"o", b" busy"]


async def test_a_response_without_a_body_is_complete() -> None:
    async def script(receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async with open_response(App(script)) as response:
        assert await response.aread() == b""


async def test_several_requests_at_once_are_calls_of_their_own() -> None:
    async def script(receive: Receive, send: Send) -> None:
        message = await receive()
        await send(START)
        await send(body(message["body"], more=False))

    async def post(content: bytes) -> bytes:
        async with open_response(App(script), content) as response:
            return await response.aread()

    assert await asyncio.gather(*(post(b"%d" % number) for number in range(50))) == [b"%d" % n for n in range(50)]


# -- streaming


async def test_the_app_is_at_most_a_message_ahead_of_its_client() -> None:
    sent: list[int] = []

    async def script(receive: Receive, send: Send) -> None:
        await send(START)
        for number in range(100):
            await send(body(b"%d" % number))
            sent.append(number)

    async with open_response(App(script)) as response:
        reads = response.aiter_raw()
        for number in range(10):
            assert await anext(reads) == b"%d" % number
            await wait_all_tasks_blocked()
            assert len(sent) <= number + 2


async def test_a_later_message_of_the_app_is_read_later() -> None:
    go = asyncio.Event()

    async def script(receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"first"))
        await go.wait()
        await send(body(b"second", more=False))

    async with open_response(App(script)) as response:
        reads = response.aiter_raw()
        assert await anext(reads) == b"first"
        go.set()
        assert await anext(reads) == b"second"
        assert [data async for data in reads] == []


# -- the app ends early


async def test_a_drop_before_the_response_is_a_broken_connection() -> None:
    async def script(receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    with pytest.raises(httpx2.ReadError):
        async with open_response(App(script)):
            pytest.fail("there is no response")


async def test_a_drop_in_the_body_is_a_broken_connection() -> None:
    async def script(receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"half"))
        raise asyncio.CancelledError

    async with open_response(App(script)) as response:
        reads = response.aiter_raw()
        assert await anext(reads) == b"half"
        with pytest.raises(httpx2.ReadError) as raised:
            await anext(reads)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("messages", [[], [START], [START, body(b"half")]], ids=["at once", "after start", "in body"])
async def test_a_crash_is_a_broken_connection_with_its_cause(messages: list[ASGIMessage]) -> None:
    async def script(receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        raise ValueError("the app's own fault")

    with pytest.raises(httpx2.ReadError) as raised:
        async with open_response(App(script)) as response:
            await response.aread()
    assert isinstance(raised.value.__cause__, ValueError)


@pytest.mark.parametrize("messages", [[], [START], [START, body(b"half")]], ids=["at once", "after start", "in body"])
async def test_an_app_that_returns_without_an_end_is_a_broken_connection(messages: list[ASGIMessage]) -> None:
    async def script(receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    with pytest.raises(httpx2.ReadError):
        async with open_response(App(script)) as response:
            await response.aread()


async def test_a_crash_after_a_complete_response_is_harmless() -> None:
    async def script(receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"whole", more=False))
        raise ValueError("too late")

    async with open_response(App(script)) as response:
        assert await response.aread() == b"whole"


# -- disconnects


async def silent_after(send: Send, *messages: ASGIMessage) -> None:
    for message in messages:
        await send(message)
    await asyncio.get_running_loop().create_future()


async def test_a_disconnect_cancels_an_app_that_is_silent() -> None:
    async def script(receive: Receive, send: Send) -> None:
        await silent_after(send, START, body(b"half"))

    app = App(script)
    async with open_response(app) as response:
        assert await anext(response.aiter_raw()) == b"half"
        assert not app.ended.done()
    assert app.ended.result() == "cancelled"


async def test_a_disconnect_cancels_an_app_that_waits_to_send() -> None:
    async def script(receive: Receive, send: Send) -> None:
        await send(START)
        while True:
            await send(body(b"a"))

    app = App(script)
    async with open_response(app):
        assert not app.ended.done()
    assert app.ended.result() == "cancelled"


async def test_a_disconnect_before_the_response_starts_cancels_the_app() -> None:
    async def script(receive: Receive, send: Send) -> None:
        await silent_after(send)

    async def post() -> None:
        async with open_response(app):
            pytest.fail("there is no response")

    app = App(script)
    client = asyncio.ensure_future(post())
    await app.called.wait()
    client.cancel()
    await asyncio.wait([client])
    assert client.cancelled()
    assert app.ended.result() == "cancelled"


async def test_closing_waits_for_the_cleanup_of_the_app() -> None:
    cleared = asyncio.Event()

    async def script(receive: Receive, send: Send) -> None:
        try:
            await silent_after(send, START)
        finally:
            await asyncio.sleep(0)
            cleared.set()

    async with open_response(App(script)):
        assert not cleared.is_set()
    assert cleared.is_set()


async def test_an_app_that_waits_for_a_disconnect_gets_the_message() -> None:
    messages: list[Any] = []

    async def script(receive: Receive, send: Send) -> None:
        await receive()
        waiting = asyncio.ensure_future(receive())
        try:
            await silent_after(send, START)
        except asyncio.CancelledError:
            messages.append(await waiting)
            raise

    async with open_response(App(script)):
        assert messages == []
    assert messages == [{"type": "http.disconnect"}]


async def test_closing_twice_does_no_harm() -> None:
    async def script(receive: Receive, send: Send) -> None:
        await silent_after(send, START)

    app = App(script)
    async with open_response(app) as response:
        await response.aclose()
        await response.aclose()
    assert app.ended.result() == "cancelled"
