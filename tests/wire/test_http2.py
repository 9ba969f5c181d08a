"""Plain hypercorn's HTTP/2 over cleartext, which no setting turns off: a client that reads nothing is held back."""

from __future__ import annotations

import asyncio
import json
import secrets

import h2.connection
import h2.settings

from tests.support.raw_upstreams import RawUpstream
from tests.support.serving import CANARY_PROMPT, Servers, eventually, upstream_settings

STREAMS = 10
MAX_GROWTH_BYTES = 60 * 2**20


async def test_a_client_that_reads_nothing_over_http_2_is_paused_and_times_out(
    servers: Servers, raw_upstream: RawUpstream
) -> None:
    server = servers.get("hypercorn", **upstream_settings(raw_upstream.base_url), CHAT_WRITE_TIMEOUT_S="2")
    tags = [secrets.token_hex(8) for _ in range(STREAMS)]
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    before = server.rss_bytes()
    try:
        writer.write(questions(tags))
        await writer.drain()
        exchanges = [await raw_upstream.exchange(tag) for tag in tags]
        for exchange in exchanges:
            exchange.go()
        async with asyncio.timeout(20):
            await asyncio.gather(*(asyncio.wrap_future(exchange.closed) for exchange in exchanges))
        await eventually(lambda: len(server.answer_lines(ending="client_stalled")) == STREAMS)
        assert server.rss_bytes() - before < MAX_GROWTH_BYTES
    finally:
        writer.transport.abort()


def questions(tags: list[str]) -> bytes:
    """Return the bytes of a client with prior knowledge that requests `tags` and gives no window for the responses."""
    connection = h2.connection.H2Connection()
    connection.local_settings = h2.settings.Settings(
        client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0}
    )
    connection.initiate_connection()
    for number, tag in enumerate(tags):
        body = json.dumps({"message": f"endless_body:1 {CANARY_PROMPT} {tag}"}).encode()
        fields = {":method": "POST", ":path": "/api/stream", ":scheme": "http", ":authority": "chat"}
        own = {"content-type": "application/json", "accept": "application/x-ndjson", "x-request-id": tag}
        connection.send_headers(2 * number + 1, list((fields | own).items()))
        connection.send_data(2 * number + 1, body, end_stream=True)
    return connection.data_to_send()
