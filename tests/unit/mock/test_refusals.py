"""Faults of the mock model that answer with another HTTP status."""

from __future__ import annotations

import pytest

from quartapp.mock.player import Head
from tests.support.mock_model import ask, steps


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503, 599])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_status_has_an_error_with_the_marker(status: int, stream: bool) -> None:
    reply = await ask(f"fault-status:{status}", stream=stream)
    assert reply.status == status
    assert "upstream-secret" in reply.json["error"]["message"]
    assert reply.headers.get("retry-after") == ("7" if status in (429, 503) else None)


def test_an_endless_error_has_a_status_of_errors() -> None:
    head = next(steps("fault-endless-error"))
    assert isinstance(head, Head)
    assert head.status == 500


async def test_a_status_can_come_with_html() -> None:
    reply = await ask("fault-html:503")
    assert reply.status == 503
    assert reply.headers["content-type"].startswith("text/html")
    assert reply.headers["retry-after"] == "7"
    assert reply.body.startswith(b"<!doctype html>")


async def test_a_status_can_come_with_nothing() -> None:
    reply = await ask("fault-empty:404")
    assert (reply.status, reply.body, reply.is_complete) == (404, b"", True)


async def test_a_redirect_leads_to_another_path_of_the_same_server() -> None:
    reply = await ask("fault-redirect")
    assert (reply.status, reply.headers["location"]) == (302, "/v1/models")


@pytest.mark.parametrize(
    ("name", "code"),
    [("fault-context-too-long", "context_length_exceeded"), ("fault-content-filtered", "content_filter")],
)
async def test_a_prompt_is_refused_with_its_code(name: str, code: str) -> None:
    reply = await ask(name)
    assert (reply.status, reply.json["error"]["code"]) == (400, code)
