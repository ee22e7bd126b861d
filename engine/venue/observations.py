"""Observations made from recorded prices: three oracle providers and the matching engine's book.

A pure function of trades, seed and time range, in integers. Between two recorded prices of a market the
observed price moves evenly from one to the other, so a mark does not jump where trades are sparse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.venue.build import SECOND_NS, Frames
from engine.venue.noise import below, draws
from kernels.frames import ObservationKind, Source, Template, new_frames
from kernels.layouts import PRICE_MAX, PRICE_MIN

ORACLES: Final = 3
KINDS_PER_POINT: Final = ORACLES + 3
SPARSE_S: Final = 30
"""Where no trade comes, each market is observed at every multiple of this many seconds."""

_NATIVE_DECIMALS: Final = 8
_PPM: Final = 1_000_000
_ORACLE_NOISE_PPM: Final = 200
_CONF_PPM: Final = (300, 600)
_LEAN_PPM: Final = (400, 800)
_LEAN_S: Final = 3 * 3_600
_MID_NOISE_PPM: Final = 50
_HALF_SPREAD_PPM: Final = (100, 200)
_SLOT_NS: Final = 400_000_000
_BEFORE_MS: Final = (300, 200, 100, 50, 50, 50)
"""How long before its second each of a point's six observations was published: providers are staggered."""
_KINDS: Final = (
    *[int(ObservationKind.ORACLE)] * ORACLES,
    int(ObservationKind.MID),
    int(ObservationKind.IMPACT_BID),
    int(ObservationKind.IMPACT_ASK),
)
_FEEDS: Final = (*range(ORACLES), 0, 0, 0)
_STREAM_POINT, _STREAM_LEAN = 21, 22


class Scales(NamedTuple):
    """What each market's prices are multiplied by, and the exponents that say so. int64[markets] each."""

    native: NDArray[np.int64]  # oracle price = market price * native
    oracle_expo: NDArray[np.int64]  # USD per base = price * 10**expo
    book_expo: NDArray[np.int64]

    @classmethod
    def of(cls, exponents: Sequence[tuple[int, int]]) -> Scales:
        """From (lot_exp, price_exp) of each market. An oracle has at least the market's own resolution."""
        own = np.array([price_exp - lot_exp for lot_exp, price_exp in exponents], np.int64)
        native = np.maximum(own, np.minimum(_NATIVE_DECIMALS, own + _NATIVE_DECIMALS))
        return cls(10 ** (native - own), -native, -own)


def point_frames(
    seconds: NDArray[np.int64],
    market: NDArray[np.int64],
    price: NDArray[np.int64],
    places: NDArray[np.int64],
    *,
    scales: Scales,
    seed: int,
    first_seq: int,
    due_ns: NDArray[np.int64] | None = None,
) -> Frames:
    """Six observation frames (unsealed) for each point: `price` of `market` as of the end of `seconds`.

    places: int64[6, n], where in the answer each frame goes; a permutation of 0 .. 6n - 1. due_ns: the
    time of each point where it is not its whole second. Noise follows (seed, market, second).
    """
    frames = new_frames(
        Template.OBSERVATION, KINDS_PER_POINT * len(price), source=Source.FEEDS, first_seq=first_seq
    )
    values, conf = _six_prices(seconds, market, price, seed)
    values[:ORACLES] *= scales.native[market]
    conf *= scales.native[market]
    at_ns = seconds * SECOND_NS if due_ns is None else due_ns
    publish_ns = at_ns - np.array(_BEFORE_MS, np.int64)[:, None] * 1_000_000
    frames["publish_ns"][places] = publish_ns
    frames["slot"][places] = publish_ns // _SLOT_NS
    frames["price"][places] = values
    frames["conf"][places[:ORACLES]] = conf
    frames["feed"][places] = np.array(_FEEDS)[:, None]
    frames["kind"][places] = np.array(_KINDS)[:, None]
    frames["expo"][places[:ORACLES]] = scales.oracle_expo[market]
    frames["expo"][places[ORACLES:]] = scales.book_expo[market]
    frames["market"][places] = market
    return frames


def _six_prices(
    seconds: NDArray[np.int64], market: NDArray[np.int64], price: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(int64[6, n] of provider prices, mid, impact bid, impact ask; int64[3, n] of confidences)."""
    point = (seconds << 8 | market) << 3
    draw = draws(seed, _STREAM_POINT, point + np.arange(ORACLES + 1)[:, None])
    lower = draw << np.uint64(32)
    noise = below(draw[:ORACLES], 2 * _ORACLE_NOISE_PPM + 1) - _ORACLE_NOISE_PPM
    width = below(lower[:ORACLES], _CONF_PPM[1] - _CONF_PPM[0] + 1) + _CONF_PPM[0]
    stretch = draws(seed, _STREAM_LEAN, seconds // _LEAN_S << 8 | market)
    lean = below(stretch, _LEAN_PPM[1] - _LEAN_PPM[0] + 1) + _LEAN_PPM[0]
    lean = np.where(stretch & np.uint64(1), lean, -lean)
    mid = lean + below(draw[ORACLES], 2 * _MID_NOISE_PPM + 1) - _MID_NOISE_PPM
    half = below(lower[ORACLES], _HALF_SPREAD_PPM[1] - _HALF_SPREAD_PPM[0] + 1) + _HALF_SPREAD_PPM[0]
    offsets = np.concatenate([noise, [mid, mid - half, mid + half]])
    values = np.clip(price + price * offsets // _PPM, PRICE_MIN, PRICE_MAX)
    return values, values[:ORACLES] * width // _PPM


class ObservedMarkets:
    """Where and at what price the markets of a stretch of trades are observed, second by second.

    trades: TRADE sorted by time; bucket: the second each trade belongs to; end_s: the last second.
    """

    def __init__(
        self,
        trades: NDArray[np.void],
        bucket: NDArray[np.int64],
        exponents: Sequence[tuple[int, int]],
        *,
        seed: int,
        end_s: int,
    ) -> None:
        self._seed = seed
        self._scales = Scales.of(exponents)
        self._markets = len(exponents)
        self._end_s = end_s
        keys = trades["market"].astype(np.int64) << 40 | bucket
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        last_of_second = np.append(keys[1:] != keys[:-1], True)
        self._knot_key = keys[last_of_second]
        self._knot_s = self._knot_key & ((1 << 40) - 1)
        self._knot_market = self._knot_key >> 40
        self._knot_price = trades["price"][order][last_of_second].astype(np.int64)
        self._first_s = np.full(self._markets, end_s + 1, np.int64)
        np.minimum.at(self._first_s, self._knot_market, self._knot_s)
        by_time = np.argsort(self._knot_s, kind="stable")
        self._time_s, self._time_market = self._knot_s[by_time], self._knot_market[by_time]

    def count_points(self) -> int:
        """Points from the first trade of each market to the end: seconds with a trade and the sparse grid."""
        on_grid = self._knot_s % SPARSE_S == 0
        grid = self._end_s // SPARSE_S - (self._first_s - 1) // SPARSE_S
        return int(np.maximum(grid, 0).sum()) + len(self._knot_s) - int(on_grid.sum())

    def points(self, after_s: int, until_s: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(second, market) of the points in after_s + 1 .. until_s, by second, then market."""
        seconds = np.arange(after_s + 1, until_s + 1)
        wanted = np.zeros((len(seconds), self._markets), np.bool_)
        wanted[seconds % SPARSE_S == 0] = True
        wanted &= seconds[:, None] >= self._first_s
        low, high = np.searchsorted(self._time_s, (after_s, until_s), side="right")
        wanted[self._time_s[low:high] - after_s - 1, self._time_market[low:high]] = True
        at, market = np.nonzero(wanted)
        return seconds[at], market

    def prices(self, seconds: NDArray[np.int64], market: NDArray[np.int64]) -> NDArray[np.int64]:
        """Recorded price at these points: that of the last trade in the second, else on the line between."""
        left = np.searchsorted(self._knot_key, market << 40 | seconds, side="right") - 1
        right = np.minimum(left + 1, len(self._knot_key) - 1)
        right = np.where(self._knot_market[right] == market, right, left)
        span = np.maximum(self._knot_s[right] - self._knot_s[left], 1)
        rise = self._knot_price[right] - self._knot_price[left]
        out: NDArray[np.int64] = self._knot_price[left] + rise * (seconds - self._knot_s[left]) // span
        return out

    def frames(
        self, seconds: NDArray[np.int64], market: NDArray[np.int64], first_seq: int
    ) -> tuple[Frames, NDArray[np.int64]]:
        """(observation frames in order of time, their seconds) of points as `points` gives them. Unsealed."""
        starts = np.searchsorted(seconds, seconds, side="left")
        width = np.searchsorted(seconds, seconds, side="right") - starts
        rank = np.arange(len(seconds)) - starts
        places = KINDS_PER_POINT * starts + np.arange(KINDS_PER_POINT)[:, None] * width + rank
        frames = point_frames(
            seconds,
            market,
            self.prices(seconds, market),
            places,
            scales=self._scales,
            seed=self._seed,
            first_seq=first_seq,
        )
        return frames, np.repeat(seconds, KINDS_PER_POINT)
