"""dYdX's samples of a rebuilt book: a vote each second, a median each minute, a rate each hour."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from kernels.funding_rate import rate_of_mean
from kernels.funding_samples import padded_mean, padded_median
from kernels.profiles import PPM, Profile, rule_row

SAMPLES_PER_HOUR: Final = 60
_MINUTE_S: Final = 60


def _word(value: int) -> Any:
    return np.int64(value)


class Minutes:
    """Votes in, samples and rates out. A minute's sample is the median of its votes, padded with zeros up to
    `min_votes`; an hour's rate is the mean of 60 samples, those that are missing counted as 0."""

    def __init__(self, min_votes: int) -> None:
        self._min_votes = min_votes
        self._minute = -1
        self._rounds = 0
        self._votes: list[int] = []
        self._samples: list[tuple[int, int, int]] = []

    def vote(self, second: int, premium_ppm: int | None) -> None:
        """One second's premium; None: the book has none, which is a vote of 0. Seconds must not fall."""
        if second // _MINUTE_S != self._minute:
            self._close()
            self._minute = second // _MINUTE_S
        self._rounds += 1
        if premium_ppm:
            self._votes.append(premium_ppm)

    def _close(self) -> None:
        if self._rounds == 0:
            return
        values = np.zeros(max(self._rounds, self._min_votes), np.int64)
        values[: len(self._votes)] = self._votes
        sample, ok = padded_median(values, _word(len(self._votes)), _word(len(values)))
        assert ok == 1, "there is at least one vote"
        self._samples.append((self._minute, self._rounds, int(sample)))
        self._rounds, self._votes = 0, []

    def lines(self) -> Iterator[str]:
        """The samples minute by minute, and after each hour the rate that dYdX would have set."""
        self._close()
        for at, (minute, votes, sample) in enumerate(self._samples):
            stamp = time.strftime("%Y-%m-%d %H:%M", time.gmtime(minute * _MINUTE_S))
            yield f"{stamp} UTC: {votes} votes, sample {sample:+d} ppm"
            hour = minute // SAMPLES_PER_HOUR
            if at + 1 == len(self._samples) or self._samples[at + 1][0] // SAMPLES_PER_HOUR != hour:
                yield self._rate(hour)

    def _rate(self, hour: int) -> str:
        taken = [sample for minute, _, sample in self._samples if minute // SAMPLES_PER_HOUR == hour]
        values = np.array(taken, np.int64)
        mean, _ = padded_mean(values, _word(len(taken)), _word(SAMPLES_PER_HOUR))
        rate = int(rate_of_mean(rule_row(Profile.DYDX_V4), _word(int(mean) * PPM)))
        stamp = time.strftime("%Y-%m-%d %H:00", time.gmtime(hour * 3600))
        return (
            f"{stamp} UTC, the hour by dYdX's rule: {len(taken)} of {SAMPLES_PER_HOUR} samples, the rest 0; "
            f"rate {rate / 10**10:+.4f} % per 8 h"
        )
