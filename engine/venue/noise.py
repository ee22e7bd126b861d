"""Seeded noise: splitmix64 as a hash of (seed, stream, index), the same on every machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_MASK = (1 << 64) - 1


def splitmix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output of splitmix64 whose state was `x` before the step. uint64[n] in, uint64[n] out."""
    z = x + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX1
    z = (z ^ (z >> np.uint64(27))) * _MIX2
    return z ^ (z >> np.uint64(31))


def stream_key(seed: int, stream: int) -> int:
    """A 64-bit key of one named stream of draws: streams of one seed do not overlap."""
    return int(splitmix64(np.array([(seed * 0x2545F4914F6CDD1D + stream) & _MASK], np.uint64))[0])


def draws(seed: int, stream: int, index: NDArray[np.int64]) -> NDArray[np.uint64]:
    """One uniform uint64 for each `index`; equal arguments give equal draws."""
    return splitmix64(index.astype(np.uint64) * _MIX2 + np.uint64(stream_key(seed, stream)))


def below(draw: NDArray[np.uint64], bound: int) -> NDArray[np.int64]:
    """`draw` folded to 0 .. bound - 1 by its upper 32 bits. 1 <= bound <= 2**31."""
    return ((draw >> np.uint64(32)) * np.uint64(bound) >> np.uint64(32)).astype(np.int64)


def seeded_keys(seed: int, stream: int, count: int) -> list[bytes]:
    """`count` distinct 32-byte account keys that nobody holds."""
    raw = draws(seed, stream, np.arange(4 * count)).astype("<u8").tobytes()
    return [raw[at : at + 32] for at in range(0, len(raw), 32)]
