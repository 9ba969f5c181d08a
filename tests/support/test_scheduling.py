"""The wait for tasks."""

from __future__ import annotations

import asyncio

from tests.support.scheduling import wait_all_tasks_blocked


async def test_it_returns_once_a_chain_of_tasks_and_callbacks_has_come_to_its_end() -> None:
    loop, reached = asyncio.get_running_loop(), asyncio.Event()

    async def turns(count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)
        loop.call_soon(loop.call_soon, reached.set)
        await asyncio.Event().wait()

    task = asyncio.create_task(turns(100))
    await wait_all_tasks_blocked()
    assert reached.is_set()
    task.cancel()


async def test_it_returns_after_the_bytes_that_have_arrived_are_read() -> None:
    received: list[bytes] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read(9))
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await wait_all_tasks_blocked()
        writer.write(b"bytes")
        await wait_all_tasks_blocked()
        assert received == [b"bytes"]
        writer.close()
        await writer.wait_closed()
