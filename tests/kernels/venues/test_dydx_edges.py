"""dYdX v4's rules where one branch ends and the next begins, and what each step refuses, by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from kernels.venues import dydx
from kernels.venues.exact import LIMBS, int_of_limbs
from kernels.venues.status import NO_REQUIREMENT, NOT_A_REDUCTION, OK, OUT_OF_RANGE, OVERFLOW
from tests.kernels.entries import run
from tests.kernels.twins import I64_MAX, I64_MIN
from tests.kernels.venues import twins
from tests.kernels.venues.twins import Held

ONE = Held(1, 1, 0, 10**6, 10**6)
"""One unit at 1, all of it held as margin."""
WIDE = I64_MIN, I64_MAX
"""Caps of open interest further apart than int64."""


def rows(*positions: Held) -> np.ndarray:
    return np.array([tuple(p) for p in positions], dydx.POSITION)


@pytest.mark.parametrize(
    ("oi", "caps", "answer"),
    [(I64_MAX, WIDE, (10**6, OK)), (5, WIDE, (0, OVERFLOW)), (I64_MIN, WIDE, (10, OK))],
)
def test_scaled_rate_at_caps_too_far_apart(oi: int, caps: tuple[int, int], answer: tuple[int, int]) -> None:
    """At the upper cap it is everything, however far the lower one."""
    assert run(dydx.scaled_initial_ppm, 10, oi, *caps) == answer


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ((100, -1, 5), (0, OUT_OF_RANGE)),
        ((100, 5, -1), (0, OUT_OF_RANGE)),
        ((I64_MAX, 2 * 10**6, 1), (0, OVERFLOW)),
        ((I64_MAX, 10**6, 10**6 + 1), (0, OVERFLOW)),
        ((101, 10**5, 5 * 10**5), (6, OK)),
    ],
)
def test_maintenance_margin(arguments: tuple[int, int, int], answer: tuple[int, int]) -> None:
    """10.1 rounds up to 11, half of that to 6."""
    assert run(dydx.maintenance_margin_e6, *arguments) == answer


@pytest.mark.parametrize(
    ("position", "oi_base", "caps", "status"),
    [
        (Held(I64_MAX, 2, 0, 1, 1), 0, (0, 0), OVERFLOW),
        (Held(1, 2, 0, 1, 1), I64_MAX, (0, 0), OVERFLOW),
        (Held(1, 2, 0, 1, 1), 5, WIDE, OVERFLOW),
        (Held(1, 2, 0, 1, -1), 5, WIDE, OUT_OF_RANGE),
    ],
)
def test_a_refused_requirement_says_nothing_else(
    position: Held, oi_base: int, caps: tuple[int, int], status: int
) -> None:
    assert run(dydx.margin_requirement, *position, oi_base, *caps) == (0, 0, status)


@pytest.mark.parametrize(
    ("position", "answer"),
    [
        (Held(I64_MAX, 2, 0, 1, 1), (0, 0, OVERFLOW)),
        (Held(1, 1, 0, -1, 1), (0, 0, OUT_OF_RANGE)),
        (Held(1, 1, 0, 1, -1), (0, 0, OUT_OF_RANGE)),
        (ONE, (8, 1, OK)),
    ],
)
def test_totals_of_one_position(position: Held, answer: tuple[int, int, int]) -> None:
    assert run(dydx.account_totals, 7, rows(position)) == answer


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(
    ("size", "close", "status"),
    [
        (0, 1, NOT_A_REDUCTION),
        (0, -1, NOT_A_REDUCTION),
        (0, 0, NOT_A_REDUCTION),
        (1, 0, NOT_A_REDUCTION),
        (1, -1, NOT_A_REDUCTION),
        (1, 2, NOT_A_REDUCTION),
        (5, 7, NOT_A_REDUCTION),
        (1, 1, OK),
        (2, 1, OK),
        (5, 5, OK),
    ],
)
def test_closes_of_single_units(side: int, size: int, close: int, status: int) -> None:
    held = [ONE._replace(size=side * size), ONE]
    quote, got = run(dydx.bankruptcy_quote, 3, rows(*held), 0, -side * close)
    assert got == status
    wanted = twins.bankruptcy_quote(3, held, 0, -side * close)
    assert quote == (wanted or 0) and (wanted is None) == (status != OK)


def fillable(usdc: int, position: Held, adjustment: int, spread: int) -> tuple[Fraction, int]:
    num, den = np.full((2, LIMBS), -7, np.int64)
    status = run(dydx.fillable_price, usdc, rows(position), 0, adjustment, spread, num, den)
    return Fraction(int_of_limbs(num), int_of_limbs(den)) if status == OK else Fraction(0), status


@pytest.mark.parametrize(
    ("usdc", "position", "adjustment", "price"),
    [
        (0, ONE, 10**6, Fraction(1)),
        (-1, ONE, 10**6, Fraction(0)),
        (-1, ONE, 999_999, Fraction(1, 10**6)),
        (-999_999, ONE, 1, Fraction(1, 10**6)),
        (-(10**6), ONE, 1, Fraction(0)),
        (-3, Held(2, 1, 0, 10**6, 10**6), 666_667, Fraction(0)),
        (20, Held(5, -3, 0, 10**6, 10**6), 10**6, Fraction(-5)),
        (15, Held(-5, -3, 0, 10**6, 10**6), 0, Fraction(-3)),
    ],
)
def test_fillable_price_by_hand(usdc: int, position: Held, adjustment: int, price: Fraction) -> None:
    """The spread is all of the margin: a rating of 1 takes all of the price, and no rating is above 1."""
    assert fillable(usdc, position, adjustment, 10**6) == (price, OK)
    assert twins.fillable_price(usdc, [position], 0, adjustment, 10**6) == price


@pytest.mark.parametrize(
    ("usdc", "position", "status"),
    [
        (0, ONE._replace(size=0), NOT_A_REDUCTION),
        (0, ONE._replace(size=I64_MIN), OVERFLOW),
        (I64_MIN, ONE, OVERFLOW),
        (0, ONE._replace(initial_ppm=0), NO_REQUIREMENT),
    ],
)
def test_fillable_price_refused(usdc: int, position: Held, status: int) -> None:
    assert fillable(usdc, position, 1, 1) == (0, status)


@pytest.mark.parametrize(
    ("usdc", "fill", "fee", "answer"),
    [
        (0, (0, 1), 1, (0, OUT_OF_RANGE)),
        (0, (-1, 1), 1, (0, OUT_OF_RANGE)),
        (0, (1, -1), 1, (0, OUT_OF_RANGE)),
        (0, (1, 1), -1, (0, OUT_OF_RANGE)),
        (2**62, (1, I64_MAX), 1, (0, OVERFLOW)),
        (0, (1, 0), 10**6, (0, OK)),
        (0, (1, 1), 0, (0, OK)),
        (0, (1, 1), 10**6, (1, OK)),
        (-2, (1, 1), 10**6, (-1, OK)),
    ],
)
def test_insurance_delta_by_hand(usdc: int, fill: tuple[int, int], fee: int, answer: tuple[int, int]) -> None:
    """One unit at 1 is bankrupt at a quote of minus what the account has beside it."""
    assert run(dydx.insurance_delta, usdc, rows(ONE), 0, 0, *fill, fee) == answer
