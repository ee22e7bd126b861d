"""Margin where one branch ends and the next begins, by hand: rows derived, limits, shares, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import margin
from kernels.layouts import LIMIT, MAX_TIERS
from kernels.margin import PRICE_WIDE, RATIO_MAX_E6
from kernels.narrow import magic_of, rate_magic
from relayer.verify.model_margin import Holding, Tier
from tests.kernels.entries import run
from tests.kernels.margins import PUBLISHED, USDC, initial_index, position_rows, tier_index, tier_rows
from tests.kernels.twins import I64_MAX, ONE_E12

TWO = [Tier(1, ONE_E12, ONE_E12 // 2, 3), Tier(20, ONE_E12 // 10, ONE_E12 // 20, 1)]
"""Half at 1x; above that a twentieth of the first micro-USDC."""
FULL = [Tier(k + 1, ONE_E12 - k, (k + 1) * 10**10, 10 * (MAX_TIERS - k)) for k in range(MAX_TIERS)]
"""As many tiers as there may be; the last, against all sense, asks for most."""


def risk_row(mark: int, floor_e12: int = 0, e: int = 0, leverage: int = 7) -> np.void:
    row = np.zeros(1, margin.RISK)[0]
    run(margin.put_risk, row, mark, -5, floor_e12, leverage, 10**e, 10**3, 10)
    return row


def test_a_risk_row_holds_what_is_derived_in_step() -> None:
    row = risk_row(mark=123, floor_e12=10**9, e=3)
    (scale_magic, scale_shift), (quote_magic, quote_shift) = run(magic_of, 1000), run(magic_of, 10)
    assert {name: row[name].item() for name in margin.RISK.names or ()} == {
        "mark": 123,
        "index_e6": -5,
        "floor_e12": 10**9,
        "floor_magic": run(rate_magic, 10**9),
        "leverage": 7,
        "lot_e6": 123_000,
        "scale": 1000,
        "scale_magic": scale_magic,
        "scale_shift": scale_shift,
        "quote_div": 10,
        "quote_magic": quote_magic,
        "quote_shift": quote_shift,
        "quote_mul": 1000,
        "scale_inverse": 1 / 1000,
        "quote_inverse": 1 / 10,
    }


@pytest.mark.parametrize(
    ("mark", "kept"), [(-7, -1), (-1, -1), (0, 0), (1, 1), (PRICE_WIDE, PRICE_WIDE), (PRICE_WIDE + 1, -1)]
)
def test_a_mark_that_cannot_be_valued_is_none(mark: int, kept: int) -> None:
    assert int(risk_row(mark)["mark"]) == kept


@pytest.mark.parametrize(("floor", "kept"), [(-1, 0), (0, 0), (ONE_E12, ONE_E12), (ONE_E12 + 1, ONE_E12)])
def test_a_floor_is_a_share(floor: int, kept: int) -> None:
    row = risk_row(1, floor)
    assert (int(row["floor_e12"]), int(row["floor_magic"])) == (kept, run(rate_magic, kept))


def test_a_full_table_admits_what_its_last_tier_does() -> None:
    rows = tier_rows(FULL)
    assert run(margin.tier_of, rows, MAX_TIERS) == MAX_TIERS - 1
    assert run(margin.tier_of, rows, MAX_TIERS + 1) == -1
    assert run(margin.held_tier, rows, MAX_TIERS + 1) == MAX_TIERS - 1


def test_tier_0_takes_the_rest_whatever_its_limit() -> None:
    """Tier 1 takes 150 of 10,000 at 2 %, tier 0 the rest, at no lower rate: 200 in all."""
    assert run(margin.maintenance_e6, tier_rows(FULL), 1, 10_000, 0) == 200


@pytest.mark.parametrize(("leverage", "top"), [(0, 0), (1, 0), (2, 1), (20, 1), (21, 1)])
def test_maintenance_by_leverage(leverage: int, top: int) -> None:
    """Tier 0 has no limit: below it there is nothing. Above the table the last tier goes on."""
    rate = TWO[top].maintenance_e12
    wanted = [top, rate, run(rate_magic, rate), LIMIT if top == 0 else 1]
    assert tier_index(tier_rows(TWO))[leverage].tolist() == wanted


def test_maintenance_by_leverage_without_a_limit_or_a_tier() -> None:
    endless = [PUBLISHED[0], PUBLISHED[1]._replace(max_notional_e6=0)]
    rate = PUBLISHED[1].maintenance_e12
    assert tier_index(tier_rows(endless))[50].tolist() == [1, rate, run(rate_magic, rate), LIMIT]
    assert tier_index(tier_rows([]))[50].tolist() == [-1, ONE_E12, run(rate_magic, ONE_E12), LIMIT]


@pytest.mark.parametrize(
    ("leverage", "rate", "largest", "top"),
    [
        (0, ONE_E12, 3, 0),
        (1, ONE_E12, 3, 0),
        (2, ONE_E12 // 2, 1, 1),
        (3, ONE_E12 // 3 + 1, 1, 1),
        (20, ONE_E12 // 10, 1, 1),
        (21, ONE_E12, LIMIT, -1),
    ],
)
def test_initial_by_leverage(leverage: int, rate: int, largest: int, top: int) -> None:
    index = initial_index(tier_rows(TWO))
    assert index[leverage].tolist() == [rate, run(rate_magic, rate), largest, top]
    for notional in (1, 2, 3, 4):
        assert run(margin.too_large, index, leverage, notional) == (notional > largest)


@pytest.mark.parametrize(
    ("leverage", "notional", "need"),
    [
        (2, 2 * ONE_E12, ONE_E12),
        (3, 3 * ONE_E12, ONE_E12 + 2),
        (1000, 1000 * ONE_E12, ONE_E12),
    ],
)
def test_one_over_leverage_is_rounded_up_once(leverage: int, notional: int, need: int) -> None:
    assert run(margin.initial_e6, tier_rows([Tier(1000, 1, 1)]), leverage, notional, 0) == need


SLICES = [Tier(1, ONE_E12, ONE_E12), Tier(2, ONE_E12 // 2, ONE_E12 // 2, 1), Tier(100, 10**10, 10**10, 1)]
"""One micro-USDC at 1 %, nothing at 50 %, all else in full."""


@pytest.mark.parametrize(("notional", "need"), [(0, 0), (1, 1), (2, 2), (3, 3), (100, 100), (101, 101)])
def test_a_slice_that_ends_where_it_begins_takes_nothing(notional: int, need: int) -> None:
    """0.01 + n - 1, up: n."""
    rows = tier_rows(SLICES)
    assert run(margin.maintenance_e6, rows, 2, notional, 0) == need
    assert run(margin.initial_by, rows, initial_index(rows), 100, notional) == need


def test_the_smallest_fraction_rounds_up() -> None:
    """1e-12 of the first unit and all of the second: 1.000000000001, so 2."""
    rows = tier_rows([Tier(1, ONE_E12, ONE_E12), Tier(2, 1, 1, 1)])
    assert run(margin.maintenance_e6, rows, 1, 2, 0) == 2


@pytest.mark.parametrize(
    ("conf", "mark", "rate"),
    [
        (0, 0, ONE_E12),
        (0, 1, 2000),
        (-1, -1, ONE_E12),
        (1, 2 * ONE_E12, 2001),
        (I64_MAX, 2 * ONE_E12, ONE_E12),
        (I64_MAX, I64_MAX, ONE_E12),
    ],
)
def test_floor_rate_of_a_price_without_meaning(conf: int, mark: int, rate: int) -> None:
    assert run(margin.floor_rate_e12, 1, 1, conf, mark, 0) == rate


@pytest.mark.parametrize("price", [-1, PRICE_WIDE + 1])
def test_nothing_is_worth_anything_at_such_a_price(price: int) -> None:
    assert run(margin.valued, 5, price, 1, 1) == (0, 0, 0)
    assert run(margin.equity_e6, 5, 7, 0, 0, 0, 1, price, 1, 1) == (0, 0)
    assert run(margin.equity_e6, 5, LIMIT + 1, 0, 0, 0, 1, 5, 1, 1) == (0, 0)


@pytest.mark.parametrize(
    ("a", "b", "less"), [((1, 2), (2, 3), 1), ((2, 3), (1, 2), 0), ((2, 4), (1, 2), 0), ((-2, 3), (-1, 2), 1)]
)
def test_ratios_apart_by_the_least(a: tuple[int, int], b: tuple[int, int], less: int) -> None:
    """1 * 3 is one less than 2 * 2."""
    assert run(margin.ratio_less, *a, *b) == less


def test_a_ratio_past_int64_is_the_bound_of_its_sign() -> None:
    assert run(margin.ratio_e6, LIMIT, 1) == RATIO_MAX_E6
    assert run(margin.ratio_e6, -LIMIT, 1) == -RATIO_MAX_E6


def margin_of(holding: Holding, risk: np.void, tiers: list[Tier]) -> tuple[int, ...]:
    rows = tier_rows(tiers)
    return run(margin.position_margin, position_rows([(0, 0, 0, holding)])[0], risk, rows, tier_index(rows))


def test_a_position_is_valued_up_to_the_limit() -> None:
    """Size -1 at a mark of 0: nothing but its cash has any bits."""
    free = risk_row(0)
    free["index_e6"] = 0
    assert margin_of(Holding(-1, LIMIT - 1), free, PUBLISHED) == (LIMIT - 1, 0, 0, 1)
    assert margin_of(Holding(-1, LIMIT), free, PUBLISHED) == (0, 0, 0, 0)
    assert margin_of(Holding(-1, -LIMIT), free, PUBLISHED) == (-LIMIT, 0, 0, 1)
    assert margin_of(Holding(-1, -LIMIT - 1), free, PUBLISHED) == (0, 0, 0, 0)
    assert margin_of(Holding(1, 5), risk_row(-1), PUBLISHED) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("leverage", "floor", "need"),
    [(1, 0, 5000), (2, 0, 5000), (1, 6 * 10**11, 6000), (2, 6 * 10**11, 6000), (0, 0, 5000)],
)
def test_a_position_is_held_to_its_own_tier_and_to_the_floor(leverage: int, floor: int, need: int) -> None:
    """100 lots at 1 are 10,000: half of it at 1x, and in the slice past the first unit at 2x."""
    risk = risk_row(1, floor)
    risk["index_e6"] = 0
    assert margin_of(Holding(100, 0, 0, 0, leverage), risk, TWO)[:2] == (10_000, need)


def test_a_position_at_20x_is_not_in_the_tier_of_21x() -> None:
    risk = risk_row(1)
    risk["index_e6"] = 0
    held = [margin_of(Holding(100, 0, 0, 0, leverage), risk, PUBLISHED) for leverage in (20, 21)]
    assert [margins[1] for margins in held] == [250, 100]
    endless = [TWO[0], TWO[1]._replace(max_notional_e6=100 * USDC)]
    held = [margin_of(Holding(100, 0, 0, 0, leverage), risk, endless) for leverage in (1, 2)]
    assert [margins[1] for margins in held] == [5000, 500]


def test_a_position_without_size_is_worth_its_cash() -> None:
    assert margin_of(Holding(0, 7), risk_row(1), PUBLISHED) == (7, 0, 0, 1)


def test_a_single_lot_pays_funding() -> None:
    assert run(margin.settled_cash, 1, 10, 0, 0, 5, 1) == (5, 1)
    assert run(margin.settled_cash, 0, 10, 0, 0, 5, 1) == (10, 1)
