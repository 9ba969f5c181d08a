"""What a page has to know before it asks: the models that are offered, and the limits of a request."""

from __future__ import annotations

import msgspec


class OfferedModel(msgspec.Struct):
    """A model that can be asked for by `id`; `is_mock` marks the one that needs no key and no network."""

    id: str
    is_mock: bool


class RequestLimits(msgspec.Struct):
    """The bounds of one request: the settings `CHAT_MAX_...` of the same names."""

    max_body_bytes: int
    max_json_values: int
    max_messages: int
    max_prompt_chars: int
    max_attachments: int
    max_attachment_bytes: int


class Offer(msgspec.Struct):
    """The models that are offered, `default` being the one that is asked unless a request names another."""

    default: str
    models: list[OfferedModel]
    limits: RequestLimits
