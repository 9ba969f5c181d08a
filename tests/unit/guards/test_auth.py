"""Authentication: the principal of a request, and hooks of the host app that fail."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from quart import Request

from quartapp.core.errors import ChatError
from quartapp.guards.auth import authenticated
from quartapp.hooks import Authenticate, Hooks
from quartapp.quart_host import QuartHost
from tests.support.endpoints import Log, serving
from tests.support.host_code import BASE_EXCEPTIONS, guarded

# -- the principal


def named(authenticate: Authenticate | None) -> Any:
    async def name(_: Request) -> str | None:
        principal = await authenticated(QuartHost.current(), Hooks(authenticate))
        return None if principal is None else principal.id

    return guarded(name)


async def principal_of(authenticate: Authenticate | None, **headers: str) -> bytes:
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
async def test_the_principal_is_the_result_of_a_sync_or_async_hook(authenticate: Authenticate) -> None:
    assert await principal_of(authenticate, **{"X-Auth": "token-1"}) == b"ann"
    assert await principal_of(authenticate, **{"X-Auth": "token-2"}) == b"unauthorized"
    assert await principal_of(authenticate) == b"unauthorized"


async def test_without_a_hook_there_is_no_principal() -> None:
    assert await principal_of(None) == b"nobody"


async def test_an_empty_name_is_unauthorized() -> None:
    assert await principal_of(lambda _: "") == b"unauthorized"


async def test_a_hook_may_refuse_with_another_code() -> None:
    def forbid(_: Request) -> str | None:
        raise ChatError("forbidden")

    assert await principal_of(forbid) == b"forbidden"


# -- what a hook of the host's own gets wrong


@pytest.mark.parametrize(
    "name", [" ", "\t", "ann\nforged line", "a" * 201, "a" * 2**20, "\x00", "\ud800", True, 1.5, b"ann"]
)
async def test_an_unprintable_name_is_an_internal_error_and_is_not_logged(
    name: Any, caplog: pytest.LogCaptureFixture
) -> None:
    log = Log(caplog)
    async with serving(authenticate=lambda _: name) as client:
        assert (await client.ask()).error["code"] == "internal_error"
    assert len(log.text) < 10_000
    assert str(name)[:50] not in log.text or len(str(name)) < 3
    assert [record.levelname for record in caplog.records if record.name == "quartapp.request"] == ["ERROR"]


@pytest.mark.parametrize("name", ["a" * 200, "ann", "Ann Ng", "日本", 7, 0])
async def test_a_printable_name_or_a_number_is_accepted(name: str | int, caplog: pytest.LogCaptureFixture) -> None:
    log = Log(caplog)
    async with serving(authenticate=lambda _: name) as client:
        assert (await client.ask()).status == 200
    assert log.only["who"] == str(name)


@pytest.mark.parametrize("error", BASE_EXCEPTIONS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_base_exception_of_a_hook_ends_one_request(
    error: BaseException, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Request) -> str | None:
        raise error

    async def fail_later(request: Request) -> str | None:
        await asyncio.sleep(0)
        return fail(request)

    log = Log(caplog)
    async with serving(authenticate=fail_later if is_async else fail) as client:
        reply = await client.ask()
        assert (reply.error["code"], log.only["id"]) == ("internal_error", reply.error["id"])
    assert type(error).__qualname__ in log.only["causes"]
