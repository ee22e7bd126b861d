"""Seeded books of any size: markets, funded accounts, and fills between them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from engine.core.apply import Machine
from engine.core.params import exchange_rows, market_rows, stage
from engine.core.state import Books
from engine.core.views import views_of
from engine.venue.build import deposit_frames, open_tick
from kernels.frames import FILL, FRAME, Source, Template, TransferKind, new_frames

Frames = NDArray[np.void]

CHUNK = 8192
START_NS = 1_700_000_000 * 10**9
DEPOSITS_E6 = 10**18
"""Of all accounts together: enough to trade unleveraged, so that nobody falls below zero."""
PRICE = 300_000_000
_PART = 1 << 17
_PRICE_SPREAD = PRICE // 200
_SIZE_LOTS = (1, 61)


def price_exp_of(market: int) -> int:
    """6 or 8: every second market has quotes that need rounding."""
    return 6 + 2 * (market % 2)


def feed(machine: Machine, frames: Frames, chunk: int = CHUNK) -> int:
    """Apply frames in chunks, as the engine does. Returns how many were refused."""
    views = views_of(frames)
    refused = 0
    for start in range(0, len(frames), chunk):
        applied = machine.apply(views, start, min(start + chunk, len(frames)))
        refused += int(np.count_nonzero(applied.results["refusal"]))
    return refused


def genesis(markets: int, *, observation_age_ns: int = 10 * 10**9, start_ns: int = START_NS) -> Frames:
    """Parameters of so many markets, and the tick that puts them in force."""
    rows = exchange_rows(observation_age_ns=observation_age_ns)
    for market in range(markets):
        price_exp = price_exp_of(market)
        name = f"M{market}"
        rows += market_rows(
            market, name, price_exp=price_exp, lot_exp=0, leverage=1, price_age_ns=observation_age_ns
        )
    staged = stage(rows, change=1, not_before_ns=0, first_seq=1)
    return np.concatenate([staged.view(FRAME), open_tick(start_ns, 1).view(FRAME)])


class Traders:
    """Accounts 1..`accounts`, a position of each in every market, and seeded fills between any two.

    Sequences go on from call to call. The same seed and calls give the same frames.
    """

    def __init__(self, markets: int, accounts: int, seed: int = 7) -> None:
        self.markets, self.accounts = markets, accounts
        self._random = np.random.default_rng(seed)
        self._next_seq = accounts + 1

    @property
    def positions(self) -> int:
        """How many positions there are once `first_fills` are booked."""
        return self.markets * self.accounts

    def opening(self) -> Iterator[Frames]:
        """Genesis, registrations, deposits, and a first fill for every position, a part at a time."""
        yield genesis(self.markets)
        for first in range(1, self.accounts + 1, _PART):
            count = min(_PART, self.accounts + 1 - first)
            frames = new_frames(Template.ACCOUNT, count, source=Source.MATCHING, first_seq=first)
            frames["key0"] = np.arange(first, first + count)
            yield frames.view(FRAME)
        yield deposit_frames([DEPOSITS_E6 // (self.accounts + 1)] * (self.accounts + 1), 1).view(FRAME)
        for market in range(self.markets):
            for first in range(1, self.accounts + 1, _PART):
                makers = np.arange(first, min(first + _PART, self.accounts + 1), 2)
                yield self._sized(market, makers, makers % self.accounts + 1)

    def go_on_from(self, seq: int) -> None:
        """The next fills begin with `seq`: those made before were not all sent."""
        self._next_seq = seq

    def fills(self, count: int) -> Frames:
        """So many fills between two different accounts, every one as likely."""
        taker = self._random.integers(1, self.accounts + 1, count)
        other = self._random.integers(0, self.accounts - 1, count)
        market = self._random.integers(0, self.markets, count)
        return self._sized(market, (taker + other) % self.accounts + 1, taker)

    def margins(self, books: Books) -> Iterator[Frames]:
        """Half of what every account has free into its open positions, in equal shares, a part at a time.

        More than the positions need beyond what they drew before, so that later fills hardly ever draw: the
        work of a fill is then the same whatever the number of positions.
        """
        used = books.positions[: int(books.meta[0]["positions"])]
        share_e6 = books.accounts["free_e6"] // (2 * self.markets)
        nonces = np.zeros(self.accounts + 1, np.int64)
        for market in range(self.markets):
            holders = used["account"][(used["market"] == market) & (used["size"] != 0)]
            for first in range(0, len(holders), _PART):
                part = holders[first : first + _PART]
                nonces[part] += 1
                frames = new_frames(
                    Template.TRANSFER, len(part), source=Source.MATCHING, first_seq=self._next_seq
                )
                frames["flags"] = int(TransferKind.TO_POSITION)
                frames["account"], frames["market"], frames["index"] = part, market, -1
                frames["event_no"], frames["quote_e6"] = nonces[part], share_e6[part]
                self._next_seq += len(part)
                yield frames.view(FRAME)

    def _sized(
        self, market: NDArray[np.int64] | int, maker: NDArray[np.int64], taker: NDArray[np.int64]
    ) -> Frames:
        count = len(taker)
        fills = new_frames(Template.FILL, count, source=Source.MATCHING, first_seq=self._next_seq)
        fills["market"], fills["maker"], fills["taker"] = market, maker, taker
        fills["time_ns"] = START_NS
        fills["trade_id"] = fills["seq"]
        fills["price"] = self._random.integers(PRICE - _PRICE_SPREAD, PRICE + _PRICE_SPREAD, count)
        fills["size"] = self._random.integers(*_SIZE_LOTS, count) * self._random.choice((-1, 1), count)
        self._next_seq += count
        return fills.view(FRAME)


def opened(traders: Traders) -> tuple[Machine, list[Frames]]:
    """(a machine with every position open, the fills that opened them). ValueError: a frame was refused."""
    machine = Machine(capacity=CHUNK)
    fills = []
    for part in traders.opening():
        if feed(machine, part):
            raise ValueError("the opening frames were refused")
        if part["template"][0] == int(Template.FILL):
            fills.append(part)
    return machine, fills


def fills_of(parts: list[Frames]) -> Frames:
    """The parts as one FILL array."""
    return np.concatenate(parts).view(FILL)
