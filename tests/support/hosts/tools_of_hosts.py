"""Tools in Python for the host apps of tests. The log has the beginning and the end of tools."""

import asyncio
import logging
import threading

from quartapp import AnswerReport, Chat

logging.basicConfig(level=logging.INFO)
log = logging.getLogger("tools")

chat = Chat(url_prefix="")


@chat.tool
async def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"sunny in {city}"


@chat.tool
async def wait(seconds: float = 60) -> str:
    """Return after some seconds."""
    log.warning("the tool waits")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        await asyncio.sleep(0.05)
        log.warning("the tool was cancelled")
        raise
    return "waited"


@chat.tool
def hang() -> str:
    """Never return."""
    log.warning("the tool hangs")
    threading.Event().wait()
    return ""


@chat.tool(needs_approval=True)
async def delete_order(order: int) -> str:
    """Delete an order."""
    log.warning("order %d is deleted", order)
    return f"Order {order} is deleted."


@chat.on_answer
def ended(report: AnswerReport) -> None:
    log.warning("the answer has ended with %s", report.ending)
