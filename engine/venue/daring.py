"""Accounts of the simulator that stake little on much: what the liquidations of a demo are made of.

Each market lives in cycles: a calm, then a move of its price against those who have just opened positions
with all the leverage there is, then calm again; the next cycle moves the other way. A pure function of time.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.venue.build import SECOND_NS, Frames
from engine.venue.recording import TRADE
from engine.venue.stream import USDC_E6
from kernels.frames import SettingKind, Source, Template, TransferKind, new_frames

LEVERAGE: Final = 50
PERIOD_NS: Final = 12 * SECOND_NS
_OPEN_NS, _MOVE_NS, _CALM_NS = SECOND_NS // 2, 3 * SECOND_NS // 2, 15 * SECOND_NS // 2
DRIFT_PPM_PER_S: Final = 3_000
_WORTH_USD: Final = (40_000, 6_000, 25_000, 3_000)
"""Positions that are closed in part, and such that are closed whole."""
_MARGIN_PPM: Final = 1_000_000 // LEVERAGE + 2_000


class Stakes(NamedTuple):
    """What daring accounts do in one step: unsealed frames of CHAIN and API, and trades without ids (TRADE)."""

    deposits: Frames
    settings: Frames
    trades: NDArray[np.void]


class Daring:
    """`count` accounts from number `first` on, the k-th in market k modulo `markets`."""

    def __init__(self, first: int, count: int, markets: int, units: NDArray[np.int64]) -> None:
        self._first, self._count, self._markets, self._units = first, count, markets, units
        self._began_ns = 0
        self._opened = [-1] * count
        self._events = [0] * count
        self._settings = 0

    def drift_ppm(self, market: int, from_ns: int, to_ns: int) -> int:
        """How far the market's price is driven from one moment to the other, within one second of each other."""
        cycle, phase_ns = self._phase(market, to_ns)
        if not self._count or not self._began_ns or not _MOVE_NS <= phase_ns < _CALM_NS:
            return 0
        direction = 1 if cycle % 2 else -1
        return direction * DRIFT_PPM_PER_S * min(to_ns - from_ns, SECOND_NS) // SECOND_NS

    def step(
        self, now_ns: int, prices: NDArray[np.int64], makers: NDArray[np.int64], closed: NDArray[np.bool_]
    ) -> Stakes:
        """What opens now: each account once in a cycle of its market, before the price moves against it.

        prices: by market; makers: accounts with much money, one for each of ours; closed: accounts, by number,
        that may not trade.
        """
        self._began_ns = self._began_ns or now_ns
        due = [k for k in range(self._count) if self._is_due(k, now_ns, closed)]
        trades = np.zeros(len(due), TRADE)
        for row, k in zip(trades, due, strict=True):
            market = k % self._markets
            self._opened[k], _ = self._phase(market, now_ns)
            lots = max(1, self._worth_usd(k) * int(self._units[market]) // int(prices[market]))
            row["time_ns"], row["market"], row["price"] = now_ns, market, prices[market]
            row["taker"], row["maker"] = self._first + k, makers[k]
            # Long before a fall, short before a rise.
            row["size"] = lots if self._opened[k] % 2 == 0 else -lots
        return Stakes(self._deposit(due), self._raise_leverage(due), trades)

    def _is_due(self, k: int, now_ns: int, closed: NDArray[np.bool_]) -> bool:
        cycle, phase_ns = self._phase(k % self._markets, now_ns)
        return _OPEN_NS <= phase_ns < _MOVE_NS and cycle > self._opened[k] and not closed[self._first + k]

    def _phase(self, market: int, now_ns: int) -> tuple[int, int]:
        """(cycle of a market, ns since it began); markets one after the other."""
        passed_ns = now_ns - self._began_ns - market * (PERIOD_NS // max(1, 2 * self._markets))
        return passed_ns // PERIOD_NS, passed_ns % PERIOD_NS

    def _worth_usd(self, k: int) -> int:
        return _WORTH_USD[k % len(_WORTH_USD)]

    def _deposit(self, due: list[int]) -> Frames:
        """The margin of what is opened, and little more. Numbered by the caller."""
        frames = new_frames(Template.TRANSFER, len(due), source=Source.CHAIN)
        frames["flags"], frames["index"], frames["market"] = int(TransferKind.DEPOSIT), -1, -1
        for row, k in zip(frames, due, strict=True):
            self._events[k] += 1
            row["account"], row["event_no"] = self._first + k, self._events[k]
            row["quote_e6"] = self._worth_usd(k) * USDC_E6 * _MARGIN_PPM // 1_000_000
        return frames

    def _raise_leverage(self, due: list[int]) -> Frames:
        """All the leverage there is, once for each account."""
        fresh = [k for k in due if self._events[k] == 1]
        frames = new_frames(Template.SETTING, len(fresh), source=Source.API, first_seq=self._settings + 1)
        self._settings += len(fresh)
        frames["value"], frames["nonce"], frames["kind"] = LEVERAGE, 1, int(SettingKind.LEVERAGE)
        for row, k in zip(frames, fresh, strict=True):
            row["account"], row["market"] = self._first + k, k % self._markets
        return frames
