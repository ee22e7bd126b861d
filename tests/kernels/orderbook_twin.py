"""Naive twin of the order book: two dicts, fractions, the rules in the order in which they are told."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

from tests.kernels.twins import I64_MAX, fits, half_even

BIDS, ASKS = 0, 1
APPLIED, OLD, GAP, NO_SNAPSHOT, BAD_LEVEL, BOOK_FULL = range(6)
REFUSED, PRICED, SHORT = 0, 1, 2
Row = tuple[int, int, int]


@dataclass
class Book:
    """Price to size, by side."""

    capacity: int
    sides: tuple[dict[int, int], dict[int, int]] = field(default_factory=lambda: ({}, {}))
    update_id: int = 0
    fresh: bool = False
    lost: bool = True

    def snapshot(self, rows: list[Row], update_id: int) -> int:
        self.sides = {}, {}
        self.update_id, self.fresh, self.lost = update_id, True, False
        return self._set(rows)

    def update(self, rows: list[Row], first_id: int, last_id: int, previous_id: int) -> int:
        if self.lost:
            return NO_SNAPSHOT
        if last_id < self.update_id or (last_id == self.update_id and not self.fresh):
            return OLD
        if previous_id != self.update_id and not (self.fresh and first_id <= self.update_id):
            self.lost = True
            return GAP
        self.update_id, self.fresh = last_id, False
        return self._set(rows)

    def _set(self, rows: list[Row]) -> int:
        for side, price, size in rows:
            if side not in (BIDS, ASKS) or price <= 0 or size < 0:
                self.lost = True
                return BAD_LEVEL
            levels = self.sides[side]
            if size == 0:
                levels.pop(price, None)
            elif price not in levels and len(levels) == self.capacity:
                self.lost = True
                return BOOK_FULL
            else:
                levels[price] = size
        return APPLIED

    def ranked(self, side: int) -> list[tuple[int, int]]:
        """Levels, best first."""
        return sorted(self.sides[side].items(), reverse=side == BIDS)

    def best(self) -> tuple[int, int, int, int]:
        bids, asks = self.ranked(BIDS), self.ranked(ASKS)
        return *(bids[0] if bids else (0, 0)), *(asks[0] if asks else (0, 0))

    def impact(self, side: int, notional: int, size_up: bool) -> tuple[int, int]:
        """Average price of `notional`, whatever fits."""
        levels = self.ranked(side)
        if not levels:
            return 0, SHORT
        if notional < 0:
            return 0, REFUSED
        if notional == 0:
            return levels[0][0], PRICED
        size, left = Fraction(0), notional
        for price, held in levels:
            if not fits(price * held):
                return 0, REFUSED
            taken = min(left, price * held)
            size += Fraction(taken, price)
            left -= taken
            if left == 0:
                size = Fraction(math.ceil(size)) if size_up else size
                wanted = half_even(notional / size)
                return (wanted, PRICED) if fits(wanted) else (0, REFUSED)
        return 0, SHORT

    def premium_ppm(self, index: int, notional: int, exponent: int, limit: int) -> tuple[int, int]:
        """dYdX's rule on exact rationals."""
        if index <= 0 or notional < 0:
            return 0, 0
        bids, asks = self.ranked(BIDS), self.ranked(ASKS)
        unit = Fraction(10) ** exponent
        if bids and index < bids[0][0]:
            side, sign = bids, 1
        elif asks and index > asks[0][0]:
            side, sign = asks, -1
        else:
            return 0, 1
        impact = Fraction(side[0][0])
        if notional:
            size, left = Fraction(0), notional
            for price, held in side:
                quote = math.floor(price * held * unit)
                size += held if left > quote else Fraction(left * held, quote)
                left -= min(left, quote)
                if left == 0:
                    break
            if left:
                return 0, 1
            impact = notional / (math.ceil(size) * unit)
        if (impact - index) * sign <= 0:
            return 0, 1
        premium = math.trunc((impact / index - 1) * 10**6)
        return max(-limit, min(limit, premium)), 1


def excess_ratio_ppm(a: int, b: int, c: int, d: int) -> tuple[int, int]:
    """(value, status) of (a*b / (c*d) - 1) in ppm."""
    if not 0 < c * d < 2**106:
        return 0, 0
    value = math.trunc((Fraction(a * b, c * d) - 1) * 10**6)
    return (value, 1) if -I64_MAX - 1 <= value <= I64_MAX else (0, 2)
