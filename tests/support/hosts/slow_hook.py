"""A host project whose own hook keeps each response back for longer than any reader waits."""

from __future__ import annotations

import asyncio

from quart import Quart, Response

from quartapp import create_app

app: Quart = create_app()


@app.after_request
async def hold_back(response: Response) -> Response:
    app.logger.warning("the hook holds a response back")
    await asyncio.sleep(10)
    return response
