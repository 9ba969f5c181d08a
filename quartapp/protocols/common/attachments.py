"""What a client attaches to its words: bytes as base64, or the address of an image elsewhere.

Its form alone is looked at. Nothing is decoded, and nothing is fetched: what is taken goes on to the model as it came.
"""

from __future__ import annotations

import re

IMAGE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")

MAX_HEAD_CHARS = 200
"""Of a data URL, up to its comma."""

MAX_URL_CHARS = 4096
"""Of an address elsewhere; those that are signed are long."""

IMAGE_URL_PATTERN = rf"^(data:({'|'.join(IMAGE_TYPES)}|image/jpg);base64,|https?://)"
"""For those who have only a schema to go by: what image URLs begin with."""

_IMAGE_HEADS = frozenset(f"data:{media_type};base64" for media_type in IMAGE_TYPES)
# No registered type, but sent by many a client; servers know only the registered one.
_JPG_HEAD = "data:image/jpg;base64"
_JPEG_HEAD = "data:image/jpeg;base64"
_WORD = r"[A-Za-z0-9!#$&^_.+-]+"
_HEAD = re.compile(rf"data:{_WORD}/{_WORD}(?:;{_WORD}={_WORD})*;base64")

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

# A name or an address, never `user@`: readers of URLs differ in what they take for the host of anything odder.
_REMOTE_URL = re.compile(r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:[/?#][!-\[\]-~]*)?")


def is_data_url(text: str) -> bool:
    """Whether it says that it is one; what follows may be anything."""
    return text.startswith("data:")


def check_image_url(text: str) -> str:
    """`text`, if it is an image in a data URL, or an address of http or https. The type `image/jpg` becomes
    `image/jpeg`. Raises ValueError."""
    if is_data_url(text):
        head, data = _split(text)
        if head == _JPG_HEAD:
            head, text = _JPEG_HEAD, f"{_JPEG_HEAD},{data}"
        if head not in _IMAGE_HEADS or not _is_base64(data):
            raise ValueError("no image of a kind that is taken")
    elif len(text) > MAX_URL_CHARS or not _REMOTE_URL.fullmatch(text):
        raise ValueError("no address")
    return text


def check_base64(text: str) -> str:
    """`text`, if it is base64 of one byte or more, with its padding. Raises ValueError."""
    if not _is_base64(text):
        raise ValueError("no base64")
    return text


def check_file_data(text: str) -> str:
    """`text`, if it is base64, bare or in a data URL. Raises ValueError."""
    if not is_data_url(text):
        return check_base64(text)
    check_base64(base64_in(text))
    return text


def base64_in(url: str) -> str:
    """What stands behind the head of a data URL, unchecked; empty where that does not say base64."""
    head, data = _split(url)
    return data if _HEAD.fullmatch(head) else ""


def decoded_bytes(text: str) -> int:
    """How many bytes base64 stands for, bare or in a data URL."""
    base64_chars = len(text) - text.find(",", 0, MAX_HEAD_CHARS) - 1
    return base64_chars // 4 * 3 - text[-2:].count("=")


def _split(url: str) -> tuple[str, str]:
    """What stands before the comma, empty if there is none early enough, and what stands behind it."""
    comma = url.find(",", 0, MAX_HEAD_CHARS)
    return url[: max(comma, 0)], url[comma + 1 :]


def _is_base64(text: str) -> bool:
    """A millisecond a megabyte: a third of what a regular expression or decoding would take."""
    if not text or len(text) % 4 or not text.isascii():
        return False
    rest = text.encode().translate(None, _ALPHABET)
    return rest in (b"", b"=", b"==") and text.endswith(rest.decode())
