"""The pace of the mock model's tokens."""

from __future__ import annotations

import pytest

from quartapp.mock.player import Pace


def test_the_pace_makes_up_for_delays() -> None:
    pace = Pace(tokens_per_s=10, now_s=0)
    assert pace.wait_s(now_s=0.05) == pytest.approx(0.05)
    assert pace.wait_s(now_s=0.1) == pytest.approx(0.1)
    assert pace.wait_s(now_s=0.5) < 0
    assert pace.wait_s(now_s=0.3) == pytest.approx(0.1)


def test_the_pace_starts_afresh_after_a_pause() -> None:
    pace = Pace(tokens_per_s=10, now_s=0)
    pace.restart(now_s=5)
    assert pace.wait_s(now_s=5) == pytest.approx(0.1)


def test_a_pace_of_zero_never_waits() -> None:
    assert Pace(tokens_per_s=0, now_s=0).wait_s(now_s=1) == 0
