"""Sums and steps of a market from scratch, for books that are not ours: published states of another venue."""

from __future__ import annotations

from kernels.int128 import add_checked
from kernels.jit import kernel
from kernels.types import Words


@kernel
def market_sums(sizes: Words, quotes: Words) -> tuple[int, int, int, int]:
    """(sum of sizes, sum of long sizes, sum of quotes, ok) of all positions of a market.

    sizes, quotes: int64[n], signed. With a venue's own position among them the first sum is 0 and the second
    its open interest. ok = 0: a sum does not fit int64, and nothing is said.
    """
    size = 0
    longs = 0
    quote = 0
    for i in range(len(sizes)):
        size, ok1 = add_checked(size, sizes[i])
        longs, ok2 = add_checked(longs, max(sizes[i], 0))
        quote, ok3 = add_checked(quote, quotes[i])
        if ok1 == 0 or ok2 == 0 or ok3 == 0:
            return 0, 0, 0, 0
    return size, longs, quote, 1


@kernel
def step_error(before: int, rate: int, after: int) -> tuple[int, int]:
    """(after - (before + rate), ok): by how much a cumulative index missed the step of one payment."""
    reached, ok = add_checked(before, rate)
    if ok == 0 or reached == -9223372036854775808:
        return 0, 0
    return add_checked(after, -reached)
