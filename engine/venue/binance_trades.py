"""Binance USD-margined trades in the tardis CSV layout. They name no accounts: a seeded population trades."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from engine.venue.columns import Choice, Columns, CsvFormat, Integers, Population, Symbols, UnixTimes
from engine.venue.scales import PositiveDecimals


class BinanceTrades:
    """`side` is the taker's; `timestamp` is in microseconds; `amount` is in base."""

    format: ClassVar[str] = "binance_um_trades"
    wanted: ClassVar[tuple[str, ...]] = ("exchange", "symbol", "timestamp", "id", "side", "price", "amount")

    def __init__(self, seed: int) -> None:
        self._symbols = Symbols()
        self._population = Population(seed)
        self.remarks = [f"no accounts in the file: a seeded population of {Population.SIZE} trades it"]

    @property
    def symbols(self) -> list[str]:
        return list(self._symbols)

    @property
    def accounts(self) -> list[bytes]:
        return self._population.accounts

    def read(self, lines: Iterator[str], file: str) -> Iterator[Columns]:
        """Chunks of raw trades. Exchanges with inverse contracts are refused: their amounts are contracts."""
        table = CsvFormat(
            file,
            {
                "exchange": Choice("exchange", {"binance-futures": 1}).__getitem__,
                "symbol": self._symbols.__getitem__,
                "timestamp": UnixTimes(1_000).__getitem__,
                "id": Integers().__getitem__,
                "side": Choice("side", {"buy": 1, "sell": -1}).__getitem__,
                "price": PositiveDecimals().__getitem__,
                "amount": PositiveDecimals().__getitem__,
            },
        )
        for first, (_, symbol, time_ns, trade_id, side, price, size) in table.chunks(lines):
            rows = np.arange(first, first + len(side))
            maker, taker = self._population.pair(rows)
            yield Columns(rows, time_ns, symbol, price, size, side, maker, taker, trade_id)
