"""Net deltas are plain sums, in whatever order the legs come."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.layouts import LEG
from kernels.netting import DELTA, fees_by_market, net_legs

SUMMED = ("dsize", "dcash", "transfer", "cover")
BIG = 1 << 55
LEGS = st.lists(
    st.tuples(
        st.integers(0, 4),  # account
        st.integers(0, 3),  # market
        *[st.integers(-BIG, BIG) | st.sampled_from((0, 1, -1))] * 5,  # summed fields, fee
    ),
    max_size=40,
)


def legs_of(rows: list[tuple[int, ...]]) -> NDArray[np.void]:
    """LEG[n]; funding and ordinal are set to what must not matter."""
    legs = np.zeros(len(rows), LEG)
    for leg, row in zip(legs, rows, strict=True):
        leg["account"], leg["market"] = row[:2]
        for name, value in zip((*SUMMED, "fee"), row[2:], strict=True):
            leg[name] = value
        leg["funding"], leg["ordinal"] = 12_345, 99
    return legs


@given(LEGS)
def test_deltas_are_sums(rows: list[tuple[int, ...]]) -> None:
    sums: dict[tuple[int, int], list[int]] = {}
    for account, market, *values in rows:
        total = sums.setdefault((market, account), [0, 0, 0, 0])
        for k in range(4):
            total[k] += values[k]
    deltas = net_legs(legs_of(rows))
    assert deltas.dtype == DELTA
    assert [tuple(int(x) for x in row) for row in deltas] == [
        (account, market, *total, 0) for (market, account), total in sorted(sums.items())
    ]


@given(LEGS, st.randoms(use_true_random=False))
def test_the_order_of_legs_does_not_matter(rows: list[tuple[int, ...]], chance: object) -> None:
    other = list(rows)
    chance.shuffle(other)  # type: ignore[attr-defined]
    assert net_legs(legs_of(rows)).tobytes() == net_legs(legs_of(other)).tobytes()
    assert fees_by_market(legs_of(rows)) == fees_by_market(legs_of(other))


@given(LEGS)
def test_fees_are_sums_by_market_rebates_subtracted(rows: list[tuple[int, ...]]) -> None:
    fees: dict[int, int] = {}
    for _, market, *values in rows:
        fees[market] = fees.get(market, 0) + values[4]
    assert fees_by_market(legs_of(rows)) == sorted(fees.items())


def test_a_position_that_nets_to_nothing_keeps_its_row() -> None:
    deltas = net_legs(legs_of([(3, 1, 5, -7, 0, 0, 2), (3, 1, -5, 7, 0, 0, -2)]))
    assert [tuple(int(x) for x in row) for row in deltas] == [(3, 1, 0, 0, 0, 0, 0)]


def test_no_legs_no_deltas() -> None:
    assert len(net_legs(np.zeros(0, LEG))) == 0
    assert fees_by_market(np.zeros(0, LEG)) == []


def test_legs_are_left_alone() -> None:
    legs = legs_of([(2, 1, 1, 1, 1, 1, 1), (1, 1, 2, 2, 2, 2, 2)])
    before = legs.tobytes()
    net_legs(legs)
    assert legs.tobytes() == before
