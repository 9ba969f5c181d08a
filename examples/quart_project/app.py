"""A Quart project with the chat at /ai, for users with a token.

ALICE_TOKEN=secret hypercorn app:app
"""

import hmac
import os

from quart import Quart, Request

from quartapp import Chat, bearer_token

app = Quart(__name__)
chat = Chat(app, url_prefix="/ai")

TOKENS = {"alice": os.environ["ALICE_TOKEN"]}


@chat.authenticate
def who(request: Request) -> str | None:
    """Return the owner of the request's token, or None, which is answered with 401."""
    given = bearer_token(request).encode()
    owners = [name for name, token in TOKENS.items() if hmac.compare_digest(token.encode(), given)]
    return owners[0] if given and owners else None


@app.get("/")
async def home() -> str:
    return "A project of its own; the chat is at /ai/api/stream."
