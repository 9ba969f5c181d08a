"""What is attached to a question, and what can truly be said of it by a model that looks at its form alone."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct

_DATA_URL = re.compile(r"data:([^;,]{0,100})(?:;[^,]{0,200})?;base64,")
"""The head of one, with its media type."""


class ImageURL(Struct):
    url: str


class File(Struct):
    file_data: str | None = None
    filename: str | None = None


class Sound(Struct):
    data: str
    format: str


class Part(Struct):
    """A part of a message, of any kind: of those that are not known nothing is said."""

    type: str
    text: str = ""
    image_url: ImageURL | None = None
    file: File | None = None
    input_audio: Sound | None = None


class Attachment(NamedTuple):
    """What it is, and what is known of it."""

    noun: str
    about: str


def attachment(part: Part) -> Attachment | None:
    """None for text, and for what is not known."""
    match part:
        case Part(type="image_url", image_url=ImageURL(url=url)):
            return Attachment("image", _about(url))
        case Part(type="file", file=File(file_data=data, filename=name)):
            known = "by its id" if data is None else _about(data)
            return Attachment("file", f"{name}, {known}" if name else known)
        case Part(type="input_audio", input_audio=Sound(data=data, format=format)):
            return Attachment("sound", f"{format}, {_size(data)}")
    return None


def tell(attachments: Iterable[Attachment]) -> str:
    """One sentence of them all; empty if there are none."""
    known = defaultdict(list)
    for noun, about in attachments:
        known[noun].append(about)
    counted = [f"{len(each)} {noun}{'s' * (len(each) > 1)} ({'; '.join(each)})" for noun, each in known.items()]
    return f"I was sent {', '.join(counted)}." if counted else ""


def _about(text: str) -> str:
    """Its media type and size; of what is elsewhere, or written in another way, neither is known."""
    if found := _DATA_URL.match(text):
        return f"{found[1] or 'of no type'}, {_size(text, found.end())}"
    return "by its URL" if ":" in text else _size(text)


def _size(text: str, start: int = 0) -> str:
    """How many bytes the base64 from `start` on stands for."""
    size = (len(text) - start) * 3 // 4 - text[-2:].count("=")
    return f"{size} byte{'s' * (size != 1)}"
