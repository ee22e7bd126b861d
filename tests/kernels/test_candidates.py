"""What is proposed of units that a sweep found: their margins, the position of a cross account, the other side."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import candidates, liquidation, slots, touched
from kernels.funding_accrual import accrued_index
from kernels.layouts import (
    ACCOUNT,
    LIMIT,
    MARKET,
    MARKET_FROZEN,
    MARKET_HALTED,
    MARKET_REDUCE_ONLY,
    STATUS_HELD,
    STATUS_OK,
)
from kernels.margin import RATIO_MAX_E6, RISK
from kernels.oracle_rules import oracle_row
from relayer.verify import model_margin as model
from relayer.verify.model_margin import Holding, Market
from tests.kernels.entries import run
from tests.kernels.margins import PUBLISHED, position_rows, risk_rows, tier_index, tier_rows

TIERS = tier_rows(PUBLISHED)
INDEX = tier_index(TIERS)
WORLD = [Market(6, 10**8, leverage=20), Market(6, 2 * 10**8, leverage=20), Market(6, -1, leverage=20)]
EVERYWHERE = np.ones(3, np.int64)


def market_row(**values: int) -> np.ndarray:
    rows = np.zeros(1, MARKET)
    rows["scale"], rows["quote_mul"], rows["quote_div"], rows["leverage_default"] = 10**6, 1, 1, 20
    rows["mark"], rows["conf"], rows["status"], rows["move_e12"] = 10**8, 10**5, STATUS_OK, 7
    rows["interval_s"] = 3600
    for name, value in values.items():
        rows[name] = value
    return rows


def risk_of(rows: np.ndarray, second_ns: int = 0) -> tuple[np.void, int]:
    risk, permitted = np.zeros(1, RISK), np.zeros(1, np.int64)
    oracles = np.array([oracle_row()])
    run(candidates.put_risks, rows, oracles, 1, second_ns, 500_000, 5_000_000, risk, permitted)
    return risk[0], int(permitted[0])


def test_a_market_is_read_as_the_engine_reads_it() -> None:
    risk, permitted = risk_of(market_row())
    floor = model.floor_rate_e12(500_000, 5_000_000, 10**5, 10**8, 7)
    assert (int(risk["mark"]), int(risk["floor_e12"]), int(risk["leverage"])) == (10**8, floor, 20)
    assert (int(risk["scale"]), int(risk["quote_mul"]), int(risk["quote_div"]), permitted) == (10**6, 1, 1, 1)
    assert int(risk_of(market_row(mark=0))[0]["mark"]) == -1
    assert int(risk_of(market_row(mark=1))[0]["mark"]) == 1


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"state": MARKET_HALTED}, 0),
        ({"state": MARKET_FROZEN}, 0),
        ({"state": MARKET_REDUCE_ONLY}, 1),
        ({"status": STATUS_HELD}, 0),
    ],
)
def test_where_the_engine_would_not_liquidate_nothing_is_permitted(
    values: dict[str, int], wanted: int
) -> None:
    assert risk_of(market_row(**values))[1] == wanted


def test_funding_counts_as_it_accrues() -> None:
    rows = market_row(
        open_interest=5, index_e6=10**9, period_s=28_800, sample_s=1, valid_min=0, lag=1,
        rate_set_e12=10**9, pay_price=10**8,
    )  # fmt: skip
    second_ns = 1800 * 10**9
    wanted = run(accrued_index, rows[0], second_ns)
    assert wanted > 10**9
    assert int(risk_of(rows, second_ns)[0]["index_e6"]) == wanted


def test_margins_of_positions_are_the_models_and_what_cannot_be_told_needs_nothing() -> None:
    given = [
        (1, 0, 0, Holding(1000, -(10**11) + 10**9)),
        (2, 1, 0, Holding(-500, 10**11)),
        (3, 2, 0, Holding(5)),
    ]
    rows, risk = position_rows(given), risk_rows(WORLD)
    equity, need, ratios = np.zeros((3, 3), np.int64)
    found = np.array([2, 0, 1])
    common = rows, risk, TIERS, INDEX
    faults = run(candidates.value_positions, found, 3, *common, EVERYWHERE, equity, need, ratios)
    assert faults == 1 and (int(equity[0]), int(need[0]), int(ratios[0])) == (0, 0, RATIO_MAX_E6)
    for k, (market, holding) in enumerate([(WORLD[0], given[0][3]), (WORLD[1], given[1][3])], 1):
        wanted = model.position_margin(holding, market, PUBLISHED)
        assert (int(equity[k]), int(need[k])) == (wanted.equity, wanted.maintenance)
        assert int(ratios[k]) == wanted.equity * 10**6 // wanted.maintenance
    permitted = np.array([0, 1, 1])
    run(candidates.value_positions, found, 3, *common, permitted, equity, need, ratios)
    assert need.tolist()[:2] == [0, 0] and need[2] > 0


def test_margins_of_cross_accounts_land_behind_those_of_positions() -> None:
    """Accounts 1 and 2 can be told, 3 holds what has no mark, 4 nothing that may be closed, 5 nothing at all."""
    given = [
        (1, 0, 1, Holding(1000, -(10**11) + 10**9)),
        (1, 1, 1, Holding(-10, 2 * 10**9)),
        (2, 1, 1, Holding(-500, 10**11)),
        (3, 2, 1, Holding(5)),
        (4, 3, 1, Holding(1000, -(10**11) + 10**9)),
    ]
    world = [*WORLD, WORLD[0]]
    rows, risk, permitted = position_rows(given), risk_rows(world), np.array([1, 1, 1, 0])
    accounts = np.zeros(6, ACCOUNT)
    accounts["free_e6"] = [0, 10**8, -(10**8), 7, 8, 9]
    first, following = np.zeros(6, np.int32), np.zeros(len(given), np.int32)
    run(slots.index_cross, first, following, rows, len(given))
    out = np.full((4, 7), -99, np.int64)
    found = np.array([2, 3, 4, 1, 5])
    lists = first, following, touched.new_members()
    rules = risk, TIERS, INDEX, permitted
    faults = run(candidates.value_accounts, found, 5, accounts, rows, *lists, *rules, 1, *out)
    equity, need, ratios, to_close = out
    assert faults == 1
    assert to_close.tolist() == [-99, 2, 3, -1, 0, -1, -99]
    for k, account in ((1, 2), (4, 1)):
        parts = [model.position_margin(h, world[m], PUBLISHED) for a, m, _, h in given if a == account]
        assert int(equity[k]) == sum(part.equity for part in parts) + int(accounts["free_e6"][account])
        assert int(need[k]) == sum(part.maintenance for part in parts)
        assert int(ratios[k]) == int(equity[k]) * 10**6 // int(need[k])
    for k in (2, 3, 5):
        assert (int(equity[k]), int(need[k]), int(ratios[k])) == (0, 0, RATIO_MAX_E6)
    assert {int(array[k]) for array in out for k in (0, 6)} == {-99}


def leverage_of(slot: int, rows: np.ndarray, free_e6: int, world: list[Market]) -> tuple[int, int]:
    """`unit_leverage` of a position in a world of one account, number 1."""
    accounts = np.zeros(2, ACCOUNT)
    accounts["free_e6"][1] = free_e6
    first, following = np.zeros(2, np.int32), np.zeros(len(rows), np.int32)
    run(slots.index_cross, first, following, rows, len(rows))
    lists = first, following, touched.new_members()
    told: tuple[int, int] = run(
        candidates.unit_leverage, slot, accounts, rows, *lists, risk_rows(world), TIERS, INDEX
    )
    return told


def test_leverage_is_of_the_unit() -> None:
    rows = position_rows(
        [(1, 0, 0, Holding(-10, 10**9 + 5)), (1, 1, 1, Holding(3, -(10**9))), (1, 3, 1, Holding(-2, 10**9))]
    )
    world = [*WORLD, WORLD[1]]
    assert leverage_of(0, rows, 77, world) == (10**9, 5)
    assert leverage_of(1, rows, 77, world) == (6 * 10**8 + 4 * 10**8, 77 + 6 * 10**8 - 4 * 10**8)
    rows["market"][2] = 2
    assert leverage_of(1, rows, 77, world) == (0, 0), "a position of the unit has no mark"
    assert leverage_of(2, rows, 77, world) == (0, 0)
    assert leverage_of(0, rows, 77, world) == (10**9, 5), "an isolated position does not mind"


def test_a_units_notional_stops_at_the_bound() -> None:
    largest = (1 << 60) // (9 * 10**9)
    world = [Market(6, 9 * 10**9, leverage=20)] * 3
    worth = largest * 9 * 10**9
    rows = position_rows([(1, m, 1, Holding(largest, 1 - worth)) for m in range(3)])
    assert leverage_of(1, rows[:2].copy(), 0, world) == (2 * worth, 2)
    assert leverage_of(1, rows, 0, world) == (LIMIT, 3)


def chosen(rows: np.ndarray, permitted: np.ndarray = EVERYWHERE) -> int:
    members = np.arange(len(rows))
    told: int = run(
        candidates.chosen, rows, members, len(rows), risk_rows(WORLD[:2] * 2), TIERS, INDEX, permitted
    )
    return told


def test_of_a_cross_account_the_heaviest_position_is_closed_first() -> None:
    rows = position_rows(
        [(1, 1, 1, Holding(-400)), (1, 0, 1, Holding(1000)), (1, 2, 1, Holding(1000)), (1, 3, 1, Holding(0))]
    )
    everywhere = np.ones(4, np.int64)
    assert chosen(rows, everywhere) == 1, "the largest; of equals the lowest market"
    assert chosen(rows, np.array([0, 1, 1, 1])) == 2
    assert chosen(rows, np.array([0, 1, 0, 1])) == 0
    assert chosen(rows, np.zeros(4, np.int64)) == -1
    for row in (1, 5):
        rows["liquidation"][0] = row
        assert chosen(rows, everywhere) == 0, "the engine takes one at a time"
    assert chosen(rows, np.array([1, 0, 1, 1])) == -1
    rows["size"][0] = 0
    assert chosen(rows, everywhere) == 1


def test_the_heaviest_stays_chosen_whatever_comes_after_it() -> None:
    for lighter in (Holding(10), Holding(-10)):
        assert chosen(position_rows([(1, 1, 1, Holding(1000)), (1, 0, 1, lighter)])) == 0


def test_the_other_side_by_market_and_side_with_its_score() -> None:
    given = [
        (1, 0, 0, Holding(-1000, 10**11 + 10**10)),
        (2, 0, 0, Holding(1, -(10**8) + 10**7)),
        (3, 1, 0, Holding(-5, 10**9)),
        (4, 0, 0, Holding(0, 7)),
        (5, 0, 1, Holding(-10, 10**9)),
        (5, 1, 1, Holding(10, -(2 * 10**9))),
    ]
    rows, risk = position_rows(given), risk_rows(WORLD)
    rows["cost_e6"] = -(10**6)
    accounts = np.zeros(6, ACCOUNT)
    accounts["free_e6"][5] = 10**9
    first, following = np.zeros(6, np.int32), np.zeros(6, np.int32)
    run(slots.index_cross, first, following, rows, 6)
    lists = first, following, touched.new_members()
    out = np.zeros((4, 6), np.int64)
    common = accounts, rows, *lists, risk, TIERS, INDEX
    count = run(candidates.score_side, 0, -1, 6, *common, *out)
    assert out[0][:count].tolist() == [0, 4] and out[1][:count].tolist() == [-1000, -10]
    single = model.position_margin(given[0][3], WORLD[0], PUBLISHED)
    both = [model.position_margin(given[k][3], WORLD[k - 4], PUBLISHED) for k in (4, 5)]
    equities = [single.equity, 10**9 + sum(one.equity for one in both)]
    assert out[3][:count].tolist() == equities
    for k, (size, notional) in enumerate([(-1000, 10**11), (-10, 10**9 + 2 * 10**9)]):
        pnl = size * 10**8 + 10**6
        wanted = run(liquidation.deleverage_score, pnl, -(10**6), notional, equities[k])
        assert int(out[2][k]) == wanted
    assert run(candidates.score_side, 0, 1, 6, *common, *out) == 1 and out[0][0] == 1
    rows["cost_e6"][0] = LIMIT + 1
    run(candidates.score_side, 0, -1, 6, *common, *out)
    assert int(out[2][0]) == -(liquidation.SCORE_MAX**2), "last of all: what it gained cannot be told"
    # Arrays that are too short are not overrun, and the count says so.
    short = out[:, :1].copy()
    assert run(candidates.score_side, 0, -1, 6, *common, *short) == 2


def test_what_an_account_holds_is_listed_by_market() -> None:
    """Slots 0, 3 and 4 are account 1's and open; 1 is another's, 2 is closed, 5 lies past the markets asked for."""
    given = [(1, 2, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1), (1, 3, 0), (1, 4, 0)]
    sizes = [1, 5, 0, -5, 7, 9]
    rows = position_rows([(*place, Holding(size)) for place, size in zip(given, sizes, strict=True)])
    table, held = np.full(16, slots.EMPTY, np.int64), np.full(5, -7, np.int64)
    run(slots.index_positions, table, rows, len(rows))
    assert run(candidates.list_held, 1, 4, table, rows, held) == 3
    assert held.tolist() == [3, 0, 4, -7, -7]
    assert run(candidates.list_held, 3, 4, table, rows, held) == 0
