"""What is attributed to whom, and how much is kept."""

from __future__ import annotations

import numpy as np
import pytest

from engine.core.state import State
from relayer.verify.differences import (
    CASH,
    DIGEST,
    FUNDING,
    KEPT,
    ZERO_SUM,
    Differences,
    compare_legs,
    compare_states,
    judge_identities,
)
from relayer.verify.model_state import Leg

LEG = Leg(9, 1, 0, 1, 10, -20, 3, 0, 1, 4)


def counts(found: Differences) -> dict[str, int]:
    return {name: n for name, n in found.counts.items() if n}


def test_equal_states_and_legs_say_nothing() -> None:
    found = Differences()
    compare_states(State().sections(), State().sections(), found)
    compare_legs([LEG], [tuple(LEG)], "here", found)
    assert counts(found) == {}
    assert judge_identities({"market 0: sizes": 0, "exchange": 0}, found) == 0
    assert counts(found) == {}


def test_every_byte_of_the_state_belongs_to_a_check() -> None:
    """Each byte of one row of every array, changed alone, is a difference under exactly one check."""
    state = State()
    state.books.meta[0]["positions"] = state.books.meta[0]["markets"] = 1
    state.books.meta[0]["outputs"] = state.books.meta[0]["staged"] = state.books.meta[0]["open_refusals"] = 1
    state.books.meta[0]["open_liquidations"] = 1
    mine, theirs = state.sections(), [s._replace(rows=s.rows.copy()) for s in state.sections()]
    seen = set()
    for section in theirs:
        raw = section.rows.view(np.uint8).reshape(len(section.rows), -1)
        for byte in range(raw.shape[1]):
            raw[0, byte] ^= 1
            found = Differences()
            compare_states(mine, theirs, found)
            raw[0, byte] ^= 1
            assert list(counts(found).values()) == [1], (section.name, byte)
            seen |= set(counts(found))
    assert seen == {ZERO_SUM, CASH, FUNDING, DIGEST}


def test_a_row_more_is_a_difference_of_state() -> None:
    one, two = State(), State()
    two.books.meta[0]["staged"] = 1
    found = Differences()
    compare_states(one.sections()[1:], two.sections()[1:], found)
    assert counts(found) == {DIGEST: 1}


@pytest.mark.parametrize(
    ("field", "check"), [("dsize", ZERO_SUM), ("dcash", CASH), ("fee", CASH), ("funding", FUNDING)]
)
def test_a_leg_s_field(field: str, check: str) -> None:
    found = Differences()
    compare_legs([LEG], [tuple(LEG._replace(**{field: 77}))], "ordinal 9", found)
    assert counts(found) == {check: 1}
    assert found.against(check) == [f"ordinal 9: {field} {getattr(LEG, field)}, the books have 77"]


def test_a_leg_more() -> None:
    found = Differences()
    compare_legs([LEG], [], "ordinal 9", found)
    assert counts(found) == {DIGEST: 1}


def test_a_consequence_does_not_speak_but_other_markets_do() -> None:
    found = Differences()
    values = {
        "market 1: sizes": 5, "market 1: running J": 40, "market 1: cash": 300,
        "market 10: running J": 2, "market 2: cash": -9, "hourly and on touch": 1, "exchange": 0,
    }  # fmt: skip
    assert judge_identities(values, found) == 9
    assert found.against(ZERO_SUM) == ["market 1: sizes: off by 5"]
    assert found.against(FUNDING) == ["market 10: running J: off by 2"]
    assert found.against(CASH) == ["market 2: cash: off by -9"]


def test_what_is_kept_is_bounded_and_the_rest_counted() -> None:
    found = Differences()
    for k in range(3 * KEPT):
        found.note(CASH, str(k))
    assert found.against(CASH) == [str(k) for k in range(KEPT)]
    assert found.counts[CASH] == 3 * KEPT
