"""Seeded seconds: markets with open interest and fresh observations, and the ticks that sample them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench._fills import PRICE, genesis, price_exp_of
from engine.venue.build import SECOND_NS, deposit_frames, second_ticks
from kernels.frames import FRAME, ObservationKind, Source, Template, new_frames

Frames = NDArray[np.void]

_HOUR_NS = 3600 * SECOND_NS
_HOUR = 472_222
_DAY_NS = 24 * _HOUR_NS
_DEPOSIT_E6 = 10**16
_KINDS = (
    *[ObservationKind.ORACLE] * 3,
    ObservationKind.MID,
    ObservationKind.IMPACT_BID,
    ObservationKind.IMPACT_ASK,
)
_AWAY = (0, -30_000, 40_000, 150_000, 90_000, 210_000)
"""How far from the price each observation lies: a premium, so that the hour pays."""


class Clock:
    """Markets observed once, for a day, and a clock that goes on from call to call."""

    def __init__(self, markets: int, seconds_before_hour: int = 3000) -> None:
        self.markets = markets
        self._now_ns = _HOUR * _HOUR_NS - seconds_before_hour * SECOND_NS
        self._seq = 2

    def opening(self) -> Frames:
        """Genesis, two accounts that trade in every market, and an observation of every kind."""
        accounts = new_frames(Template.ACCOUNT, 2, source=Source.MATCHING)
        accounts["key0"] = (1, 2)
        fills = new_frames(Template.FILL, self.markets, source=Source.MATCHING, first_seq=3)
        fills["market"] = np.arange(self.markets)
        fills["price"], fills["size"], fills["maker"], fills["taker"] = PRICE, 7, 1, 2
        fills["time_ns"] = self._now_ns
        parts = [accounts, deposit_frames([_DEPOSIT_E6] * 3, 1), fills, self._observations()]
        first = genesis(self.markets, observation_age_ns=_DAY_NS, start_ns=self._now_ns)
        return np.concatenate([first, *(part.view(FRAME) for part in parts)])

    def seconds(self, count: int) -> Frames:
        """The next `count` ticks."""
        now_ns = self._now_ns + SECOND_NS * np.arange(1, count + 1, dtype=np.int64)
        frames = second_ticks(now_ns, now_ns - SECOND_NS, self._seq)
        self._seq += count
        self._now_ns += count * SECOND_NS
        return frames.view(FRAME)

    def _observations(self) -> Frames:
        count = len(_KINDS) * self.markets
        frames = new_frames(Template.OBSERVATION, count, source=Source.FEEDS)
        market = np.repeat(np.arange(self.markets), len(_KINDS))
        frames["market"] = market
        frames["publish_ns"] = self._now_ns
        frames["price"] = PRICE + 1000 * market + np.tile(_AWAY, self.markets)
        frames["conf"] = PRICE // 10_000
        frames["feed"] = np.tile((0, 1, 2, 0, 0, 0), self.markets)
        frames["expo"] = [-price_exp_of(m) for m in market.tolist()]
        frames["kind"] = np.tile([int(kind) for kind in _KINDS], self.markets)
        return frames
