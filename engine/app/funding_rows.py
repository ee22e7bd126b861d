"""A row of the comparison of funding rules."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Charged:
    """What one rule charges a long of one unit. Positive: the long pays.

    sum_e12, mean_8h_e12 and max_8h_e12 in 1e-12 of notional, the last without its sign; coin_e10: USD per
    coin in 1e-10, None without prices. line: (hour since the start, sum after it) at each payment.
    """

    name: str
    hours: int
    sum_e12: int
    mean_8h_e12: int
    max_8h_e12: int
    coin_e10: int | None
    line: list[tuple[int, int]]


def per_8h(sum_e12: int, hours: int) -> int:
    """The mean of a sum over `hours`, for 8 h, down; 0 without hours."""
    return sum_e12 * 8 // hours if hours else 0
