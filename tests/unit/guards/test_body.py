"""The request's body: its content type, its size and its time limit, behind a route that only reads it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from quartapp.guards.body import read_body
from quartapp.settings.settings import Settings
from tests.support.host_code import guarded
from tests.support.scheduling import wait_all_tasks_blocked

JSON = {"Content-Type": "application/json"}
LIMIT = 1024


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


async def test_a_missing_type_is_refused() -> None:
    assert await read(body_client(), b"{}", {}) == b"unsupported_media_type"


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate", "GZIP", "identity, gzip", "x", "*"])
async def test_a_compressed_body_is_refused_and_not_parsed(coding: str) -> None:
    headers = JSON | {"Content-Encoding": coding}
    assert await read(body_client(), b"{}", headers) == b"unsupported_media_type"


@pytest.mark.parametrize("coding", ["identity", "Identity"])
async def test_identity_is_accepted_as_content_encoding(coding: str) -> None:
    assert await read(body_client(), b"{}", JSON | {"Content-Encoding": coding}) == b"{}"


# -- the size


@pytest.mark.parametrize("size", [0, 1, LIMIT - 1, LIMIT])
async def test_a_body_up_to_the_limit_is_read_unchanged(size: int) -> None:
    body = bytes(range(256)) * 4
    assert await read(body_client(), body[:size], JSON) == body[:size]


async def test_a_body_over_the_limit_is_refused() -> None:
    assert await read(body_client(), b"a" * (LIMIT + 1), JSON) == b"too_large"


async def answered(client: Any, headers: dict[str, str], *pieces: bytes) -> tuple[int | None, bytes]:
    """Return the response to a body of which only `pieces` are sent."""
    async with client.request("/", method="POST", headers=headers) as connection:
        for piece in pieces:
            await connection.send(piece)
        body = await connection.receive()
    return connection.status_code, body


async def test_a_length_over_the_limit_is_refused_before_the_body_arrives() -> None:
    for length in (LIMIT + 1, 99_999_999_999):
        response = await answered(body_client(), JSON | {"Content-Length": str(length)})
        assert response == (413, b"too_large")


async def test_pieces_over_the_limit_are_refused_before_the_end() -> None:
    assert await answered(body_client(), JSON, b"a" * LIMIT, b"a") == (413, b"too_large")


@pytest.mark.parametrize("length", ["0", "1", "-1", "abc", "1.5", "", "9" * 30])
async def test_a_false_content_length_is_harmless(length: str) -> None:
    response = await answered(body_client(), JSON | {"Content-Length": length}, b"a" * (LIMIT + 1))
    assert response == (413, b"too_large")


async def test_the_hosts_limit_applies_if_it_is_lower() -> None:
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
async def test_a_body_that_does_not_end_in_time_is_refused(pieces: list[bytes]) -> None:
    assert await answered(body_client(), JSON, *pieces) == (408, b"request_timeout")


async def test_a_body_may_come_in_pieces() -> None:
    async with body_client().request("/", method="POST", headers=JSON) as connection:
        for piece in (b'{"a"', b"", b":", b"1}"):
            await connection.send(piece)
        await connection.send_complete()
        assert await connection.receive() == b'{"a":1}'


async def test_a_wrong_type_is_refused_before_the_body_arrives() -> None:
    assert await answered(body_client(), {"Content-Type": "text/plain"}) == (415, b"unsupported_media_type")
