"""Limits hold on a machine of its own, and stretch only as far as other work lengthens a loop."""

from __future__ import annotations

import time

import pytest

from tests import patience


@pytest.mark.parametrize(
    ("crowd", "seconds", "holds"), [(1.0, 0.05, False), (1.0, 5.0, True), (9.0, 0.05, True)]
)
def test_a_limit(crowd: float, seconds: float, holds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "crowd", lambda: crowd)
    seen = []
    try:
        with patience.within(seconds):
            time.sleep(0.1)
        seen.append("held")
    except AssertionError as error:
        assert "at most" in str(error)
    assert bool(seen) == holds


def test_no_machine_is_faster_than_its_own() -> None:
    assert patience.crowd() >= 1.0
