"""The queue of events: order, bounds, and one wake-up for all events that wait."""

from __future__ import annotations

import asyncio

from quartapp.answer.queue import EVENT_BYTES, EventQueue
from quartapp.core.events import Delta


async def test_takes_all_that_has_come_in_order() -> None:
    queue = EventQueue(max_bytes=100)
    queue.add([Delta("a"), Delta("b")], 10)
    queue.add([Delta("c")], 5)
    assert queue.take() == [Delta("a"), Delta("b"), Delta("c")]
    assert len(queue) == 0


async def test_a_consumer_waits_until_something_comes() -> None:
    queue = EventQueue(max_bytes=100)
    consumer = asyncio.create_task(queue.wait_for_event())
    await asyncio.sleep(0)
    assert queue.consumer_waits
    queue.add([Delta("a")])
    await consumer
    assert not queue.consumer_waits


async def test_a_producer_waits_while_it_is_full() -> None:
    queue = EventQueue(max_bytes=10 + 2 * EVENT_BYTES)
    fullness = []
    for size in (10, 1):
        queue.add([Delta("a")], size)
        fullness.append(queue.is_full)
    assert fullness == [False, True]
    producer = asyncio.create_task(queue.wait_for_room())
    await asyncio.sleep(0)
    assert queue.producer_waits
    queue.take()
    await producer
    assert not queue.producer_waits


async def test_a_cancelled_producer_does_not_block_the_consumer() -> None:
    queue = EventQueue(max_bytes=0)
    queue.add([Delta("a")], 1)
    producer = asyncio.create_task(queue.wait_for_room())
    await asyncio.sleep(0)
    producer.cancel()
    assert queue.take() == [Delta("a")]
    await asyncio.wait([producer])
    assert producer.cancelled()
    assert not queue.producer_waits


async def test_tiny_events_fill_it_by_what_they_take_in_memory() -> None:
    queue = EventQueue(max_bytes=100_000)
    while not queue.is_full:
        queue.add([Delta("a")] * 10, 10)
    assert len(queue) < 1000
