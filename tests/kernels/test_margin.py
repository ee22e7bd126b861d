"""Margin tiers: which one is in force, and the initial rate that follows."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import margin
from kernels.layouts import MAX_TIERS, TIER
from tests.kernels import twins
from tests.kernels.entries import run
from tests.kernels.twins import Tier

PUBLISHED = [Tier(20, 5 * 10**10), Tier(50, 2 * 10**10), Tier(100, 10**10)]


def tier_rows(tiers: list[Tier]) -> np.ndarray:
    """TIER rows as the tables hold them; past the last one in force lies what must not be read."""
    rows = np.zeros(MAX_TIERS, TIER)
    rows["max_leverage"], rows["initial_e12"] = 1000, 1
    for row, tier in zip(rows, tiers, strict=False):
        row["max_leverage"], row["initial_e12"], row["margin_set"] = tier.max_leverage, tier.initial_e12, 1
    return rows


@st.composite
def tables(draw: st.DrawFn) -> list[Tier]:
    """Tiers as the rules of parameters allow: leverage rises, initial margin falls."""
    count = draw(st.integers(0, MAX_TIERS))
    limits = draw(st.lists(st.integers(1, 1000), min_size=count, max_size=count, unique=True))
    rates = draw(st.lists(st.integers(1, 10**12), min_size=count, max_size=count, unique=True))
    return [Tier(x, r) for x, r in zip(sorted(limits), sorted(rates, reverse=True), strict=True)]


@given(tables(), st.integers(-5, 1100))
def test_tier_is_the_first_that_admits(tiers: list[Tier], leverage: int) -> None:
    wanted = next((k for k, t in enumerate(tiers) if leverage <= t.max_leverage), -1)
    assert run(margin.tier_of, tier_rows(tiers), leverage) == wanted


@given(tables(), st.integers(1, 1100))
def test_initial_rate_against_the_twin(tiers: list[Tier], leverage: int) -> None:
    rate = run(margin.initial_rate_e12, tier_rows(tiers), leverage)
    assert rate == twins.initial_rate_e12(tiers, leverage)
    assert Fraction(1, leverage) <= Fraction(rate, 10**12) <= 1


@given(tables(), st.integers(1, 1000), st.integers(1, 1000))
def test_more_leverage_never_needs_more_margin_within_the_table(tiers: list[Tier], a: int, b: int) -> None:
    rows = tier_rows(tiers)
    low, high = min(a, b), max(a, b)
    if run(margin.tier_of, rows, high) >= 0:
        assert run(margin.initial_rate_e12, rows, high) <= run(margin.initial_rate_e12, rows, low)


@pytest.mark.parametrize(
    ("leverage", "rate"),
    [
        (1, 10**12),
        (3, 333_333_333_334),
        (20, 5 * 10**10),
        (21, 47_619_047_620),
        (50, 2 * 10**10),
        (100, 10**10),
        (101, 10**12),
    ],
)
def test_published_tiers(leverage: int, rate: int) -> None:
    """1/leverage is rounded up; above every tier all of it is asked."""
    assert run(margin.initial_rate_e12, tier_rows(PUBLISHED), leverage) == rate


def test_a_tier_past_a_gap_is_not_in_force() -> None:
    rows = tier_rows(PUBLISHED)
    rows[1]["margin_set"] = 0
    assert run(margin.tier_of, rows, 20) == 0
    assert run(margin.tier_of, rows, 100) == -1
    assert run(margin.initial_rate_e12, rows, 100) == 10**12
