"""What the kernels are measured against and checked by: engines in Decimal and in plain integers."""

from __future__ import annotations

from collections import defaultdict
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

import numpy as np
from numpy.typing import NDArray

from engine.core.state import Books
from kernels.oracle_rounds import VOTE_SLOTS
from relayer.verify.model_oracle import Oracle, Vote, decide

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


def plain_rounds(
    votes: NDArray[np.void], rules: NDArray[np.void], states: NDArray[np.void], now_ns: int
) -> list[tuple[int, int, int]]:
    """(status, price, conf) of every market in plain integers. votes: VOTE[n * 16]; states: ORACLE_STATE[n],
    left as they are."""
    rows = votes[["weight", "publish_ns", "price", "conf"]].tolist()
    by_name = dict(zip(rules.dtype.names or (), rules[0].tolist(), strict=True))
    out = []
    for m, state in enumerate(states.tolist()):
        oracle = Oracle(**by_name, **dict(zip(states.dtype.names or (), state, strict=True)))
        heard = {k: Vote(*row) for k, row in enumerate(rows[m * VOTE_SLOTS : (m + 1) * VOTE_SLOTS])}
        verdict, _ = decide(heard, oracle, now_ns)
        out.append((verdict.status, verdict.price, verdict.conf))
    return out
