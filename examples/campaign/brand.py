"""The rules for the name of a brand."""

import unicodedata
from typing import Any

import regex

MAX_CHARS = 20
#: A character can have any number of accents, so the code points have a limit too. A flag has up to 7.
MAX_CODE_POINTS = 10 * MAX_CHARS


class InvalidBrand(Exception):  # noqa: N818 - it is what a user has entered
    """A body without a valid brand. The message is for the user."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


def brand_of(body: Any) -> str:
    """Return the brand in the body of a request, without spaces at its ends. Raises InvalidBrand."""
    brand = body.get("brand") if isinstance(body, dict) else None
    if not isinstance(brand, str):
        raise InvalidBrand("brand", 'Send the brand as JSON: {"brand": "Morning Oats"}.')
    brand = unicodedata.normalize("NFC", brand.strip())
    count = characters(brand)
    if count == 0:
        raise InvalidBrand("brand", "Enter the name of a brand.")
    if count > MAX_CHARS:
        raise InvalidBrand("brand", f"A brand has at most {MAX_CHARS} characters. This one has {count}.")
    if len(brand) > MAX_CODE_POINTS:
        raise InvalidBrand("brand", "A character of this brand has too many marks.")
    if any(unicodedata.category(point) in ("Cc", "Cs", "Zl", "Zp") for point in brand):
        raise InvalidBrand("brand", "A brand is one line of text.")
    return brand


def characters(text: str) -> int:
    """Return the number of characters as a person counts them.

    >>> characters("👩‍👩‍👧‍👦 é")  # a family, a space, and an e with its accent
    3
    """
    return len(regex.findall(r"\X", text))
