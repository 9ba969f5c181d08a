"""Checks of attachments: base64, data URLs, and URLs of remote images.

Only the form is checked. Nothing is decoded or fetched, and an accepted attachment is sent to the model unchanged.
"""

from __future__ import annotations

import re

IMAGE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")

MAX_HEAD_CHARS = 200
"""The longest head of a data URL, up to its comma."""

MAX_URL_CHARS = 4096
"""The longest remote URL. Signed URLs are long."""

IMAGE_URL_PATTERN = rf"^(data:({'|'.join(IMAGE_TYPES)}|image/jpg);base64,|https?://)"
"""The start of image URLs, as the schema describes it."""

_IMAGE_HEADS = frozenset(f"data:{media_type};base64" for media_type in IMAGE_TYPES)
# Many clients send this type, which is not registered. Servers know only the registered one.
_JPG_HEAD = "data:image/jpg;base64"
_JPEG_HEAD = "data:image/jpeg;base64"
_WORD = r"[A-Za-z0-9!#$&^_.+-]+"
_HEAD = re.compile(rf"data:{_WORD}/{_WORD}(?:;{_WORD}={_WORD})*;base64")

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

# A host name or an IP address, never `user@`, because parsers of URLs disagree about the host of unusual URLs.
_REMOTE_URL = re.compile(r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:[/?#][!-\[\]-~]*)?")


def is_data_url(text: str) -> bool:
    """Return whether `text` starts as a data URL. The rest is not checked."""
    return text.startswith("data:")


def check_image_url(text: str) -> str:
    """Return `text` if it is an image in a data URL, or an http or https URL. Raises ValueError.

    The type `image/jpg` becomes `image/jpeg`.
    """
    if is_data_url(text):
        head, data = _split(text)
        if head == _JPG_HEAD:
            head, text = _JPEG_HEAD, f"{_JPEG_HEAD},{data}"
        if head not in _IMAGE_HEADS or not _is_base64(data):
            raise ValueError("no image of a supported type")
    elif len(text) > MAX_URL_CHARS or not _REMOTE_URL.fullmatch(text):
        raise ValueError("no http or https URL")
    return text


def check_base64(text: str) -> str:
    """Return `text` if it is base64 of one byte or more, with its padding. Raises ValueError."""
    if not _is_base64(text):
        raise ValueError("no base64")
    return text


def check_file_data(text: str) -> str:
    """Return `text` if it is base64, bare or in a data URL. Raises ValueError."""
    if not is_data_url(text):
        return check_base64(text)
    check_base64(base64_in(text))
    return text


def base64_in(url: str) -> str:
    """Return the data of a data URL, unchecked, or an empty string if its head does not end in `;base64`."""
    head, data = _split(url)
    return data if _HEAD.fullmatch(head) else ""


def decoded_bytes(text: str) -> int:
    """Return the number of bytes that base64 encodes, bare or in a data URL."""
    base64_chars = len(text) - text.find(",", 0, MAX_HEAD_CHARS) - 1
    return base64_chars // 4 * 3 - text[-2:].count("=")


def _split(url: str) -> tuple[str, str]:
    """Split a data URL at its comma. The head is empty if there is no comma in the first 200 characters."""
    comma = url.find(",", 0, MAX_HEAD_CHARS)
    return url[: max(comma, 0)], url[comma + 1 :]


def _is_base64(text: str) -> bool:
    """Return whether `text` is base64. It takes 1 ms for 1 MB, a third of a regular expression or of decoding."""
    if not text or len(text) % 4 or not text.isascii():
        return False
    rest = text.encode().translate(None, _ALPHABET)
    return rest in (b"", b"=", b"==") and text.endswith(rest.decode())
