"""Batches: a pure function of the journal.

A batch closes before the first tick at or past the next multiple of the window (the core says which tick
that is), always before a funding tick, or behind its 65,536th booked fill. What touches no position makes
no batch. Batches cover the journal without gaps: each begins where the last one ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.frames import FILL, Template
from kernels.netting import fees_by_market, net_legs

FILLS_MAX = 65_536


class Batch(NamedTuple):
    """What settles together.

    first, last: ordinals; fills: FILL[n] booked, in order; deltas: DELTA[m]; fees: (market, quote_e6).
    """

    number: int
    first: int
    last: int
    fills: NDArray[np.void]
    deltas: NDArray[np.void]
    fees: tuple[tuple[int, int], ...]


class Batcher:
    """Cuts what a follower saw into batches. Bounded: one open batch of at most 65,536 fills.

    To go on behind a batch, where frame `last + 1` is fed next: its number, its last ordinal, and of every
    position touched until then (account, market, the batch that touched it last).
    """

    def __init__(self, number: int = 0, last: int = 0, touched: Iterable[tuple[int, int, int]] = ()) -> None:
        self.number = number
        self._first = last + 1
        self._fills: list[NDArray[np.void]] = []
        self._legs: list[NDArray[np.void]] = []
        self._open_fills = 0
        self._touched = {(account, market): batch for account, market, batch in touched}

    @property
    def open_fills(self) -> int:
        """Booked fills of the batch that is not closed yet."""
        return self._open_fills

    def feed(
        self, frames: NDArray[np.void], ordinal: int, results: NDArray[np.void], legs: NDArray[np.void]
    ) -> Iterator[Batch]:
        """Yield every batch that these frames close. Arguments as in `engine.follower.Followed`."""
        bearing = np.flatnonzero(results["legs"])
        ends = np.cumsum(results["legs"][bearing])
        ticks = np.flatnonzero(results["boundary"])
        before = np.searchsorted(ticks, bearing)  # boundary ticks before each leg-bearing frame
        closing = set(before[before < len(ticks)].tolist())
        if self._legs and len(ticks):
            closing.add(0)
        at = 0
        for tick in ticks[sorted(closing)]:
            stop = int(np.searchsorted(bearing, tick))
            yield from self._take(frames, ordinal, bearing, ends, legs, at, stop)
            yield from self._close(ordinal + int(tick) - 1)
            at = stop
        yield from self._take(frames, ordinal, bearing, ends, legs, at, len(bearing))

    def _take(
        self,
        frames: NDArray[np.void],
        ordinal: int,
        bearing: NDArray[np.int64],
        ends: NDArray[np.int64],
        legs: NDArray[np.void],
        start: int,
        stop: int,
    ) -> Iterator[Batch]:
        """Add leg-bearing frames start..stop-1; closes on the way whenever the batch is full of fills."""
        is_fill = frames["template"][bearing[start:stop]] == int(Template.FILL)
        counted = np.cumsum(is_fill)
        while stop > start:
            room = FILLS_MAX - self._open_fills
            if not len(counted) or int(counted[-1]) < room:
                self._add(frames, bearing, ends, legs, start, stop, is_fill)
                return
            upto = int(np.searchsorted(counted, room)) + 1
            self._add(frames, bearing, ends, legs, start, start + upto, is_fill[:upto])
            yield from self._close(ordinal + int(bearing[start + upto - 1]))
            start += upto
            is_fill = is_fill[upto:]
            counted = np.cumsum(is_fill)

    def _add(
        self,
        frames: NDArray[np.void],
        bearing: NDArray[np.int64],
        ends: NDArray[np.int64],
        legs: NDArray[np.void],
        start: int,
        stop: int,
        is_fill: NDArray[np.bool_],
    ) -> None:
        first = int(ends[start - 1]) if start else 0
        self._legs.append(legs[first : int(ends[stop - 1])].copy())
        fills = frames[bearing[start:stop][is_fill]].view(FILL)
        self._fills.append(fills)
        self._open_fills += len(fills)

    def _close(self, last: int) -> Iterator[Batch]:
        if not self._legs:
            return
        legs = np.concatenate(self._legs)
        deltas = net_legs(legs)
        self.number += 1
        for row in deltas:
            key = (int(row["account"]), int(row["market"]))
            row["prev_batch"] = self._touched.get(key, 0)
            self._touched[key] = self.number
        fills = np.concatenate(self._fills)
        yield Batch(self.number, self._first, last, fills, deltas, tuple(fees_by_market(legs)))
        self._first = last + 1
        self._fills, self._legs, self._open_fills = [], [], 0
