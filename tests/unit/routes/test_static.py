"""The page's files over HTTP: their version in the address, caching, compression."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from quartapp.routes.static import static_files
from tests.support.endpoints import Client, Reply, serving
from tests.support.serving import ROOT

STATIC = ROOT / "quartapp" / "static"
VERSIONED = re.compile(r'(?:src|href)="(static/([0-9a-f]{16})/[^"]+)"')


@pytest_asyncio.fixture
async def client() -> AsyncIterator[Client]:
    async with serving() as client:
        yield client


async def get(client: Client, path: str, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.send(path=f"/ai/{path}", method="GET", headers=named)


async def entry(client: Client) -> str:
    """Return the address below the prefix to which the plain name of the entry redirects."""
    text = (await get(client, "static/quart-chat.js")).body.decode()
    (path,) = re.findall(r'from "\./(.+)";', text)
    return f"static/{path}"


async def test_every_file_that_the_page_links_has_a_version_and_is_immutable(client: Client) -> None:
    links = VERSIONED.findall((await get(client, "")).body.decode())
    assert len(links) > 15
    assert len({version for _, version in links}) == 1
    for path, _ in links:
        reply = await get(client, path)
        assert reply.status == 200
        assert reply.headers["Cache-Control"] == "public, max-age=31536000, immutable"


async def test_the_plain_name_of_the_entry_redirects_to_the_version_and_is_revalidated_each_time(
    client: Client,
) -> None:
    reply = await get(client, "static/quart-chat.js")
    assert reply.headers["Cache-Control"] == "no-cache"
    module = await get(client, await entry(client))
    assert module.body == (STATIC / "quart-chat.js").read_bytes()
    assert module.headers["Content-Type"] == "text/javascript; charset=utf-8"


async def test_a_plain_name_is_revalidated_by_its_etag(client: Client) -> None:
    for path in ("static/quart-chat.js", "static/chat.js"):
        first = await get(client, path)
        assert first.headers["Cache-Control"] == "no-cache"
        second = await get(client, path, If_None_Match=first.headers["ETag"])
        assert (second.status, second.body) == (304, b"")
        assert second.headers["ETag"] == first.headers["ETag"]
        assert (await get(client, path, If_None_Match='"another"')).status == 200


async def test_the_files_of_another_release_are_not_found(client: Client) -> None:
    module = (await entry(client)).replace("quart-chat.js", "element/chats.js")
    assert (await get(client, module)).status == 200
    assert (await get(client, re.sub("/[0-9a-f]{16}/", "/0123456789abcdef/", module))).status == 404


async def test_a_changed_byte_makes_another_version(tmp_path_factory: pytest.TempPathFactory) -> None:
    versions = set()
    for text in ("one", "two"):
        folder = tmp_path_factory.mktemp("static")
        (folder / "quart-chat.js").write_text("export {};")
        (folder / "other.js").write_text(text)
        versions.add(static_files(folder).version)
    assert len(versions) == 2


@pytest.mark.parametrize(
    ("accepted", "is_gzipped"),
    [("gzip, deflate, br", True), ("*", True), ("gzip;q=0", False), ("br", False), (None, False)],
)
async def test_a_file_is_compressed_for_clients_that_accept_it(
    accepted: str | None, is_gzipped: bool, client: Client
) -> None:
    headers = {} if accepted is None else {"Accept_Encoding": accepted}
    reply = await get(client, await entry(client), **headers)
    assert "Accept-Encoding" in reply.headers["Vary"]
    assert reply.headers.get("Content-Encoding") == ("gzip" if is_gzipped else None)
    body = gzip.decompress(reply.body) if is_gzipped else reply.body
    assert body == (STATIC / "quart-chat.js").read_bytes()
    assert int(reply.headers["Content-Length"]) == len(reply.body)


async def test_each_encoding_has_an_etag_of_its_own(client: Client) -> None:
    path = await entry(client)
    plain, gzipped = await get(client, path), await get(client, path, Accept_Encoding="gzip")
    assert plain.headers["ETag"] != gzipped.headers["ETag"]
    crossed = await get(client, path, Accept_Encoding="gzip", If_None_Match=plain.headers["ETag"])
    assert crossed.status == 200


@pytest.mark.parametrize("byte_range", ["bytes=3-9", "bytes=-5", "bytes=0-0,2-3", "bytes=9999999-", "lines=1-2", "-"])
async def test_any_range_gets_the_complete_file(byte_range: str, client: Client) -> None:
    conditions: list[dict[str, str]] = [{}, {"If_Range": '"another"'}]
    for condition in conditions:
        reply = await get(client, "static/chat.js", Range=byte_range, **condition)
        assert reply.status == 200
        assert reply.body == (STATIC / "chat.js").read_bytes()


@pytest.mark.parametrize("path", ["../blueprint.py", "%2e%2e/blueprint.py", "element", "", "element/../chat.js"])
async def test_nothing_but_a_file_is_found(path: str, client: Client) -> None:
    assert (await get(client, f"static/{path}")).status == 404


async def test_the_files_of_the_viewer_are_revalidated_each_time(client: Client) -> None:
    assert (await get(client, "docs/swagger-ui.css")).headers["Cache-Control"] == "no-cache"
