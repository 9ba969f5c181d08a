"""The app around a chat, as servers of different kinds call it."""

from __future__ import annotations

import subprocess
import sys

import aiohttp
import pytest

from quartapp import SettingsError, create_app
from quartapp.app import WSGI_SENTENCE
from tests.support.serving import Servers

TARGETS = ("quartapp:create_app()", "uploads:asgi")


@pytest.mark.parametrize("target", TARGETS)
async def test_a_wsgi_server_gets_one_sentence_that_names_the_missing_part(target: str, servers: Servers) -> None:
    server = servers.start("bare gunicorn", target)
    async with aiohttp.request("GET", f"http://127.0.0.1:{server.port}/") as answer:
        assert (answer.status, await answer.text()) == (500, f"{WSGI_SENTENCE}\n")
    assert WSGI_SENTENCE in server.log_text()
    assert "Traceback" not in server.log_text()


@pytest.mark.parametrize("kind", ["hypercorn", "gunicorn", "gunicorn -k asgi"])
async def test_an_asgi_server_serves_the_app(kind: str, servers: Servers) -> None:
    server = servers.get(kind, CHAT_MOCK_TOKENS_PER_S="0")
    url = f"http://127.0.0.1:{server.port}/api/stream"
    async with aiohttp.request("POST", url, json={"message": "count to 3"}) as answer:
        assert await answer.text() == "1 2 3"


def test_making_an_app_does_not_configure_logging() -> None:
    lines = (
        "import logging, quartapp",
        "quartapp.create_app()",
        "logging.basicConfig(format='%(message)s')",
        "logging.getLogger('quartapp').warning('once')",
    )
    ended = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert ended.stderr.splitlines() == ["once"]


@pytest.mark.parametrize(("error", "is_logged"), [(SettingsError("x"), False), (RuntimeError("x"), True)])
async def test_another_exception_at_the_start_keeps_its_traceback(
    error: Exception, is_logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app()

    @app.before_serving
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        await app.startup()
    assert ("Traceback" in caplog.text) == is_logged
