"""An error in the log: the names of exceptions and of the upstream's failure, without text that may quote a prompt."""

from __future__ import annotations

import re
import traceback
from typing import Any

import msgspec

from quartapp.core.errors import ChatError


def describe(error: ChatError, *, with_message: bool = False) -> dict[str, Any]:
    """Return the entries of `error` in the log: the names of exception types and the upstream's error.

    If `with_message` is true, they contain the upstream's message, with keys masked and at most 500 characters.
    Otherwise it is left out, because it may quote a prompt.
    """
    entries: dict[str, Any] = {"error": error.code}
    if error.path is not None:
        entries["path"] = error.path
    if error.__cause__ is not None:
        entries["causes"] = _causes(error.__cause__)
    if error.code == "internal_error" and error.__cause__ is not None:
        entries["at"] = _frames(error.__cause__)
    if error.fault is not None:
        fault = msgspec.to_builtins(error.fault)
        message = fault.pop("message", None)
        entries["upstream"] = fault | ({"message": masked(message)[:500]} if with_message and message else {})
    return entries


def masked(text: str) -> str:
    """Return `text` with stars in place of possible keys: runs of 16 or more characters with a digit."""
    return _LONG_RUN.sub(lambda run: "***" if any(map(str.isdigit, run[0])) else run[0], text)


_LONG_RUN = re.compile(r"[\w+/=.-]{16,}")


def _causes(error: BaseException | None) -> list[str]:
    names: list[str] = []
    while error is not None and len(names) < 8:
        names.append(type(error).__qualname__)
        error = error.__cause__ or error.__context__
    return names


def _frames(error: BaseException) -> list[str]:
    """Return the last 6 frames of the traceback of `error`, without its message, which may quote a prompt."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
