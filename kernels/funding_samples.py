"""Averages of samples: mean, median, zero padding, trimmed tails, and averages over time.

Values are int64, of any unit; averages that round say how. Kernels that sort do so in place.
"""

from __future__ import annotations

from kernels.int128 import add_checked, divmod128, mul_add128
from kernels.jit import kernel
from kernels.types import Words

PPM = 1_000_000


@kernel
def sort_ascending(values: Words, count: int) -> None:
    """Sort values[:count] in place, by shells: no memory, no recursion."""
    gap = 1
    while gap < count // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for at in range(gap, count):
            value, k = values[at], at
            while k >= gap and values[k - gap] > value:
                values[k] = values[k - gap]
                k -= gap
            values[k] = value
        gap //= 3


@kernel
def wide_sum(values: Words, first: int, last: int) -> tuple[int, int]:
    """(hi, lo): the exact sum of values[first:last], which may exceed int64."""
    hi, lo = 0, 0
    for k in range(first, last):
        hi, lo = mul_add128(hi, lo, values[k], 1)
    return hi, lo


@kernel
def padded_mean(values: Words, count: int, length: int) -> tuple[int, int]:
    """(mean of values[:count] and zeros up to `length` of them, toward zero; ok).

    ok = 0: nothing to average. More values than `length` are all counted.
    """
    hi, lo = wide_sum(values, 0, count)
    mean, rem, ok = divmod128(hi, lo, max(count, length))
    if rem > 0 and mean < 0:
        mean += 1
    return mean, ok


@kernel
def median(values: Words, count: int) -> tuple[int, int]:
    """(median of values[:count], ok); two middles give their mean, halves away from zero. Sorts in place.

    ok = 0: nothing to choose from.
    """
    if count <= 0:
        return 0, 0
    sort_ascending(values, count)
    upper = values[count // 2]
    if count % 2 == 1:
        return upper, 1
    lower = values[count // 2 - 1]
    # Halves first: the sum of two int64 may not fit.
    half = (lower >> 1) + (upper >> 1)
    odd = (lower & 1) + (upper & 1)
    if odd == 2 or (odd == 1 and half >= 0):
        half += 1
    return half, 1


@kernel
def padded_median(values: Words, count: int, length: int) -> tuple[int, int]:
    """(median of values[:count] and zeros up to `length` of them, ok). values: int64[max(count, length)]."""
    for k in range(count, length):
        values[k] = 0
    return median(values, max(count, length))


@kernel
def trim_tails(values: Words, count: int, tail_ppm: int) -> tuple[int, int]:
    """(first, last) of what is left of values[:count] without its tails: floor(count * 2 * tail / 10**6) in
    all, the lower half rounded down. Sorts in place, unless nothing or everything would go: then all stays
    as it is. 0 <= tail_ppm <= 10**6."""
    gone = count * 2 * tail_ppm // PPM
    if gone == 0 or gone >= count:
        return 0, count
    sort_ascending(values, count)
    return gone // 2, count - (gone - gone // 2)


@kernel
def twap_step(
    times_s: Words, prices: Words, outages: Words, before: int, until_s: int
) -> tuple[int, int, int]:
    """(sum of price * seconds, seconds, ok) of a price that steps, over seconds 0..until_s - 1.

    times_s, prices: int64[n], rising; each price holds from its time on, `before` holds from 0. outages:
    int64[m, 2] of from and to, apart: their seconds count for nothing. ok = 0: not rising, or beyond int64.
    """
    total, seconds = 0, 0
    price, start = before, 0
    for k in range(times_s.shape[0] + 1):
        end = min(times_s[k], until_s) if k < times_s.shape[0] else until_s
        if k < times_s.shape[0] and times_s[k] < start:
            return 0, 0, 0
        counted = max(0, end - start)
        for j in range(outages.shape[0]):
            counted -= max(0, min(end, outages[j, 1]) - max(start, outages[j, 0]))
        hi, lo = mul_add128(0, total, price, counted) if total >= 0 else mul_add128(-1, total, price, counted)
        total, _, ok = divmod128(hi, lo, 1)
        if ok == 0:
            return 0, 0, 0
        seconds += counted
        if k < times_s.shape[0]:
            price, start = prices[k], times_s[k]
        if start >= until_s:
            break
    return total, seconds, 1


@kernel
def running_difference(mark: Words, index: Words, out: Words) -> int:
    """Writes out[k] = sum of mark - index over 0..k; all int64[n]. 1, or 0 where a sum leaves int64."""
    total = 0
    for k in range(mark.shape[0]):
        if index[k] == -9_223_372_036_854_775_808:
            return 0
        step, ok1 = add_checked(mark[k], -index[k])
        total, ok2 = add_checked(total, step)
        if ok1 == 0 or ok2 == 0:
            return 0
        out[k] = total
    return 1
