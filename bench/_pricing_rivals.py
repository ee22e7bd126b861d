"""What the kernels are measured against and checked by: engines in Decimal and in plain integers."""

from __future__ import annotations

from collections import defaultdict
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.state import Books
from kernels.layouts import FEED_SLOTS
from kernels.oracle import SKEW_NS

Key = tuple[int, int]
Rows = list[tuple[int, int, int, Decimal, Decimal]]


def fill_rows(fills: NDArray[np.void]) -> Rows:
    """FILL[n] as (market, maker, taker, price, size), the last two as Decimal."""
    keys = [fills[name].tolist() for name in ("market", "maker", "taker")]
    numbers = [list(map(Decimal, fills[name].tolist())) for name in ("price", "size")]
    return list(zip(*keys, *numbers, strict=True))


class DecimalBooks:
    """Both legs of fills in dicts of Decimal: quote, fees, collateral of isolated positions at 1x, house.

    Knows nothing of funding, average entry, sums per market, bounds, bands, sequences or a witness: it does
    less than the engine.
    """

    def __init__(self, books: Books) -> None:
        """Takes scales, fees and free balances over from books in which nobody has traded yet."""
        self.sizes: defaultdict[Key, Decimal] = defaultdict(Decimal)
        self.cash: defaultdict[Key, Decimal] = defaultdict(Decimal)
        accounts = books.accounts[: int(books.meta[0]["accounts"])]
        self.free = list(map(Decimal, accounts["free_e6"].tolist()))
        markets = books.markets[: int(books.meta[0]["markets"])]
        self._unit = [Decimal(int(m["quote_mul"])) / int(m["quote_div"]) for m in markets]
        tier = books.tiers[0]
        self._rates = [Decimal(int(tier[name])).scaleb(-9) for name in ("maker_e9", "taker_e9")]
        self.house = Decimal(0)

    def book(self, rows: Rows) -> None:
        """Book fills in order, maker first."""
        for market, maker, taker, price, size in rows:
            lot = price * self._unit[market]
            quote = (size * lot).to_integral_value(rounding=ROUND_HALF_EVEN)
            self._leg((maker, market), -size, -quote, lot, self._rates[0])
            self._leg((taker, market), size, quote, lot, self._rates[1])

    def _leg(self, key: Key, dsize: Decimal, quote: Decimal, lot: Decimal, rate: Decimal) -> None:
        fee = (abs(quote) * rate).to_integral_value(rounding=ROUND_CEILING)
        old = self.sizes[key]
        size = old + dsize
        cash = self.cash[key] - quote - fee
        moved = Decimal(0)
        if not size:
            moved = -cash if cash >= 0 else min(-cash, self.free[0])
            self.free[key[0] if cash >= 0 else 0] -= moved
        elif abs(size) > abs(old) or (size > 0) != (old > 0):
            worth = size * lot
            need = abs(worth).to_integral_value(rounding=ROUND_CEILING)
            short = need - cash - worth.to_integral_value(rounding=ROUND_FLOOR)
            moved = max(Decimal(0), min(short, self.free[key[0]]))
            self.free[key[0]] -= moved
        self.sizes[key] = size
        self.cash[key] = cash + moved
        self.house += fee

    def equals(self, books: Books) -> bool:
        """Whether every size, cash, free balance and the house are the same to the unit."""
        used = books.positions[: int(books.meta[0]["positions"])]
        keys = list(zip(used["account"].tolist(), used["market"].tolist(), strict=True))
        return (
            dict(zip(keys, used["size"].tolist(), strict=True)) == dict(self.sizes)
            and dict(zip(keys, used["cash"].tolist(), strict=True)) == dict(self.cash)
            and books.accounts["free_e6"][: len(self.free)].tolist() == self.free
            and int(books.meta[0]["house_e6"]) == self.house
        )


def exact_sum(values: NDArray[np.int64]) -> int:
    """The sum as a Python integer, whatever its size: high and low halves are added apart."""
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())


def books_balance(books: Books, fills: NDArray[np.void]) -> bool:
    """The identities of MONEY.md from scratch, without overflow, and every size against the fills alone.

    fills: every FILL that was booked. No funding has been paid.
    """
    meta = books.meta[0]
    used = books.positions[: int(meta["positions"])]
    markets = books.markets[: int(meta["markets"])]
    for number, market in enumerate(markets):
        rows = used[used["market"] == number]
        size, cash = exact_sum(rows["size"]), exact_sum(rows["cash"])
        if size or cash != int(market["moved_in"]) or cash != int(market["sum_cash"]):
            return False
    free = exact_sum(books.accounts["free_e6"][: int(meta["accounts"])])
    if free + exact_sum(markets["moved_in"]) + int(meta["house_e6"]) != int(meta["deposits_e6"]):
        return False
    net = np.zeros((len(markets), int(meta["accounts"])), np.int64)
    np.add.at(net, (fills["market"], fills["taker"]), fills["size"])
    np.subtract.at(net, (fills["market"], fills["maker"]), fills["size"])
    return bool((net[used["market"], used["account"]] == used["size"]).all())


class Vote(NamedTuple):
    """One provider's observation of a feed."""

    provider: int
    weight: int
    price: int
    conf: int


def plain_consensus(votes: list[Vote]) -> tuple[int, int, int]:
    """(status, price, conf) of votes, by provider, that have passed the gates: MONEY.md and oracles.md."""
    if not votes or (len(votes) == 1 and votes[0].provider != 0):
        return 0, 0, 0
    if len(votes) == 1:
        return 3, votes[0].price, votes[0].conf
    if len(votes) == 2:
        first, second = votes
        band = max(first.conf + second.conf, first.price * 25 // 10_000)
        return (0, 0, 0) if abs(first.price - second.price) > band else (2, first.price, first.conf)
    total = sum(vote.weight for vote in votes)
    status = 1 if 2 * max(vote.weight for vote in votes) < total else 2
    reached = 0
    for vote in sorted(votes, key=lambda vote: (vote.price, vote.provider)):
        reached += vote.weight
        if 2 * reached >= total:
            return status, vote.price, vote.conf
    raise AssertionError("weights never reach half their sum")


def plain_votes(rows: list[tuple[int, int, int, int, int]], now_ns: int, age_ns: int) -> list[Vote]:
    """The observations (weight, publish_ns, price, conf, slot) of one feed that may vote."""
    votes = []
    for provider, (weight, publish_ns, price, conf, _) in enumerate(rows):
        fresh = 0 < publish_ns <= now_ns + SKEW_NS and now_ns - publish_ns <= age_ns
        if weight > 0 and fresh and 10**7 <= price <= 9 * 10**9 and 0 <= conf * 50 <= price:
            votes.append(Vote(provider, weight, price, conf))
    return votes


def plain_feeds(feeds: NDArray[np.void], now_ns: int, age_ns: int) -> list[tuple[int, int, int]]:
    """Consensus of FEED[n * 16] in plain integers."""
    rows = feeds.tolist()
    return [
        plain_consensus(plain_votes(rows[at : at + FEED_SLOTS - 3], now_ns, age_ns))
        for at in range(0, len(rows), FEED_SLOTS)
    ]
