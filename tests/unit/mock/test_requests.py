"""Requests to the mock model: contents in parts, attachments, and malformed bodies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.mock_model import CHAT_PATH, ask, chat_body, request


def image_part(url: str) -> Any:
    return {"type": "image_url", "image_url": {"url": url}}


def file_part(**fields: str) -> Any:
    return {"type": "file", "file": fields}


def sound_part(data: str) -> Any:
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


async def test_content_may_come_in_parts() -> None:
    parts = [{"type": "text", "text": "count "}, {"type": "of_no_kind_we_know"}, {"type": "text", "text": "to 2"}]
    assert (await ask("mock", parts)).text == "1 2"


PNG = "data:image/png;base64,iVBORw0KGgo="
ATTACHED: list[tuple[list[Any], str]] = [
    ([image_part(PNG)], "1 image (image/png, 8 bytes)."),
    ([image_part(PNG), {"type": "text", "text": "count to 2"}], "1 image (image/png, 8 bytes). You said: count to 2"),
    ([image_part(PNG), image_part("data:image/gif;base64,AA==")], "2 images (image/png, 8 bytes; image/gif, 1 byte)."),
    ([image_part("https://example.com/a.png")], "1 image (by its URL)."),
    ([image_part("data:,hi")], "1 image (by its URL)."),
    ([file_part(file_data="data:application/pdf;base64,AAA=")], "1 file (application/pdf, 2 bytes)."),
    ([file_part(file_data="data:text/plain;charset=utf-8;base64,AAAA")], "1 file (text/plain, 3 bytes)."),
    ([file_part(file_data="data:;base64,AAAA")], "1 file (of no type, 3 bytes)."),
    ([file_part(file_data="AAAA", filename="a.pdf")], "1 file (a.pdf, 3 bytes)."),
    ([file_part(file_id="file-1")], "1 file (by its id)."),
    (
        [sound_part("AAAA"), image_part(PNG), sound_part("AA==")],
        "2 sounds (wav, 3 bytes; wav, 1 byte), 1 image (image/png, 8 bytes).",
    ),
]


@pytest.mark.parametrize(("parts", "description"), ATTACHED)
async def test_attachments_are_described(parts: list[Any], description: str) -> None:
    assert (await ask("mock", parts)).text == f"I was sent {description}"


async def test_attachments_of_earlier_turns_are_not_described() -> None:
    turns = [{"role": "user", "content": [image_part(PNG)]}, {"role": "user", "content": "count to 2"}]
    body = {"model": "mock", "stream": True, "messages": turns}
    assert (await request("POST", CHAT_PATH, json.dumps(body).encode())).text == "1 2"


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "image_url", "image_url": PNG}, "image_url"),
        ({"type": "image_url", "image_url": {"url": 1}}, "image_url.url"),
        ({"type": "file", "file": {"file_data": 1}}, "file.file_data"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA"}}, "input_audio"),
    ],
)
async def test_an_attachment_of_the_wrong_shape_is_refused(part: Any, param: str) -> None:
    reply = await ask("mock", [part])
    assert (reply.status, reply.json["error"]["param"]) == (400, f"messages[0].content[0].{param}")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
        (b'{"model":"mock","messages":[],"x":' + b"[" * 100_000, "messages"),
        (chat_body("mock", "\ud83d"), None),
        (chat_body("mock", 3), "messages[0].content"),
        (b'{"model":"mock"}', None),
        (b'{"model":"mock","messages":[]}', "messages"),
        (b'{"model":"mock","messages":[{"role":"king","content":"x"}]}', "messages[0].role"),
        (chat_body("mock", n=9), "n"),
        (chat_body("mock", n=0), "n"),
        (chat_body("mock", max_tokens=0), "max_tokens"),
        (chat_body("mock", stop=""), "stop"),
        (chat_body("mock", stop=["1", "2", "3", "4", "5"]), "stop"),
        (chat_body("mock", stream="yes"), "stream"),
        (chat_body("mock", stream_options={"include_usage": True}), "stream_options"),
    ],
)
async def test_a_malformed_request_is_refused_with_the_place_of_the_fault(body: bytes, param: str | None) -> None:
    reply = await request("POST", CHAT_PATH, body)
    assert reply.status == 400
    assert reply.json["error"]["type"] == "invalid_request_error"
    assert reply.json["error"]["param"] == param
