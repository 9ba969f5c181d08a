"""The mailbox: order, bounds, and one wake-up for all that has come."""

from __future__ import annotations

import asyncio

from quartapp.answer.queue import EVENT_BYTES, Mailbox
from quartapp.core.events import Delta


async def test_takes_all_that_has_come_in_order() -> None:
    mailbox = Mailbox(max_bytes=100)
    mailbox.add([Delta("a"), Delta("b")], 10)
    mailbox.add([Delta("c")], 5)
    assert mailbox.take() == [Delta("a"), Delta("b"), Delta("c")]
    assert len(mailbox) == 0


async def test_a_taker_waits_until_something_comes() -> None:
    mailbox = Mailbox(max_bytes=100)
    taker = asyncio.create_task(mailbox.wait_for_event())
    await asyncio.sleep(0)
    assert mailbox.taker_waits
    mailbox.add([Delta("a")])
    await taker
    assert not mailbox.taker_waits


async def test_a_giver_waits_while_it_is_full() -> None:
    mailbox = Mailbox(max_bytes=10 + 2 * EVENT_BYTES)
    fullness = []
    for size in (10, 1):
        mailbox.add([Delta("a")], size)
        fullness.append(mailbox.is_full)
    assert fullness == [False, True]
    giver = asyncio.create_task(mailbox.wait_for_room())
    await asyncio.sleep(0)
    assert mailbox.giver_waits
    mailbox.take()
    await giver
    assert not mailbox.giver_waits


async def test_a_giver_that_was_cancelled_does_not_hold_up_the_taker() -> None:
    mailbox = Mailbox(max_bytes=0)
    mailbox.add([Delta("a")], 1)
    giver = asyncio.create_task(mailbox.wait_for_room())
    await asyncio.sleep(0)
    giver.cancel()
    assert mailbox.take() == [Delta("a")]
    await asyncio.wait([giver])
    assert giver.cancelled()
    assert not mailbox.giver_waits


async def test_tiny_events_fill_it_by_what_they_take_in_memory() -> None:
    mailbox = Mailbox(max_bytes=100_000)
    while not mailbox.is_full:
        mailbox.add([Delta("a")] * 10, 10)
    assert len(mailbox) < 1000
