"""A recording as the frames that the matching engine, feeds, chain and clock would have sent."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import InputFileError
from engine.core.params import exchange_rows, market_rows, stage
from engine.venue.build import (
    HOUR_S,
    SECOND_NS,
    Frames,
    account_frames,
    deposit_frames,
    fill_frames,
    interleaved,
    open_tick,
    sealed,
    second_ticks,
)
from engine.venue.observations import KINDS_PER_POINT, ORACLES, ObservedMarkets
from engine.venue.recording import MarketPlan, Recording, fills_from_text, read_lines

USDC_E6: Final = 1_000_000
DEPOSIT_BASE_E6: Final = 10_000 * USDC_E6
DEPOSIT_TIMES: Final = 3
INSURANCE_DEPOSIT_E6: Final = 10_000_000 * USDC_E6
_DEPOSIT_LIMIT_E6: Final = 1 << 60
OBSERVATION_AGE_NS: Final = 60 * SECOND_NS


@dataclass(frozen=True)
class Totals:
    """What a stream will send, known before it does. `frames` counts genesis too, `hours` those that end."""

    fills: int
    observations: int
    ticks: int  # the OPEN tick included
    frames: int
    seconds: int
    hours: int
    fills_per_market: dict[str, int]


class ReplayStream:
    """Frames of `recording`, from the floor second of its first trade to the full hour after its last.

    hours: only the busiest so many clock hours in a row (by trades; the earliest of equals), positions flat
    at their start. Second k holds what happened in (k - 1, k], its observations, then its fills, then its
    tick; a trade on the very start second is in the first.
    """

    def __init__(
        self,
        recording: Recording,
        *,
        seed: int,
        hours: int | None,
        batch_window_ns: int,
        observation_age_ns: int = OBSERVATION_AGE_NS,
    ) -> None:
        self._recording = recording
        self._batch_window_ns = batch_window_ns
        self._observation_age_ns = observation_age_ns
        time_ns = recording.trades["time_ns"]
        if hours is None:
            self._trades = recording.trades
            self.start_s = int(time_ns[0]) // SECOND_NS
            self.end_s = closing_second(time_ns, self.start_s)
        else:
            first_hour, last_hour = busiest_hours(time_ns, hours)
            self.start_s = first_hour * HOUR_S
            bounds = np.array([first_hour, last_hour]) * HOUR_S * SECOND_NS
            low, high = np.searchsorted(time_ns, bounds, side="left")
            self._trades = recording.trades[low:high]
            self.end_s = min(last_hour * HOUR_S, closing_second(time_ns, self.start_s))
        self._bucket = buckets(self._trades["time_ns"], self.start_s)
        exponents = [(plan.lot_exp, plan.price_exp) for plan in recording.markets]
        self._observed = ObservedMarkets(self._trades, self._bucket, exponents, seed=seed, end_s=self.end_s)

    @functools.cached_property
    def totals(self) -> Totals:
        """Counts of the whole stream, genesis included."""
        observations = KINDS_PER_POINT * self._observed.count_points()
        seconds = self.end_s - self.start_s
        counts = np.bincount(self._trades["market"], minlength=len(self._recording.markets))
        return Totals(
            fills=len(self._trades),
            observations=observations,
            ticks=seconds + 1,
            frames=len(self.genesis()) + len(self._trades) + observations + seconds,
            seconds=seconds,
            hours=len(self._hour_ends()),
            fills_per_market={
                plan.symbol: int(n) for plan, n in zip(self._recording.markets, counts, strict=True)
            },
        )

    def genesis(self, *, passes: int = 1) -> Frames:
        """Parameters, the OPEN tick that puts them in force, accounts, deposits; sealed.

        Accounts come after the tick because they name a fee tier, which must be in force by then. Each
        gets three times the notional it trades, `passes` times over for a loop, and 10,000 USDC: nobody
        can be liquidated. The insurance fund gets its own.
        """
        recording = self._recording
        quotes = deposits_e6(self._trades, recording.markets, len(recording.accounts), passes)
        if max(quotes) > _DEPOSIT_LIMIT_E6:
            raise InputFileError(str(recording.path), "its trades are worth more than the books can hold")
        return sealed(
            [
                genesis_params(
                    recording.markets,
                    batch_window_ns=self._batch_window_ns,
                    observation_age_ns=self._observation_age_ns,
                    price_age_ns=self._observation_age_ns,
                ),
                open_tick(self.start_s * SECOND_NS, 1),
                account_frames(recording.accounts, 1),
                deposit_frames([INSURANCE_DEPOSIT_E6, *quotes], 1),
            ]
        )

    def chunks(self) -> Iterator[Frames]:
        """One sealed, ordered array for each replayed hour, seqs going on from `genesis`."""
        fill_seq, tick_seq, observation_seq = len(self._recording.accounts) + 1, 2, 1
        after_s = self.start_s
        for until_s in self._hour_ends():
            low, high = np.searchsorted(self._bucket, (after_s, until_s), side="right")
            seconds, market = self._observed.points(after_s, until_s)
            observations, seen_s = self._observed.frames(seconds, market, observation_seq)
            fills = fill_frames(self._trades[low:high], fill_seq)
            clock_s = np.arange(after_s + 1, until_s + 1)
            ticks = second_ticks(clock_s * SECOND_NS, (clock_s - 1) * SECOND_NS, tick_seq)
            yield _by_second(observations, seen_s, fills, self._bucket[low:high], ticks, clock_s)
            fill_seq += len(fills)
            observation_seq += len(observations)
            tick_seq += len(ticks)
            after_s = until_s

    def looped(self, count: int) -> Iterator[Frames]:
        """`count` sealed fills and nothing else, for benchmarks: the whole file over and over.

        The text is unzipped once and parsed anew for each pass; seqs go on from `genesis`, times move on by
        the file's length in whole hours. Each array comes from one parsed chunk.
        """
        lines = read_lines(self._recording)
        time_ns = self._recording.trades["time_ns"]
        hour_ns = HOUR_S * SECOND_NS
        pass_ns = (int(time_ns[-1] - time_ns[0]) // hour_ns + 1) * hour_ns
        first_seq = len(self._recording.accounts) + 1
        seq, shift_ns, end = first_seq, 0, first_seq + count
        while seq < end:
            for trades in fills_from_text(lines, self._recording):
                yield sealed([fill_frames(trades[: end - seq], seq, shift_ns)])
                seq += len(trades[: end - seq])
                if seq == end:
                    return
            shift_ns += pass_ns

    def _hour_ends(self) -> list[int]:
        """The last second of each replayed hour: all full hours after the start."""
        return list(range((self.start_s // HOUR_S + 1) * HOUR_S, self.end_s + 1, HOUR_S))


def _by_second(
    observations: Frames,
    seen_s: NDArray[np.int64],
    fills: Frames,
    filled_s: NDArray[np.int64],
    ticks: Frames,
    clock_s: NDArray[np.int64],
) -> Frames:
    """Second by second: its observations, its fills, its tick. Each input is in order of its seconds."""
    first = clock_s[0]
    fills_before = np.searchsorted(filled_s, seen_s, side="left")
    observation_places = np.arange(len(seen_s)) + fills_before + (seen_s - first)
    observations_by = np.searchsorted(seen_s, filled_s, side="right")
    fill_places = np.arange(len(filled_s)) + observations_by + (filled_s - first)
    others_by = np.searchsorted(seen_s, clock_s, side="right") + np.searchsorted(
        filled_s, clock_s, side="right"
    )
    tick_places = np.arange(len(clock_s)) + others_by
    parts = [(observation_places, observations), (fill_places, fills), (tick_places, ticks)]
    return interleaved(parts, len(observations) + len(fills) + len(ticks))


def buckets(time_ns: NDArray[np.int64], start_s: int) -> NDArray[np.int64]:
    """The second k with time in (k - 1, k], but never the start itself, whose tick has passed."""
    return np.maximum(-(-time_ns // SECOND_NS), start_s + 1)


def closing_second(time_ns: NDArray[np.int64], start_s: int) -> int:
    """The first full hour at or after the last trade, and after the start."""
    last_s = int(buckets(time_ns[-1:], start_s)[0])
    return -(-last_s // HOUR_S) * HOUR_S


def busiest_hours(time_ns: NDArray[np.int64], hours: int) -> tuple[int, int]:
    """(first, last exclusive) clock hour since 1970 of the `hours` in a row with most trades, earliest first.

    time_ns: sorted. A stretch longer than the recording is cut to it.
    """
    if hours < 1:
        raise ValueError(f"hours must be at least 1, not {hours}")
    hour = time_ns // (HOUR_S * SECOND_NS)
    first = int(hour[0])
    length = int(hour[-1]) - first + 1
    hours = min(hours, length)
    summed = np.concatenate([[0], np.cumsum(np.bincount(hour - first, minlength=length))])
    start = int(np.argmax(summed[hours:] - summed[:-hours]))
    return first + start, first + start + hours


def deposits_e6(trades: NDArray[np.void], markets: list[MarketPlan], accounts: int, passes: int) -> list[int]:
    """For accounts 1..n: 3 x the summed |size| * price of what each trades, up to whole USDC, + 10,000 USDC."""
    traded = [0] * accounts
    exps = [plan.price_exp for plan in markets]
    columns = (trades[name].tolist() for name in ("maker", "taker", "market", "price", "size"))
    for maker, taker, market, price, size in zip(*columns, strict=True):
        quote_e6 = abs(size) * price * USDC_E6 // 10 ** exps[market] + 1
        traded[maker - 1] += quote_e6
        traded[taker - 1] += quote_e6
    return [-(-DEPOSIT_TIMES * passes * sum_e6 // USDC_E6) * USDC_E6 + DEPOSIT_BASE_E6 for sum_e6 in traded]


def genesis_params(
    markets: list[MarketPlan], *, batch_window_ns: int, observation_age_ns: int, price_age_ns: int = 0
) -> Frames:
    """The first change of the operator: exchange and markets, in force at the first tick. Unsealed.

    Recorded accounts trade unleveraged: the recording does not say what margin they really had, and nobody
    is to be liquidated for a guess. price_age_ns: how old a provider's price may be, 0: by leverage.
    """
    rows = exchange_rows(batch_window_ns=batch_window_ns, observation_age_ns=observation_age_ns)
    for market, plan in enumerate(markets):
        rows += market_rows(
            market,
            plan.symbol,
            price_exp=plan.price_exp,
            lot_exp=plan.lot_exp,
            feeds=ORACLES,
            leverage=1,
            price_age_ns=price_age_ns,
        )
    return stage(rows, change=1, not_before_ns=0, first_seq=1)
