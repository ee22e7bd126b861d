"""The chain's accounts in plain integers (MONEY.md, "A net delta"): positions, totals, a ring of indices.

It is fed with net deltas and fees only. Funding is settled here, from the index of the batch's own epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

Key = tuple[int, int]
"""(account, market)."""


class Delta(NamedTuple):
    """A row of a batch."""

    account: int
    market: int
    dsize: int
    dcash: int
    transfer: int
    cover: int
    prev_batch: int


class OutOfOrder(Exception):
    """A row does not follow the batch that touched its position last."""


class Unbalanced(Exception):
    """A batch breaks an identity of settlement."""


@dataclass
class Position:
    """What a position account holds."""

    size: int = 0
    cash: int = 0
    idx: int = 0
    rem: int = 0
    last_batch: int = 0


@dataclass
class Totals:
    """S, A, R, J, T of a market."""

    size: int = 0
    cash: int = 0
    rem: int = 0
    size_idx: int = 0
    moved_in: int = 0


@dataclass
class Chain:
    """All position accounts. scale: D by market; ring: index by (market, epoch)."""

    scale: dict[int, int]
    ring: dict[Key, int] = field(default_factory=dict)
    positions: dict[Key, Position] = field(default_factory=dict)
    totals: dict[int, Totals] = field(default_factory=dict)

    def learn(self, market: int, epoch: int, index_e6: int) -> None:
        """An index of an epoch is said once and stays. Raises Unbalanced."""
        if self.ring.setdefault((market, epoch), index_e6) != index_e6:
            raise Unbalanced(f"market {market}, epoch {epoch} has two indices")

    def settle(self, number: int, rows: list[Delta], fees: dict[int, int], epochs: dict[int, int]) -> None:
        """Apply a batch, all or nothing, and check its identities. Raises OutOfOrder, Unbalanced."""
        for row in rows:
            held = self.positions.get((row.account, row.market), Position())
            if held.last_batch != row.prev_batch or number <= held.last_batch:
                raise OutOfOrder(f"batch {number} follows {row.prev_batch}, the position {held.last_batch}")
        moved: dict[int, Totals] = {}
        for row in rows:
            total = moved.setdefault(row.market, Totals())
            self._apply(number, row, self.ring[row.market, epochs[row.market]], total)
        for market, fee in fees.items():
            moved.setdefault(market, Totals()).moved_in -= fee
        for market, change in moved.items():
            self._finalise(market, change)

    def _apply(self, number: int, row: Delta, index_e6: int, total: Totals) -> None:
        held = self.positions.setdefault((row.account, row.market), Position())
        before = held.size, held.cash, held.rem, held.size * held.idx
        pay, held.rem = divmod(-held.size * (index_e6 - held.idx) + held.rem, self.scale[row.market])
        held.idx, held.last_batch = index_e6, number
        held.size += row.dsize
        held.cash += pay + row.dcash + row.transfer + row.cover
        total.size += held.size - before[0]
        total.cash += held.cash - before[1]
        total.rem += held.rem - before[2]
        total.size_idx += held.size * held.idx - before[3]
        total.moved_in += row.transfer + row.cover

    def _finalise(self, market: int, change: Totals) -> None:
        if change.size:
            raise Unbalanced(f"market {market}: sizes change by {change.size}")
        if (
            change.cash * self.scale[market] + change.rem + change.size_idx
            != change.moved_in * self.scale[market]
        ):
            raise Unbalanced(f"market {market}: cash does not follow what was moved in")
        total = self.totals.setdefault(market, Totals())
        for name, value in vars(change).items():
            setattr(total, name, getattr(total, name) + value)
