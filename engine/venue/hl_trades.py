"""Hyperliquid's recorded fills of everyone but market makers: one row per fill side.

The absent counterparty of every row is one market-maker account, number 1; users follow in order of
appearance. Rows are never de-duplicated: equal rows are fills of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Final

import numpy as np

from engine.venue.columns import Choice, Columns, CsvFormat, IsoTimes, Numbering, Symbols
from engine.venue.scales import BadField, PositiveDecimals

MARKET_MAKER_KEY: Final = b"market maker".ljust(32, b"\0")
_ADDRESS = re.compile(r"0x[0-9a-f]{40}", re.ASCII)


class _Users(Numbering):
    def check(self, text: str) -> None:
        if not _ADDRESS.fullmatch(text):
            raise BadField(f"{text[:48]!r} is not an address of 20 bytes (0x, 40 lower-case hex digits)")


class HlTrades:
    """crossed = true: the user is the taker. Bid: the user buys."""

    format: ClassVar[str] = "hl_non_mm_trades"
    wanted: ClassVar[tuple[str, ...]] = ("time", "user", "coin", "side", "px", "sz", "crossed")

    def __init__(self, seed: int) -> None:
        self._symbols = Symbols()
        self._users = _Users(2)
        self.remarks = ["the absent counterparty of every row is one market-maker account"]

    @property
    def symbols(self) -> list[str]:
        return list(self._symbols)

    @property
    def accounts(self) -> list[bytes]:
        return [MARKET_MAKER_KEY, *(bytes(12) + bytes.fromhex(user[2:]) for user in self._users)]

    def read(self, lines: Iterator[str], file: str) -> Iterator[Columns]:
        """Chunks of raw trades; the trade id is the row number."""
        sides = Choice("side", {"Bid": 1, "Ask": -1})
        crossings = Choice("flag", {"true": 1, "false": -1})
        table = CsvFormat(
            file,
            {
                "time": IsoTimes().__getitem__,
                "user": self._users.__getitem__,
                "coin": self._symbols.__getitem__,
                "side": sides.__getitem__,
                "px": PositiveDecimals().__getitem__,
                "sz": PositiveDecimals().__getitem__,
                "crossed": crossings.__getitem__,
            },
        )
        for first, (time_ns, user, coin, side, px, sz, crossed) in table.chunks(lines):
            rows = np.arange(first, first + len(user))
            takes = crossed > 0
            yield Columns(
                row=rows,
                time_ns=time_ns,
                symbol=coin,
                price=px,
                size=sz,
                side=side * crossed,
                maker=np.where(takes, 1, user),
                taker=np.where(takes, user, 1),
                trade_id=rows,
            )
