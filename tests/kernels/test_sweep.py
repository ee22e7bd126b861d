"""Full sweeps against the twin, and the hourly settlement of a whole view."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import sweep
from kernels.layouts import ACCOUNT, LIMIT
from kernels.margin import RATIO_MAX_E6
from kernels.sweep import FLAG_CROSS, FLAG_EMPTY, FLAG_FAULT, FLAG_LIQUIDATABLE
from relayer.verify import model_margin as model
from relayer.verify.model_margin import Holding, Market, Tier
from tests.kernels import twins
from tests.kernels.entries import run
from tests.kernels.margins import (
    PUBLISHED,
    holdings,
    markets,
    position_rows,
    risk_rows,
    tables,
    tier_index,
    tier_rows,
)
from tests.kernels.twins import I64_MAX

Row = tuple[int, int, int, Holding]


@st.composite
def books(draw: st.DrawFn) -> tuple[list[Market], list[Row], list[int]]:
    """Markets, positions (account, market, mode, holding) and free balances of a few accounts."""
    given_markets = draw(st.lists(markets(), min_size=1, max_size=3))
    rows = []
    for _ in range(draw(st.integers(0, 8))):
        market = draw(st.integers(0, len(given_markets) - 1))
        holding = draw(holdings(given_markets[market]))
        rows.append((draw(st.integers(0, 3)), market, draw(st.integers(0, 1)), holding))
    return given_markets, rows, draw(st.lists(st.integers(-(10**12), 10**12), min_size=4, max_size=4))


def listed(rows: np.ndarray, accounts: int) -> tuple[np.ndarray, np.ndarray]:
    """(first, members) of the cross positions."""
    first, members = np.full(accounts + 1, -7, np.int64), np.full(len(rows) + 1, -1, np.int64)
    used = run(sweep.list_cross, rows, len(rows), accounts, first, members)
    assert used == (rows["mode"] != 0).sum() == first[-1]
    return first, members


def account_rows(free: list[int]) -> np.ndarray:
    out = np.zeros(len(free), ACCOUNT)
    out["free_e6"] = free
    return out


def flag_of(margin: model.Margin) -> int:
    if margin.maintenance == 0:
        return FLAG_EMPTY
    return FLAG_LIQUIDATABLE if margin.liquidatable else 0


def ratio_of(margin: model.Margin) -> int:
    if margin.maintenance == 0:
        return RATIO_MAX_E6
    return max(-RATIO_MAX_E6, min(RATIO_MAX_E6, margin.equity * 10**6 // margin.maintenance))


@given(books(), tables())
def test_positions_against_the_twin(
    world: tuple[list[Market], list[Row], list[int]], tiers: list[Tier]
) -> None:
    given_markets, rows, _ = world
    positions, table = position_rows(rows), tier_rows(tiers)
    ratios, flags = np.full(len(rows), 7, np.int64), np.full(len(rows), 7, np.int8)
    index = tier_index(table)
    risk, work = risk_rows(given_markets), sweep.new_work()
    marked = run(sweep.sweep_positions, positions, 0, len(rows), risk, table, index, ratios, flags, work)
    for slot, (_, market, mode, holding) in enumerate(rows):
        margin = model.position_margin(holding, given_markets[market], tiers)
        wanted = (RATIO_MAX_E6, FLAG_CROSS) if mode else (ratio_of(margin), flag_of(margin))
        assert (ratios[slot], flags[slot]) == wanted
    assert marked == (flags == FLAG_LIQUIDATABLE).sum()


@given(books(), tables(), st.integers(1, 3 * sweep.BLOCK), st.integers(0, 2 * sweep.BLOCK))
def test_blocks_say_what_each_position_says(
    world: tuple[list[Market], list[Row], list[int]], tiers: list[Tier], count: int, start: int
) -> None:
    """By columns or one by one, wherever a block begins, in scratch that another block has used."""
    given_markets, rows, _ = world
    if not rows:
        return
    positions, table = np.resize(position_rows(rows), count), tier_rows(tiers)
    index, risk, work = tier_index(table), risk_rows(given_markets), sweep.new_work()
    work.numbers[:] = -1
    start = min(start, count)
    columns, each = ((np.full(count, 7, np.int64), np.full(count, 7, np.int8)) for _ in range(2))
    run(sweep.sweep_positions, positions, start, count, risk, table, index, *columns, work)
    for slot in range(start, count):
        run(sweep.sweep_one, positions, slot, risk, table, index, *each)
    for ours, theirs in zip(columns, each, strict=True):
        assert ours.tolist() == theirs.tolist()


@given(books(), tables())
def test_accounts_against_the_twin(
    world: tuple[list[Market], list[Row], list[int]], tiers: list[Tier]
) -> None:
    given_markets, rows, free = world
    positions, table = position_rows(rows), tier_rows(tiers)
    first, members = listed(positions, len(free))
    ratios, flags = np.full(len(free), 7, np.int64), np.full(len(free), 7, np.int8)
    marked = run(
        sweep.sweep_accounts,
        account_rows(free),
        0,
        len(free),
        positions,
        first,
        members,
        risk_rows(given_markets),
        table,
        tier_index(table),
        ratios,
        flags,
    )
    for a, balance in enumerate(free):
        mine = [(h, given_markets[m]) for account, m, mode, h in rows if mode and account == a]
        margin = model.account_margin(balance, mine, tiers)
        assert (ratios[a], flags[a]) == (ratio_of(margin), flag_of(margin))
    assert marked == (flags == FLAG_LIQUIDATABLE).sum()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), max_size=20))
def test_cross_positions_are_listed_once_by_account_and_slot(rows: list[tuple[int, int]]) -> None:
    positions = position_rows([(account, 0, mode, Holding(1)) for account, mode in rows])
    first, members = listed(positions, 6)
    for a in range(6):
        wanted = [slot for slot, (account, mode) in enumerate(rows) if mode and account == a]
        assert members[first[a] : first[a + 1]].tolist() == wanted


@pytest.mark.parametrize(
    ("field", "value"), [("size", LIMIT + 1), ("cash", -LIMIT - 1), ("idx", LIMIT + 1), ("mark", -1)]
)
def test_numbers_past_their_bounds_are_flagged_not_valued(field: str, value: int) -> None:
    market = Market(6, value if field == "mark" else 10**8)
    positions = position_rows([(0, 0, 0, Holding(5, 10))])
    if field != "mark":
        positions[field] = value
    table = tier_rows(PUBLISHED)
    ratios, flags = np.zeros(1, np.int64), np.zeros(1, np.int8)
    index = tier_index(table)
    given_arrays = positions, 0, 1, risk_rows([market]), table, index, ratios, flags, sweep.new_work()
    assert run(sweep.sweep_positions, *given_arrays) == 1
    assert flags[0] == FLAG_FAULT


@pytest.mark.parametrize(
    ("free", "mark", "cash", "wanted"),
    [
        (5, 10**8, 10, (10**8 + 15, 2_500_000, 1)),
        (I64_MAX, 10**8, 10, (0, 0, 0)),
        (I64_MAX, 10**8, -(10**9), (I64_MAX - 9 * 10**8, 2_500_000, 1)),
        (5, -1, 10, (0, 0, 0)),
    ],
)
def test_an_account_whose_sum_or_mark_is_past_bounds_is_at_fault(
    free: int, mark: int, cash: int, wanted: tuple[int, int, int]
) -> None:
    positions, table = position_rows([(0, 0, 1, Holding(1, cash))]), tier_rows(PUBLISHED)
    first, members = listed(positions, 1)
    risk, index = risk_rows([Market(6, mark, 0, 0, 20)]), tier_index(table)
    got = run(sweep.account_margin, free, positions, members, 0, 1, risk, table, index)
    assert got == wanted
    ratios, flags = np.zeros(1, np.int64), np.zeros(1, np.int8)
    lists = (positions, first, members, risk, table, index, ratios, flags)
    marked = run(sweep.sweep_accounts, account_rows([free]), 0, 1, *lists)
    assert (marked, flags[0]) == ((0, 0) if wanted[2] else (1, FLAG_FAULT))


@given(books())
def test_settlement_of_a_view(world: tuple[list[Market], list[Row], list[int]]) -> None:
    given_markets, rows, _ = world
    positions = position_rows(rows)
    assert run(sweep.settle_positions, positions, 0, len(rows), risk_rows(given_markets)) == 0
    for slot, (_, number, _, holding) in enumerate(rows):
        market = given_markets[number]
        pay, rem, _ = twins.settle(holding.size, holding.rem, holding.idx, market.index_e6, 10**market.e)
        after = (holding.cash + pay, rem, market.index_e6)
        assert tuple(int(positions[slot][n]) for n in ("cash", "rem", "idx")) == after
    again = positions.copy()
    assert run(sweep.settle_positions, again, 0, len(rows), risk_rows(given_markets)) == 0
    assert (again == positions).all()


@given(st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=8), st.integers(0, 9), st.data())
def test_an_hour_conserves_cash_and_remainders(sizes: list[int], e: int, data: st.DataObject) -> None:
    """With sizes that sum to zero, the sum of cash · D + rem is the same after any hours."""
    sizes = [*sizes, -sum(sizes)]
    one = 10**e
    rows = [
        (k, 0, 0, Holding(n, 100 - k, 0, data.draw(st.integers(0, one - 1)))) for k, n in enumerate(sizes)
    ]
    positions = position_rows(rows)
    before = sum(int(p["cash"]) * one + int(p["rem"]) for p in positions)
    for index in data.draw(st.lists(st.integers(-(10**12), 10**12), max_size=4)):
        sweep.settle_positions(positions, 0, len(rows), risk_rows([Market(e, 10**8, index)]))
        assert sum(int(p["cash"]) * one + int(p["rem"]) for p in positions) == before
        assert all(0 <= p["rem"] < one for p in positions)


def test_what_cannot_be_settled_is_left_and_counted() -> None:
    positions = position_rows([(0, 0, 0, Holding(1, LIMIT + 1)), (0, 0, 0, Holding(1, 5))])
    before = positions.copy()
    assert run(sweep.settle_positions, positions, 0, 2, risk_rows([Market(0, 10**8, 3)])) == 1
    assert positions[0] == before[0]
    assert positions[1]["cash"] == 2
