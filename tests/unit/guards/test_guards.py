"""Who may ask, and with what kind of body: the guards by themselves, behind a route that does nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from quart import Quart, Request, Response, request

from quartapp import ChatRequest
from quartapp.core.errors import ChatError
from quartapp.core.events import Batch, Batches, Delta
from quartapp.guards.auth import Authenticate, authenticated
from quartapp.guards.body import read_body
from quartapp.settings.settings import Settings
from tests.support.endpoints import Log, serving
from tests.support.scheduling import wait_all_tasks_blocked

JSON = {"Content-Type": "application/json"}
LIMIT = 1024


def guarded(guard: Callable[[Request], Awaitable[bytes | str | None]], **config: Any) -> Any:
    """A test client for a route that answers with what `guard` lets pass, or with the code it raised."""
    app = Quart("host", static_folder=None)
    app.config.from_mapping(config)

    @app.post("/")
    async def route() -> Response:
        try:
            passed = await guard(request)
        except ChatError as error:
            return Response(error.code, error.status)
        return Response(passed if passed is not None else "nobody")

    return app.test_client()


def body_client(**config: Any) -> Any:
    settings = Settings.load({"CHAT_MAX_BODY_BYTES": LIMIT, "CHAT_BODY_TIMEOUT_S": 0.05})
    return guarded(lambda request: read_body(request, settings), **config)


async def read(client: Any, body: bytes, headers: dict[str, str]) -> bytes:
    response = await client.post("/", data=body, headers=headers)
    return bytes(await response.get_data(as_text=False))


# -- the type


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "Application/JSON",
        " application/json ; x=y",
    ],
)
async def test_json_may_come_with_parameters_and_in_any_case(content_type: str) -> None:
    assert await read(body_client(), b"{}", {"Content-Type": content_type}) == b"{}"


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "text/plain; application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=" + "-" * 10_000,
        "multipart/form-data; boundary=x; application/json",
        "application/json-seq",
        "application/x-ndjson",
        "application/vnd.api+json",
        "application/jsonx",
        "text/json",
        "*/*",
        "application/json, text/plain",
    ],
)
async def test_any_other_type_is_refused(content_type: str) -> None:
    assert await read(body_client(), b"{}", {"Content-Type": content_type}) == b"unsupported_media_type"


async def test_no_type_at_all_is_refused() -> None:
    assert await read(body_client(), b"{}", {}) == b"unsupported_media_type"


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate", "GZIP", "identity, gzip", "x", "*"])
async def test_a_compressed_body_is_refused_and_not_looked_at(coding: str) -> None:
    headers = JSON | {"Content-Encoding": coding}
    assert await read(body_client(), b"{}", headers) == b"unsupported_media_type"


@pytest.mark.parametrize("coding", ["identity", "Identity"])
async def test_identity_is_no_compression(coding: str) -> None:
    assert await read(body_client(), b"{}", JSON | {"Content-Encoding": coding}) == b"{}"


# -- the size


@pytest.mark.parametrize("size", [0, 1, LIMIT - 1, LIMIT])
async def test_a_body_up_to_the_limit_is_read_as_it_is(size: int) -> None:
    body = bytes(range(256)) * 4
    assert await read(body_client(), body[:size], JSON) == body[:size]


async def test_a_body_over_the_limit_is_refused() -> None:
    assert await read(body_client(), b"a" * (LIMIT + 1), JSON) == b"too_large"


async def answered(client: Any, headers: dict[str, str], *pieces: bytes) -> tuple[int | None, bytes]:
    """What is answered to a body of which only `pieces` ever come."""
    async with client.request("/", method="POST", headers=headers) as connection:
        for piece in pieces:
            await connection.send(piece)
        body = await connection.receive()
    return connection.status_code, body


async def test_a_length_over_the_limit_is_refused_before_anything_comes() -> None:
    for length in (LIMIT + 1, 99_999_999_999):
        told = await answered(body_client(), JSON | {"Content-Length": str(length)})
        assert told == (413, b"too_large")


async def test_pieces_over_the_limit_are_refused_before_the_end_comes() -> None:
    assert await answered(body_client(), JSON, b"a" * LIMIT, b"a") == (413, b"too_large")


@pytest.mark.parametrize("length", ["0", "1", "-1", "abc", "1.5", "", "9" * 30])
async def test_a_length_that_is_not_true_does_no_harm(length: str) -> None:
    told = await answered(body_client(), JSON | {"Content-Length": length}, b"a" * (LIMIT + 1))
    assert told == (413, b"too_large")


async def test_the_hosts_own_limit_counts_where_it_is_the_lower_one() -> None:
    client = body_client(MAX_CONTENT_LENGTH=100)
    assert await read(client, b"a" * 101, JSON) == b"too_large"
    assert await read(client, b"a" * 100, JSON) == b"a" * 100
    assert await answered(client, JSON, b"a" * 101) == (413, b"too_large")


async def test_a_body_in_tiny_pieces_is_refused_before_its_end() -> None:
    client = guarded(lambda request: read_body(request, Settings.load({"CHAT_MAX_BODY_BYTES": 2**20})))
    async with client.request("/", method="POST", headers=JSON) as connection:
        for _ in range(300):
            await connection.send(b"a")
            await wait_all_tasks_blocked()  # the app reads each piece by itself
        assert await asyncio.wait_for(connection.receive(), 5) == b"too_large"


async def test_two_lengths_of_one_body_are_refused_and_the_connection_closed() -> None:
    headers = JSON | {"Content-Length": "2", "Transfer-Encoding": "chunked"}
    assert await read(body_client(), b"{}", headers) == b"bad_request"


# -- the time


@pytest.mark.parametrize("pieces", [[], [b"{"], [b'{"message":', b' "hi"']])
async def test_a_body_that_does_not_come_to_its_end_in_time_is_refused(pieces: list[bytes]) -> None:
    assert await answered(body_client(), JSON, *pieces) == (408, b"request_timeout")


async def test_a_body_may_come_in_pieces() -> None:
    async with body_client().request("/", method="POST", headers=JSON) as connection:
        for piece in (b'{"a"', b"", b":", b"1}"):
            await connection.send(piece)
        await connection.send_complete()
        assert await connection.receive() == b'{"a":1}'


async def test_a_type_that_is_refused_is_refused_before_the_body_comes() -> None:
    assert await answered(body_client(), {"Content-Type": "text/plain"}) == (415, b"unsupported_media_type")


# -- who asks


def named(authenticate: Authenticate | None) -> Any:
    async def name(request: Request) -> str | None:
        principal = await authenticated(request, authenticate)
        return None if principal is None else principal.id

    return guarded(name)


async def who(authenticate: Authenticate | None, **headers: str) -> bytes:
    response = await named(authenticate).post("/", headers=headers)
    return bytes(await response.get_data(as_text=False))


def by_token(request: Request) -> str | None:
    return {"token-1": "ann"}.get(request.headers.get("X-Auth", ""))


async def by_token_later(request: Request) -> str | None:
    await asyncio.sleep(0)
    return by_token(request)


class Login:
    async def __call__(self, request: Request) -> str | None:
        return by_token(request)


@pytest.mark.parametrize("authenticate", [by_token, by_token_later, Login(), lambda request: by_token_later(request)])
async def test_who_asks_is_what_the_host_says_sync_or_async(authenticate: Authenticate) -> None:
    assert await who(authenticate, **{"X-Auth": "token-1"}) == b"ann"
    assert await who(authenticate, **{"X-Auth": "token-2"}) == b"unauthorized"
    assert await who(authenticate) == b"unauthorized"


async def test_nobody_is_asked_for_where_the_host_asks_for_nobody() -> None:
    assert await who(None) == b"nobody"


async def test_a_name_that_is_empty_is_nobody() -> None:
    assert await who(lambda _: "") == b"unauthorized"


async def test_a_host_may_refuse_by_a_code_of_its_own() -> None:
    def forbid(_: Request) -> str | None:
        raise ChatError("forbidden")

    assert await who(forbid) == b"forbidden"


# -- what a hook of the host's own gets wrong


class Unheard(BaseException):
    """What is no Exception, from a host's own code."""


LEAVES = [SystemExit("canary"), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(), Unheard("canary")]


@pytest.mark.parametrize(
    "name", [" ", "\t", "ann\nforged line", "a" * 201, "a" * 2**20, "\x00", "\ud800", 0, 7, b"ann"]
)
async def test_a_name_that_is_not_fit_for_the_log_is_a_mistake_and_is_not_logged(
    name: Any, caplog: pytest.LogCaptureFixture
) -> None:
    log = Log(caplog)
    async with serving(authenticate=lambda _: name) as client:
        assert (await client.ask()).error["code"] == "internal_error"
    assert len(log.text) < 10_000
    assert str(name)[:50] not in log.text or len(str(name)) < 3
    assert [record.levelname for record in caplog.records if record.name == "quartapp.request"] == ["ERROR"]


@pytest.mark.parametrize("name", ["a" * 200, "ann", "Ann Ng", "日本"])
async def test_a_name_that_can_be_printed_is_one(name: str, caplog: pytest.LogCaptureFixture) -> None:
    log = Log(caplog)
    async with serving(authenticate=lambda _: name) as client:
        assert (await client.ask()).status == 200
    assert log.only["who"] == name


@pytest.mark.parametrize("leaving", LEAVES, ids=lambda leaving: type(leaving).__name__)
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_hook_that_wants_to_end_the_process_ends_one_request(
    leaving: BaseException, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def leave(_: Request) -> str | None:
        raise leaving

    async def leave_later(request: Request) -> str | None:
        await asyncio.sleep(0)
        return leave(request)

    log = Log(caplog)
    async with serving(authenticate=leave_later if is_async else leave) as client:
        reply = await client.ask()
        assert (reply.error["code"], log.only["id"]) == ("internal_error", reply.error["id"])
    assert type(leaving).__qualname__ in log.only["causes"]


@pytest.mark.parametrize("leaving", LEAVES, ids=lambda leaving: type(leaving).__name__)
@pytest.mark.parametrize("has_begun", [False, True])
async def test_a_model_that_wants_to_end_the_process_ends_one_answer(
    leaving: BaseException, has_begun: bool, caplog: pytest.LogCaptureFixture
) -> None:
    class Leaving:
        async def stream(self, request: ChatRequest, /) -> Batches:
            if has_begun:
                yield Batch(1, [Delta("a")])
            raise leaving

    log = Log(caplog)
    async with serving(models={"own": Leaving()}) as client:
        reply = await client.ask(Accept="application/x-ndjson")
    code = reply.records[-1]["code"] if has_begun else reply.error["code"]
    assert (code, log.only["ending"]) == ("internal_error", "internal_error")
