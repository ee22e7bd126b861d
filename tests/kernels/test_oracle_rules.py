"""Oracle rules of a market: bounds in words, the age limit in force, sets of statuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import layouts, oracle, oracle_rules
from kernels.jit import kernel
from kernels.oracle_rounds import ORACLE_STATE
from kernels.oracle_rules import BOUNDS, LIVE, ORACLE, ORACLE_KNOBS, knob_fault, oracle_row
from kernels.types import Rows
from tests.kernels.entries import int64s, run

SECOND = 10**9
SETS = ("funding_on", "liquidation_on")


@kernel
def _age(oracles: Rows, leverage: int, now_ns: int) -> int:
    return oracle_rules.age_in_force(oracles[0], leverage, now_ns)


def age(leverage: int, now_ns: int, *, limit_ns: int = 0, restart_ns: int = 0) -> int:
    rows = np.zeros(1, ORACLE)
    rows["age_limit_ns"], rows["restart_ns"] = limit_ns, restart_ns
    return run(_age, rows, leverage, now_ns)


def test_a_row_is_both_rules_and_state() -> None:
    names = ORACLE.names or ()
    assert set(oracle.ORACLE_RULES.names or ()) | set(ORACLE_STATE.names or ()) < set(names)
    assert set(ORACLE_KNOBS) < set(names) and set(ORACLE_KNOBS).isdisjoint(ORACLE_STATE.names or ())
    assert len(ORACLE_KNOBS) == 11


def test_a_new_market_has_the_starting_values_and_no_price() -> None:
    row = oracle_row()
    for name in oracle.ORACLE_RULES.names or ():
        assert int(row[name]) == (0 if name == "age_ns" else int(oracle.starting_rules()[0][name]))
    assert [int(row[name]) for name in ORACLE_STATE.names or ()] == [0] * 6
    assert (int(row["age_limit_ns"]), int(row["restart_ns"])) == (0, 0)
    assert [int(row[name]) for name in SETS] == [14, 14]
    assert int(oracle_row(alone=1, rearm=7)["rearm"]) == 7


@pytest.mark.parametrize(
    ("leverage", "seconds"), [(1, 10), (20, 10), (21, 3), (50, 3), (100, 3), (101, 1), (1000, 1)]
)
def test_the_age_limit_follows_the_leverage_unless_the_market_has_its_own(
    leverage: int, seconds: int
) -> None:
    now_ns = 10**18
    assert age(leverage, now_ns) == seconds * SECOND
    assert age(leverage, now_ns, limit_ns=60 * SECOND) == 60 * SECOND
    assert age(leverage, now_ns, limit_ns=1) == 1


def test_no_vote_is_from_before_the_restart() -> None:
    now_ns = 10**18
    assert age(10, now_ns, restart_ns=now_ns - SECOND) == SECOND
    assert age(10, now_ns, restart_ns=now_ns - 11 * SECOND) == 10 * SECOND
    assert age(10, now_ns, restart_ns=now_ns) == age(10, now_ns, restart_ns=now_ns + 5) == 0
    assert age(10, now_ns, limit_ns=60 * SECOND, restart_ns=now_ns - 59 * SECOND) == 59 * SECOND


@given(st.integers(0, 2**62), st.integers(0, 2**62), st.integers(0, 1000), st.integers(0, 86_400 * SECOND))
def test_age_against_plain_integers(now_ns: int, restart_ns: int, leverage: int, limit_ns: int) -> None:
    by_leverage = (1 if leverage > 100 else 3 if leverage > 20 else 10) * SECOND
    wanted = min(limit_ns or by_leverage, max(0, now_ns - restart_ns))
    assert age(leverage, now_ns, limit_ns=limit_ns, restart_ns=restart_ns) == wanted


@pytest.mark.parametrize(("name", "bounds"), BOUNDS.items())
def test_bounds_of_each_knob(name: str, bounds: tuple[int, int]) -> None:
    number, (low, high) = ORACLE_KNOBS.index(name), bounds
    assert knob_fault(number, low) is None and knob_fault(number, high) is None
    far = 32 if name in SETS else 1
    for value in (low - far, high + far if name not in SETS else far):
        assert knob_fault(number, value) == f"{name} {value} is not in {low}..{high}"


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("status", [layouts.STATUS_NONE, layouts.STATUS_HELD])
def test_nothing_acts_on_a_price_that_is_held_or_none(name: str, status: int) -> None:
    why = knob_fault(ORACLE_KNOBS.index(name), LIVE | 1 << status)
    assert why is not None and why.startswith(f"{name} {LIVE | 1 << status} admits a price that is held")


@pytest.mark.parametrize("number", [-1, 11, 2**63 - 1])
def test_an_unknown_knob(number: int) -> None:
    assert knob_fault(number, 1) == f"oracle knob {number} is not in 0..10"


@given(int64s.filter(lambda n: n >= 0), st.integers(0, 4))
def test_admits(statuses: int, status: int) -> None:
    assert run(oracle_rules.admits, statuses, status) == int(statuses & 2**status != 0)


def test_live_statuses_are_those_agreed_on() -> None:
    live = [s for s in range(5) if run(oracle_rules.admits, LIVE, s)]
    assert live == [layouts.STATUS_OK, layouts.STATUS_TWO, layouts.STATUS_PRIMARY]
