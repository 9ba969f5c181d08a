"""The authenticated user of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

#: The largest number of characters in the id of a principal, because each line of the log contains it.
MAX_ID_CHARS = 200


class Principal(msgspec.Struct, frozen=True):
    """An authenticated user.

    `id` has 1 to 200 printable characters, and the log contains it. `name` is for people. `plan` names a set of limits,
    and `claims` are other facts of the login. Raises TypeError or ValueError for an invalid `id`, without showing it.

    >>> Principal("u-17", plan="free").id
    'u-17'
    """

    id: str
    name: str | None = None
    plan: str | None = None
    claims: Mapping[str, Any] = {}

    def __post_init__(self) -> None:
        if not isinstance(self.id, str):
            raise TypeError(f"the id of a principal is a {type(self.id).__qualname__}, not a str")
        if fault := _fault_in(self.id):
            raise ValueError(
                f"the id of a principal {fault}; it has 1 to {MAX_ID_CHARS} characters that can be printed"
            )


def _fault_in(id: str) -> str | None:
    if len(id) > MAX_ID_CHARS:
        return f"has {len(id)} characters"
    if not id or id.isspace():
        return "is blank"
    return None if id.isprintable() else "has a character that cannot be printed"
