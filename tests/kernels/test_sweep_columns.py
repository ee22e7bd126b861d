"""The sweep by columns: which positions it decides itself, what it lays out for them, and what it leaves alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from kernels import margin, sweep
from kernels.layouts import LIMIT, POSITION
from kernels.sweep import BLOCK, COLUMNS, FLAG_CROSS, FLAG_EMPTY, FLAG_FAULT, FLAG_LIQUIDATABLE
from relayer.verify.model_margin import Tier
from tests.kernels.entries import run
from tests.kernels.margins import tier_index, tier_rows

TIERS = [
    Tier(1, 10**12, 4 * 10**11, 0),
    Tier(20, 10**11, 10**10, 5_000),
    Tier(50, 10**11, 5 * 10**9, 0),
    Tier(100, 10**9, 10**8, 0),
]
"""Leverage 1 needs 40 %, up to 20 1 % of at most 5,000 e6, up to 50 half a percent of any size, up
to 100 a hundredth of one."""
PLAIN = 0


class Case(NamedTuple):
    """A position and its market, as a sweep meets them: one unit of price is one micro-USDC, unless `div` says."""

    size: int
    cash: int
    idx: int = 0
    rem: int = 0
    leverage: int = 50
    mode: int = 0
    mark: int = 100
    index_e6: int = 0
    scale: int = 1
    div: int = 1
    floor_e12: int = 0


class Laid(NamedTuple):
    """Rows of cases, each in a market of its own, and scratch."""

    positions: np.ndarray
    risk: np.ndarray
    tiers: np.ndarray
    tier_at: np.ndarray
    work: sweep.Work


def laid(cases: list[Case]) -> Laid:
    positions, risk = np.zeros(len(cases), POSITION), np.zeros(len(cases), margin.RISK)
    for k, case in enumerate(cases):
        positions[k]["market"] = k
        for name in ("size", "cash", "idx", "rem", "leverage", "mode"):
            positions[k][name] = getattr(case, name)
        run(
            margin.put_risk, risk[k], case.mark, case.index_e6, case.floor_e12, 20, case.scale, 1, case.div
        )  # fmt: skip
    tiers, work = tier_rows(TIERS), sweep.new_work()
    work.numbers[:] = -3
    return Laid(positions, risk, tiers, tier_index(tiers), work)


def by_columns(cases: list[Case]) -> tuple[list[int], list[int], list[int]]:
    """(ratios, flags, 0 for each that the columns decided) of at most a block of cases."""
    rows = laid(cases)
    ratios, flags = np.full(len(cases), 7, np.int64), np.full(len(cases), 7, np.int8)
    run(sweep.gather, rows.positions, 0, len(cases), rows.risk, rows.tier_at, rows.work)
    run(sweep.value_columns, len(cases), rows.work, 0, ratios, flags)
    return ratios.tolist(), flags.tolist(), rows.work.numbers[: len(cases)].tolist()


def one_by_one(cases: list[Case]) -> tuple[list[int], list[int]]:
    rows = laid(cases)
    ratios, flags = np.full(len(cases), 7, np.int64), np.full(len(cases), 7, np.int8)
    for slot in range(len(cases)):
        run(sweep.sweep_one, rows.positions, slot, rows.risk, rows.tiers, rows.tier_at, ratios, flags)
    return ratios.tolist(), flags.tolist()


PLAIN_CASES = [
    Case(7, 2),
    Case(-7, 702),
    Case(7, -650, idx=-3, index_e6=9, rem=1, scale=10, mark=123, div=7),
    Case(-7, 9_000, idx=5, index_e6=-8, rem=6, scale=100, mark=991, div=10),
    Case(1, 5, mark=1),  # needs one unit
    Case(100, -9_950, leverage=50),  # equity is exactly what it needs
    Case(100, -9_951, leverage=50),  # and one less
    Case(50, -4_900, leverage=20),  # exactly as large as its tier admits
    Case(9, -500, leverage=1),
    Case(9, -500, leverage=2),
    Case(9, -500, leverage=0),
    Case(9, -850, floor_e12=10**11),
    Case(10**9, -(10**11), idx=1, index_e6=2, scale=3, mark=100, div=11),
]


def test_plain_positions_are_decided_by_the_columns() -> None:
    cases = (PLAIN_CASES * BLOCK)[:BLOCK]
    ratios, flags, odd = by_columns(cases)
    assert (ratios, flags) == one_by_one(cases)
    assert odd == [PLAIN] * BLOCK
    assert flags[5:7] == [0, FLAG_LIQUIDATABLE] and ratios[5] == 10**6


def test_columns_hold_what_their_names_say() -> None:
    rows = laid(PLAIN_CASES)
    run(sweep.gather, rows.positions, 0, len(PLAIN_CASES), rows.risk, rows.tier_at, rows.work)
    columns = rows.work.numbers.reshape(COLUMNS, BLOCK)[:, : len(PLAIN_CASES)].tolist()
    rates = {0: 10**10, 1: 4 * 10**11, 2: 10**10, 20: 10**10, 50: 5 * 10**9}
    limits = {0: 5_000, 1: LIMIT, 2: 5_000, 20: 5_000, 50: LIMIT}
    assert columns == [
        [PLAIN] * len(PLAIN_CASES),
        [case.size for case in PLAIN_CASES],
        [case.cash for case in PLAIN_CASES],
        [case.index_e6 - case.idx for case in PLAIN_CASES],
        [case.rem for case in PLAIN_CASES],
        [case.scale for case in PLAIN_CASES],
        [case.mark for case in PLAIN_CASES],
        [case.div for case in PLAIN_CASES],
        [max(rates[case.leverage], case.floor_e12) for case in PLAIN_CASES],
        [limits[case.leverage] for case in PLAIN_CASES],
    ]
    inverses = rows.work.inverses.reshape(2, BLOCK)[:, : len(PLAIN_CASES)].tolist()
    assert inverses == [[1 / case.scale for case in PLAIN_CASES], [1 / case.div for case in PLAIN_CASES]]


@pytest.mark.parametrize(
    ("case", "flag"),
    [
        (Case(7, 2, mode=1), FLAG_CROSS),
        (Case(0, 2), FLAG_EMPTY),
        (Case(7, 2, mark=-1), FLAG_FAULT),
        (Case(7, LIMIT + 1), FLAG_FAULT),
        (Case(7, 2, idx=-LIMIT - 1), FLAG_FAULT),
        (Case(7, 2, index_e6=LIMIT + 1), FLAG_FAULT),
        (Case(LIMIT + 1, 2), FLAG_FAULT),
        (Case(51, -5_000, leverage=20), 0),  # past its tier: slice by slice
        (Case(1 << 40, 0, index_e6=1 << 40), FLAG_FAULT),  # pays more than any number
        (Case(-(1 << 31), 0, index_e6=1 << 30, mark=1_000), FLAG_FAULT),  # is paid exactly 2**61
        (Case(1 << 61, 9 - (1 << 61), mark=1, leverage=100), FLAG_FAULT),  # is worth exactly 2**61
        (Case(7, 1 << 60, mark=1), 0),  # a ratio past 2**62
        (Case(1 << 57, 0, mark=10, leverage=1), 0),  # needs more than a column divides by
    ],
)
def test_what_the_columns_leave_is_decided_one_by_one(case: Case, flag: int) -> None:
    """Alone and among plain ones."""
    for cases in ([case], [*PLAIN_CASES, case, *PLAIN_CASES]):
        at = cases.index(case)
        odd = by_columns(cases)[2]
        assert odd[at] != PLAIN and sum(map(bool, odd)) == 1
        rows = laid(cases)
        ratios, flags = np.full(len(cases), 7, np.int64), np.full(len(cases), 7, np.int8)
        run(
            sweep.sweep_positions, rows.positions, 0, len(cases), rows.risk, rows.tiers, rows.tier_at, ratios,
            flags, rows.work,
        )  # fmt: skip
        assert (ratios.tolist(), flags.tolist()) == one_by_one(cases)
        assert flags[at] == flag
