"""What a plain fill is, bound by bound: the short way takes it up to there and leaves the next to the long way."""

from __future__ import annotations

import pytest

from engine.core import fast_fills
from engine.core.fast_fills import SNUG
from engine.core.views import views_of
from kernels.layouts import LIMIT, PRICE_MAX, PRICE_MIN
from tests.engine.core.builders import PRICE
from tests.engine.core.test_fast_fills import both_ways, fill_of, machine_of, past

LARGEST = 2**57 // (PRICE_MAX * 100)
"""Largest size of market 0 whose quote takes the short way."""


@pytest.mark.parametrize(
    ("field", "value", "plain"),
    [
        ("size", 5, 1),
        ("template", 2, 0),
        ("template", 32, 0),
        ("market", -1, 0),
        ("market", 3, 0),
        ("seq", 1, 0),
        ("seq", 3, 0),
        ("maker", 0, 0),
        ("taker", 0, 0),
        ("maker", -1, 0),
        ("maker", 2, 0),
        ("maker", 5, 1),
        ("maker", 6, 0),
        ("taker", 6, 0),
        ("taker", 7, 0),
        ("size", 0, 0),
        ("size", 1, 1),
        ("size", -1, 1),
        ("size", LARGEST, 1),
        ("size", LARGEST + 1, 0),
        ("size", -LARGEST, 1),
        ("size", -LARGEST - 1, 0),
        ("price", PRICE_MIN, 1),
        ("price", PRICE_MIN - 1, 0),
        ("price", PRICE_MAX, 1),
        ("price", PRICE_MAX + 1, 0),
    ],
)
def test_a_plain_frame_is_next_known_and_on_scale(field: str, value: int, plain: int) -> None:
    """Three markets, accounts 1 to 5. What is refused here the long way judges."""
    fills = fill_of(1, 2, 5, PRICE)
    assert fills["seq"][0] == 2
    fills[field] = value
    books = machine_of(past()).books
    assert books.quote_by[0, 2] == LARGEST
    assert fast_fills.is_plain_frame(books, views_of(fills).fill[0]) == plain
    both_ways(past(), {}, fills)


@pytest.mark.parametrize("name", ["account", "market", "mode", "flags", "idx"])
def test_a_plain_position_is_the_account_s_own_isolated_and_settled(name: str) -> None:
    position = machine_of(past()).books.positions[1]
    assert fast_fills.is_plain_position(position, 2, 0, 0) == 1
    position[name] += 1
    assert fast_fills.is_plain_position(position, 2, 0, 0) == 0


@pytest.mark.parametrize(
    "name",
    [
        *(f"position{n}.{field}" for n in (1, 2) for field in ("cash", "cost_e6", "realised_e6")),
        *(f"account{n}.free_e6" for n in (1, 2)),
        *(f"market.{field}" for field in ("sum_cash", "moved_in", "fees_e6", "open_interest")),
        "meta.house_e6",
    ],
)
def test_a_number_near_a_bound_is_not_plain(name: str) -> None:
    """Any single one, in a fill that is otherwise: past LIMIT only the long way refuses it."""
    fills = fill_of(1, 2, 5, PRICE)
    for value, plain in ((SNUG // 2, 1), (SNUG + 10**13, 0), (LIMIT, 0)):
        left, _ = both_ways(past(), {name: value}, fills)
        assert left.plain == plain


@pytest.mark.parametrize(("beyond", "plain"), [(0, 1), (1, 0)])
def test_a_position_is_plain_up_to_its_tier(beyond: int, plain: int) -> None:
    """105 lots of either side after the fill."""
    largest = 105 * PRICE * 100 - beyond
    left, _ = both_ways(past(), {"largest.e6": largest}, fill_of(1, 2, 5, PRICE))
    assert left.plain == plain


@pytest.mark.parametrize(("beyond", "plain"), [(0, 1), (1, 0)])
@pytest.mark.parametrize(
    "change", [{"position1.size": 5 - LARGEST, "position1.cash": 10**16}, {"position2.size": LARGEST - 5}]
)
def test_either_position_is_plain_up_to_the_largest_size(
    change: dict[str, int], beyond: int, plain: int
) -> None:
    change = {name: value + beyond * (1 if value > 0 else -1) for name, value in change.items()}
    left, _ = both_ways(past(), change, fill_of(1, 2, 5, PRICE))
    assert left.plain == plain


@pytest.mark.parametrize("account", [1023, 1024, 1025, 2**31 - 1, -1])
def test_an_account_past_the_last_row_is_not_looked_up(account: int) -> None:
    fills = fill_of(1, 2, 5, PRICE, count=3)
    fills["maker"][1] = account
    left, machine = both_ways(past(), {}, fills)
    assert (left.plain, machine.state.number("refused")) == (2, 1)


@pytest.mark.parametrize("free", [0, 1, 2])
def test_a_draw_of_any_size_reaches_the_account(free: int) -> None:
    """Growing positions whose accounts have next to nothing: a balance is written where it changed by one unit."""
    change = {"account1.free_e6": free, "account2.free_e6": free}
    grows = 5 if int(machine_of(past()).books.positions[1]["size"]) > 0 else -5
    left, machine = both_ways(past(), change, fill_of(1, 2, grows, PRICE))
    assert left.plain == 1
    assert machine.books.accounts["free_e6"][1:3].tolist() == [0, 0]
