"""How many random examples Hypothesis tries: few in the fast run, many in the soak."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import settings

#: Examples of a test in the fast run; `--hypothesis-profile=soak` tries ten times as many.
FAST: Final = 50
SOAK_FACTOR: Final = 10


def register_profiles() -> None:
    """Register the profiles `fast`, which is the default one, and `soak`."""
    settings.register_profile("fast", max_examples=FAST, deadline=None)
    settings.register_profile("soak", max_examples=SOAK_FACTOR * FAST, deadline=None)
    settings.load_profile("fast")


def examples(count: int, **more: Any) -> settings:
    """Return settings with `count` examples in the fast run, and with ten times as many in the soak."""
    profile = settings.get_profile(settings.get_current_profile_name())
    return settings(max_examples=count * profile.max_examples // FAST, **more)
