"""The accrued index against plain integers: between payments, and equal to the payment at the interval's end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.funding import pay_interval
from kernels import profiles
from kernels.funding_accrual import accrued_index
from kernels.layouts import LIMIT, MARKET
from kernels.profiles import Profile
from relayer.verify.model_arrays import names_of
from relayer.verify.model_rules import accrued_index as plain_accrued_index
from relayer.verify.model_state import Market
from tests.kernels.entries import run

SECOND_NS = 10**9
HOUR_NS = 3600 * SECOND_NS


def market_row(profile: Profile, **values: int) -> np.void:
    """A MARKET row under a venue's rule, with open interest."""
    rows = np.zeros(1, MARKET)
    rule = profiles.rule_row(profile)
    for name in profiles.RULE.names or ():
        rows[0][name] = rule[name]
    for name, value in ({"open_interest": 1, "pay_price": 300_000_000} | values).items():
        rows[0][name] = value
    return rows[0]


def plain(row: np.void) -> Market:
    """The model's market with the same numbers."""
    market = Market()
    for name in names_of(MARKET):
        if name not in ("sum_size_idx_hi", "sum_size_idx_lo"):
            setattr(market, name, int(row[name]))
    return market


@given(
    st.sampled_from(list(Profile)),
    st.integers(-(10**15), 10**15),
    st.integers(0, 3600),
    st.integers(0, 3600),
    st.integers(1, 48 * HOUR_NS) | st.sampled_from([HOUR_NS, 8 * HOUR_NS, 3599 * SECOND_NS]),
    st.sampled_from([0, LIMIT, -LIMIT, 12_345]),
    st.integers(-(10**9), 10**9),
)
def test_it_is_the_rate_so_far_for_the_time_so_far(
    profile: Profile, total: int, valid: int, weight: int, second_ns: int, index: int, before: int
) -> None:
    names = {"premium_sum_e12": total, "seconds_valid": valid, "weight_valid": weight, "rate_set_e12": before}
    row = market_row(profile, **names, index_e6=index, index_rem=77)
    assert run(accrued_index, row, second_ns) == plain_accrued_index(plain(row), second_ns)


def test_the_last_second_has_nearly_all_of_what_is_paid() -> None:
    """One second before the end 3,599 parts of 3,600; once it is paid, nothing accrues."""
    row = market_row(Profile.GODARK, premium_sum_e12=3600 * 10**9, seconds_valid=3600, weight_valid=3600)
    accrued = run(accrued_index, row, HOUR_NS - SECOND_NS)
    pay_interval(row)
    paid = int(row["index_e6"])
    assert paid > 0
    assert accrued == pytest.approx(paid * 3599 / 3600, abs=paid // 3000 + 1)
    assert run(accrued_index, row, HOUR_NS) == paid


def test_without_open_interest_nothing_accrues() -> None:
    row = market_row(Profile.GODARK, premium_sum_e12=10**15, seconds_valid=3600, open_interest=0)
    assert run(accrued_index, row, HOUR_NS - SECOND_NS) == 0


@pytest.mark.parametrize(("second_ns", "parts"), [(SECOND_NS - 1, 0), (SECOND_NS, 1), (2 * SECOND_NS, 2)])
def test_the_first_second_accrues_once_it_is_over(second_ns: int, parts: int) -> None:
    """1 % per 8 h set by the interval before: 3e8 price units, 1e6 of a unit, 1 / 28,800 of it a second."""
    row = market_row(Profile.BITMEX, rate_set_e12=10**10)
    assert row["lag"] == 1
    assert run(accrued_index, row, second_ns) == 300_000_000 * 10**6 * parts // (100 * 28_800)
