"""The attachments of a message, described by their form alone: type, size and name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct

_DATA_URL = re.compile(r"data:([^;,]{0,100})(?:;[^,]{0,200})?;base64,")
"""Matches the head of a data URL, with its media type."""


class ImageURL(Struct):
    url: str


class File(Struct):
    file_data: str | None = None
    filename: str | None = None


class Sound(Struct):
    data: str
    format: str


class Part(Struct):
    """A part of a message, of any type. Parts of unknown types are ignored."""

    type: str
    text: str = ""
    image_url: ImageURL | None = None
    file: File | None = None
    input_audio: Sound | None = None


class Attachment(NamedTuple):
    """The kind of an attachment, and its description."""

    noun: str
    about: str


def attachment(part: Part) -> Attachment | None:
    """Return the attachment in `part`, or None for text and unknown types."""
    match part:
        case Part(type="image_url", image_url=ImageURL(url=url)):
            return Attachment("image", _about(url))
        case Part(type="file", file=File(file_data=data, filename=name)):
            known = "by its id" if data is None else _about(data)
            return Attachment("file", f"{name}, {known}" if name else known)
        case Part(type="input_audio", input_audio=Sound(data=data, format=format)):
            return Attachment("sound", f"{format}, {_size(data)}")
    return None


def describe(attachments: Iterable[Attachment]) -> str:
    """Return one sentence that describes all attachments, or an empty string if there are none."""
    known = defaultdict(list)
    for noun, about in attachments:
        known[noun].append(about)
    counted = [f"{len(each)} {noun}{'s' * (len(each) > 1)} ({'; '.join(each)})" for noun, each in known.items()]
    return f"I was sent {', '.join(counted)}." if counted else ""


def _about(text: str) -> str:
    """Return the media type and size of a data URL, else the size of base64, else that there is a URL."""
    if found := _DATA_URL.match(text):
        return f"{found[1] or 'of no type'}, {_size(text, found.end())}"
    return "by its URL" if ":" in text else _size(text)


def _size(text: str, start: int = 0) -> str:
    """Return the number of bytes that the base64 from `start` encodes."""
    size = (len(text) - start) * 3 // 4 - text[-2:].count("=")
    return f"{size} byte{'s' * (size != 1)}"
