"""The choice of a media type by the `Accept` header."""

from __future__ import annotations

from collections.abc import Sequence

from quart import request

from quartapp.core.errors import ChatError


def accepted(offered: Sequence[str], default: str) -> str:
    """Return the media type in `offered` that Accept prefers; among equal preferences `default`, then the first.

    Raises ChatError: not_acceptable.
    """
    if not request.accept_mimetypes.provided:
        return default
    preferences = {media_type: preference(media_type) for media_type in (default, *offered)}
    best = max(preferences, key=lambda media_type: preferences[media_type])
    if preferences[best][0] == 0:
        raise not_acceptable(offered)
    return best


def not_acceptable(offered: Sequence[str]) -> ChatError:
    """Return not_acceptable, with the `offered` media types in the header `X-Offered`."""
    return ChatError("not_acceptable", path="Accept", headers={"X-Offered": ", ".join(offered)})


def preference(media_type: str) -> tuple[float, int]:
    """Return the quality of `media_type` in Accept, and the specificity of its range: 2 exact, 1 `type/*`, 0 `*/*`.

    The most specific matching range decides (RFC 9110, section 12.5.1). Parameters, for example a charset, are ignored.
    """
    ranges = {media_type: 2, media_type.partition("/")[0] + "/*": 1, "*/*": 0}
    fits = [
        (ranges[name], quality)
        for value, quality in request.accept_mimetypes
        if (name := value.partition(";")[0].strip().lower()) in ranges
    ]
    specificity, quality = max(fits, default=(0, 0.0))
    return quality, specificity
