"""A page with two tools in Python: one reads the orders of the user, one cancels an order that the user approves.

hypercorn app:app
"""

import asyncio
import os
import secrets
from dataclasses import dataclass

from quart import Quart, Request, Response, request

from quartapp import Chat, Principal, ToolError

PROMPT = "You help the customers of a tea shop with their orders. Answer in one or two sentences of plain text."
DELAY_S = float(os.environ.get("DELAY_S", "0"))  # the time to cancel an order, so that a person sees the tool run

app = Quart(__name__)
app.config["SEND_FILE_MAX_AGE_DEFAULT"] = 0  # because browsers would keep your files for 12 hours
chat = Chat(app, url_prefix="/ai", system_prompt=PROMPT)


@dataclass
class Order:
    name: str
    state: str = "on its way"


orders_of: dict[str, dict[int, Order]] = {}  # by the id of the user


@chat.authenticate
def who(request: Request) -> str | None:
    """Return the user. The cookie takes the place of your login."""
    user = request.cookies.get("user", "")
    return user if user in orders_of else None


@chat.tool
async def list_orders(user: Principal) -> str:
    """List the orders of the user, with their numbers."""
    return "\n".join(f"{number}. {order.name}, {order.state}" for number, order in orders_of[user.id].items())


@chat.tool(needs_approval=True)
async def cancel_order(order: int, user: Principal) -> str:
    """Cancel an order of the user.

    Args:
        order: The number of the order.
    """
    await asyncio.sleep(DELAY_S)  # before the check, because another request may cancel the order meanwhile
    found = orders_of[user.id].get(order)
    if found is None:
        raise ToolError(f"There is no order {order}.")
    if found.state != "on its way":
        raise ToolError(f"Order {order} is {found.state}, so it cannot be cancelled.")
    found.state = "cancelled"
    return f"Order {order}, {found.name}, is cancelled."


@app.get("/")
async def page() -> Response:
    response = await app.send_static_file("page.html")
    response.headers["Content-Security-Policy"] = "default-src 'self'; img-src data:"
    if request.cookies.get("user") not in orders_of:
        user = secrets.token_urlsafe()
        orders_of[user] = {1: Order("Green tea"), 2: Order("A kettle with a dial"), 3: Order("Two cups", "delivered")}
        response.set_cookie("user", user, httponly=True, samesite="Strict")
    return response
