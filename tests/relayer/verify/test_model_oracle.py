"""The model's rounds by hand; that the books do the same is for the tests of the whole machine."""

from __future__ import annotations

import pytest

from kernels.layouts import STATUS_HELD, STATUS_NONE, STATUS_OK, STATUS_PRIMARY, STATUS_TWO
from kernels.oracle import PASSES, TOO_FAR
from kernels.oracle_rules import BOUNDS, ORACLE, oracle_row
from relayer.verify.model_oracle import NOTHING, ORACLE_BOUNDS, Oracle, Vote, decide, reason, tally

NOW = 10**18
SECOND = 10**9
PRICE = 300_000_000


def vote(price: int, conf: int = 0, weight: int = 1, late_ns: int = 0) -> Vote:
    return Vote(weight, NOW - late_ns, price, conf)


def test_one_price_of_the_votes_that_count() -> None:
    oracle = Oracle()
    assert tally({}, oracle) == tally({1: vote(100, 1)}, oracle) == NOTHING
    assert tally({0: vote(100, 1)}, oracle) == (STATUS_PRIMARY, 100, 1)
    assert tally({0: vote(10_000, 1), 2: vote(10_026, 1)}, oracle) == NOTHING
    assert tally({0: vote(10_000, 1), 2: vote(10_025, 1)}, oracle) == (STATUS_TWO, 10_000, 1)
    three = {0: vote(30, 5), 1: vote(10, 6), 2: vote(20, 7)}
    assert tally(three, oracle) == (STATUS_OK, 20, 7)
    assert tally(three | {2: vote(20, 7, weight=2)}, oracle) == (STATUS_TWO, 20, 7)


@pytest.mark.parametrize(("reference", "price", "conf"), [(0, 20, 2), (15, 20, 3), (25, 25, 3), (35, 30, 3)])
def test_a_tie_takes_what_is_nearest_to_the_reference(reference: int, price: int, conf: int) -> None:
    votes = {k: vote(10 * (k + 1), k + 1) for k in range(4)}
    assert tally(votes, Oracle(reference=reference)) == (STATUS_OK, price, conf)


def test_a_jump_is_believed_in_the_third_round_of_new_words() -> None:
    oracle = Oracle(age_ns=10 * SECOND, reference=PRICE, reference_ns=NOW)
    for second, status in ((0, STATUS_HELD), (1, STATUS_HELD), (2, STATUS_TWO)):
        votes = {k: vote(2 * PRICE, late_ns=-second * SECOND) for k in (0, 1)}
        verdict, reasons = decide(votes, oracle, NOW + second * SECOND)
        assert verdict.status == status
        assert set(reasons.values()) == {PASSES if status == STATUS_TWO else TOO_FAR}
    assert (oracle.reference, oracle.agreements) == (2 * PRICE, 0)


def test_a_price_is_held_until_its_limit_and_widens() -> None:
    oracle = Oracle(age_ns=SECOND, reference=PRICE, reference_conf=9, reference_ns=NOW)
    assert decide({}, oracle, NOW + 300 * SECOND)[0] == (STATUS_HELD, PRICE, 9 + PRICE * 15 // 100)
    assert decide({}, oracle, NOW + 300 * SECOND + 1)[0].status == STATUS_NONE


def test_a_vote_is_judged_only_by_what_is_kept_of_it() -> None:
    oracle = Oracle(age_ns=SECOND, reference=PRICE)
    assert reason(vote(PRICE + 5), oracle, 5, NOW) == PASSES
    assert reason(vote(PRICE + 6), oracle, 5, NOW) == TOO_FAR


def test_the_model_s_rules_have_the_names_starting_values_and_bounds_of_the_books() -> None:
    row = oracle_row()
    assert {name: getattr(Oracle(), name) for name in ORACLE.names or ()} == {
        name: int(row[name]) for name in ORACLE.names or ()
    }
    assert {name: (low, high) for name, low, high in ORACLE_BOUNDS} == BOUNDS
