"""Formulas that other venues state in integers of their own: dYdX v4, Drift v2, Vega, BitMEX.

They give what the venue itself would give, to the unit. Every product that leaves int64 where it must fit is
reported by `ok` = 0, never wrapped.
"""

from __future__ import annotations

from kernels.int128 import add_checked, divmod128, mul_add128, mul_add_divmod, mul_div_floor, mul_div_trunc
from kernels.jit import kernel
from kernels.profiles import PERIOD_S, PPM, RATE_ONE
from kernels.types import Words

I64_MIN = -9_223_372_036_854_775_808


@kernel
def times(a: int, b: int) -> tuple[int, int]:
    """(a * b, ok)."""
    product, _, ok = mul_add_divmod(a, b, 0, 1)
    return product, ok


@kernel
def index_step_ppm(elapsed_s: int, rate_8h_ppm: int, price: int, mul: int, div: int) -> tuple[int, int]:
    """(elapsed * rate * price * mul / div / 28,800 toward zero, ok): dYdX's index of a tick, quote ppm per
    base unit. One of mul and div is 1. Toward zero once is toward zero after each division."""
    rate_s, ok1 = times(elapsed_s, rate_8h_ppm)
    scaled, ok2 = times(price, mul)
    divisor, ok3 = times(div, PERIOD_S)
    if ok1 == 0 or ok2 == 0 or ok3 == 0:
        return 0, 0
    return mul_div_trunc(rate_s, scaled, divisor)


@kernel
def margin_bound(factor: int, initial: int, maintenance: int) -> tuple[int, int]:
    """(floor(factor * (initial - maintenance) / 10**6), ok): the largest rate that margins of any one unit
    bear; factor in 1e-6. ok = 0 also if maintenance is not in 0..initial. Source: dYdX v4, BitMEX, MONEY.md."""
    if not 0 <= maintenance <= initial:
        return 0, 0
    return mul_div_floor(factor, initial - maintenance, PPM)


@kernel
def settlement_ppm(market_index: int, position_index: int, size: int) -> tuple[int, int]:
    """(-(market_index - position_index) * size, ok): what a dYdX position receives, in quote ppm."""
    if market_index == I64_MIN:
        return 0, 0
    moved, ok1 = add_checked(position_index, -market_index)
    net, ok2 = times(moved, size)
    return net, ok1 & ok2


@kernel
def settle_together(nets_ppm: Words, payments: Words) -> tuple[int, int]:
    """(what an account receives of the nets of all its positions, ok): one floor after summing. dYdX v4.

    nets_ppm: int64[n], quote ppm, positive: receives. Writes payments[n], what each pays: -floor(net / 10**6).
    """
    hi, lo = 0, 0
    for k in range(nets_ppm.shape[0]):
        payments[k] = -(nets_ppm[k] // PPM)
        hi, lo = mul_add128(hi, lo, nets_ppm[k], 1)
    received, _, ok = divmod128(hi, lo, PPM)
    return received, ok


@kernel
def drift_rate_e9(mark: int, oracle: int, offset_div: int, spread_div: int, period_s: int) -> tuple[int, int]:
    """(Drift's hourly rate in 1e-9 price units per base unit, ok), toward zero.

    mark, oracle: averages in 1e-6. spread = mark - oracle, plus |oracle| div offset_div where that is not 0,
    clamped to +-(oracle div spread_div); rate = spread * 1000 / (86,400 div max(3600, period)). A negative
    oracle or divisor, or a period above a day: ok = 0.
    """
    if oracle < 0 or offset_div < 0 or spread_div <= 0:
        return 0, 0
    spread, ok1 = add_checked(mark, -oracle)
    if ok1 == 0:
        return 0, 0
    if offset_div != 0:
        spread += oracle // offset_div  # at most mark
    limit = drift_spread_limit(oracle, spread_div)
    parts = 86_400 // max(3600, period_s)
    return mul_div_trunc(max(-limit, min(limit, spread)), 1000, parts)


@kernel
def drift_spread_limit(oracle: int, spread_div: int) -> int:
    """The largest spread that Drift charges for, in the units of `oracle` >= 0. `spread_div` > 0."""
    return oracle // spread_div


@kernel
def drift_payment(rate_e9: int, base_e9: int) -> tuple[int, int]:
    """(what a Drift position receives in 1e-6 quote, toward zero, ok): minus rate * base."""
    paid, ok = mul_div_trunc(rate_e9, base_e9, RATE_ONE)
    if paid == I64_MIN:
        return 0, 0
    return -paid, ok


@kernel
def drift_sides(
    rate_e9: int, net_base: int, long_base: int, short_base: int, exchange_fee: int, pool: int
) -> tuple[int, int, int, int]:
    """(rate of longs, rate of shorts, pool after, ok): Drift's symmetric funding out of its fee pool.

    The protocol bears the imbalance `net_base`. What it must pay comes out of a third of the pool beyond half
    of `exchange_fee`; where that is too little, the receiving side's rate shrinks to what the paying side and
    the pool give. Bases in 1e-9, long_base >= 0 >= short_base; fees in 1e-6, not negative: else ok = 0.
    """
    if long_base < 0 or short_base > 0 or short_base == I64_MIN or pool < 0 or exchange_fee < 0:
        return 0, 0, 0, 0
    paid, ok1 = drift_payment(rate_e9, net_base)
    gain = -paid
    limit = -(max(0, pool - exchange_fee // 2) // 3)
    after, ok2 = add_checked(pool, max(gain, limit))
    if ok1 == 0 or ok2 == 0:
        return 0, 0, 0, 0
    if gain >= limit:
        return rate_e9, rate_e9, after, 1
    giving, taking = (long_base, short_base) if rate_e9 > 0 else (short_base, long_base)
    given, ok1 = drift_payment(rate_e9, giving)
    over, ok3 = add_checked(limit + 1, -abs(given))
    if over == I64_MIN:
        return 0, 0, 0, 0
    reduced, ok2 = mul_div_trunc(over if taking > 0 else -over, RATE_ONE, abs(taking))
    if ok1 == 0 or ok2 == 0 or ok3 == 0:
        return 0, 0, 0, 0
    if rate_e9 > 0:
        return rate_e9, reduced, after, 1
    return reduced, rate_e9, after, 1


@kernel
def difference_payment(
    internal: int, external: int, low_e12: int, high_e12: int, grown_e12: int, share_e12: int
) -> tuple[int, int]:
    """(payment per unit of size of Vega's rule before its bounds, ok), toward zero, in the prices' unit.

    G = internal - external + min(high * external, max(low * external, grown * external - internal)), times
    `share`; low and high clamp interest, `grown` is 1 + rate * years. Without interest low = high = 0.
    """
    low, ok1 = mul_div_trunc(low_e12, external, RATE_ONE)
    high, ok2 = mul_div_trunc(high_e12, external, RATE_ONE)
    owed, ok3 = mul_div_trunc(grown_e12, external, RATE_ONE)
    if internal == I64_MIN or external == I64_MIN:
        return 0, 0
    difference, ok4 = add_checked(internal, -external)
    interest, ok5 = add_checked(owed, -internal)
    if ok1 == 0 or ok2 == 0 or ok3 == 0 or ok4 == 0 or ok5 == 0:
        return 0, 0
    total, ok = add_checked(difference, min(high, max(low, interest)))
    if ok == 0:
        return 0, 0
    return mul_div_trunc(total, share_e12, RATE_ONE)
