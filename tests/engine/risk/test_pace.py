"""How much of a long work a turn may do."""

from __future__ import annotations

from engine.risk.pace import FIRST_NS, LEAST_UNITS, Pace

SHARE_NS = 25_000_000


def test_as_much_as_fits_by_what_the_last_turn_cost() -> None:
    pace = Pace(SHARE_NS)
    assert pace.units() == SHARE_NS // FIRST_NS
    pace.took(100_000, 2_500_000)
    assert pace.units() == 1_000_000
    pace.took(1_000_000, 50_000_000)
    assert pace.units() == 500_000


def test_it_never_comes_to_a_stand_and_few_tell_nothing() -> None:
    pace = Pace(SHARE_NS)
    pace.took(LEAST_UNITS, 10**12)
    assert pace.units() == LEAST_UNITS
    pace.took(LEAST_UNITS - 1, 1)
    assert pace.units() == LEAST_UNITS
    pace.took(LEAST_UNITS, 0)
    assert pace.units() == SHARE_NS
