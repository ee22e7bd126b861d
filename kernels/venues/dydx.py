"""Margin and liquidation as dYdX v4 computes them (v4-chain@84d4664: perpetuals/lib, clob/keeper).

Base amounts are in units of 10**base_resolution coins, quote in 1e-6 USDC, rates in ppm. `exponent` is
price_exponent + base_resolution + 6, so that quote = trunc(base * price * 10**exponent). Positive size is
long. Requirements round up, what an account must receive rounds so that it is never left short.
"""

from __future__ import annotations

import numpy as np

from kernels.int128 import add_checked, divmod128, mul_add128, mul_add_divmod, mul_div_ceil, mul_div_floor
from kernels.jit import kernel
from kernels.types import Rows, Words
from kernels.venues.exact import LIMB, LIMBS, magnitude, put_natural, scale_natural, scaled_product, subtract
from kernels.venues.status import NO_REQUIREMENT, NOT_A_REDUCTION, NOT_OPPOSITE, OK, OUT_OF_RANGE, OVERFLOW

PPM = 1_000_000

POSITION = np.dtype(
    [
        ("size_base", "<i8"),
        ("price", "<i8"),
        ("exponent", "<i8"),
        ("initial_ppm", "<i8"),
        ("maintenance_ppm", "<i8"),  # of the initial margin
    ]
)


@kernel
def notional_e6(base: int, price: int, exponent: int) -> tuple[int, int]:
    """(quote worth of `base`, signed as it, toward zero; ok)."""
    return scaled_product(base, price, exponent)


@kernel
def scaled_initial_ppm(initial_ppm: int, oi_e6: int, lower_e6: int, upper_e6: int) -> tuple[int, int]:
    """(initial margin rate at an open interest worth `oi_e6`, status).

    Base rate up to the lower cap or without an upper one (0), 100 % from the upper cap on, linear between,
    the increase rounded down.
    """
    if upper_e6 == 0 or oi_e6 <= lower_e6:
        return initial_ppm, OK
    if oi_e6 >= upper_e6:
        return PPM, OK
    room, ok_room = subtract(PPM, initial_ppm)
    above, ok_above = subtract(oi_e6, lower_e6)
    span, ok_span = subtract(upper_e6, lower_e6)
    if ok_room == 0 or ok_above == 0 or ok_span == 0:
        return 0, OVERFLOW
    # Between the caps above < span: what comes out lies between the base rate and 100 %.
    increase, _ = mul_div_floor(room, above, span)
    return initial_ppm + increase, OK


@kernel
def initial_margin_e6(
    quote_e6: int, initial_ppm: int, oi_e6: int, lower_e6: int, upper_e6: int
) -> tuple[int, int]:
    """(initial margin of a notional at the rate scaled by open interest, rounded up; status)."""
    rate_ppm, status = scaled_initial_ppm(initial_ppm, oi_e6, lower_e6, upper_e6)
    if status != OK:
        return 0, status
    return mul_div_ceil(quote_e6, rate_ppm, PPM)


@kernel
def maintenance_margin_e6(quote_e6: int, initial_ppm: int, maintenance_ppm: int) -> tuple[int, int]:
    """(maintenance margin, status): a share of the unscaled initial margin; both roundings go up."""
    if initial_ppm < 0 or maintenance_ppm < 0:
        return 0, OUT_OF_RANGE
    base_e6, ok = mul_div_ceil(quote_e6, initial_ppm, PPM)
    if ok == 0:
        return 0, OVERFLOW
    return mul_div_ceil(base_e6, maintenance_ppm, PPM)


@kernel
def margin_requirement(
    size_base: int,
    price: int,
    exponent: int,
    initial_ppm: int,
    maintenance_ppm: int,
    open_interest_base: int,
    lower_e6: int,
    upper_e6: int,
) -> tuple[int, int, int]:
    """(initial, maintenance, status) of a position; only the initial one grows with open interest."""
    quote_e6, ok_quote = notional_e6(size_base, price, exponent)
    oi_e6, ok_oi = notional_e6(open_interest_base, price, exponent)
    if ok_quote == 0 or ok_oi == 0:
        return 0, 0, OVERFLOW
    quote_e6 = abs(quote_e6)
    initial, status = initial_margin_e6(quote_e6, initial_ppm, oi_e6, lower_e6, upper_e6)
    maintenance, status_maintenance = maintenance_margin_e6(quote_e6, initial_ppm, maintenance_ppm)
    if status_maintenance != OK:
        return 0, 0, status_maintenance
    if status != OK:
        return 0, 0, status
    return initial, maintenance, OK


@kernel
def is_liquidatable(net_collateral_e6: int, maintenance_e6: int) -> int:
    """1 if there is a maintenance requirement and collateral is strictly below it."""
    return 1 if maintenance_e6 > 0 and maintenance_e6 > net_collateral_e6 else 0


@kernel
def account_totals(usdc_e6: int, positions: Rows) -> tuple[int, int, int]:
    """(net collateral, maintenance, status) of an account; positions: POSITION[n], open interest apart.

    The sums are kept in 128 bits: only what they come to must fit.
    """
    net_hi, net_lo = mul_add128(0, 0, usdc_e6, 1)
    need_hi, need_lo = 0, 0
    for k in range(len(positions)):
        row = positions[k]
        quote_e6, ok = notional_e6(row["size_base"], row["price"], row["exponent"])
        if ok == 0:
            return 0, 0, OVERFLOW
        need_e6, status = maintenance_margin_e6(abs(quote_e6), row["initial_ppm"], row["maintenance_ppm"])
        if status != OK:
            return 0, 0, status
        net_hi, net_lo = mul_add128(net_hi, net_lo, quote_e6, 1)
        need_hi, need_lo = mul_add128(need_hi, need_lo, need_e6, 1)
    net_e6, _, ok_net = divmod128(net_hi, net_lo, 1)
    need_e6, _, ok_need = divmod128(need_hi, need_lo, 1)
    if ok_net == 0 or ok_need == 0:
        return 0, 0, OVERFLOW
    return net_e6, need_e6, OK


@kernel
def bankruptcy_quote(usdc_e6: int, positions: Rows, k: int, delta_base: int) -> tuple[int, int]:
    """(quote, status) at which closing `delta_base` of position `k` uses up exactly that slice's share of
    the account's collateral.

    Positive: the account must receive it; negative: it can pay so much. The share is by maintenance
    requirement, rounded down. Refused: no reduction, an account without requirement.
    """
    row = positions[k]
    size = row["size_base"]
    if delta_base == 0 or (delta_base > 0) == (size > 0):
        return 0, NOT_A_REDUCTION
    left = size + delta_base
    if left != 0 and (left > 0) != (size > 0):
        return 0, NOT_A_REDUCTION
    net_e6, need_e6, status = account_totals(usdc_e6, positions)
    if status != OK:
        return 0, status
    if need_e6 <= 0:
        return 0, NO_REQUIREMENT
    # The totals were taken of the whole position: what fits of that fits of a part, and a part's share too.
    old_e6, _ = notional_e6(size, row["price"], row["exponent"])
    new_e6, _ = notional_e6(left, row["price"], row["exponent"])
    old_need, _ = maintenance_margin_e6(abs(old_e6), row["initial_ppm"], row["maintenance_ppm"])
    new_need, _ = maintenance_margin_e6(abs(new_e6), row["initial_ppm"], row["maintenance_ppm"])
    share, _ = mul_div_floor(net_e6, old_need - new_need, need_e6)
    return subtract(old_e6 - new_e6, share)


@kernel
def _put_worsening(
    net_e6: int, need_e6: int, own_e6: int, adjustment_ppm: int, spread_ppm: int, out: Words, scale: Words
) -> int:
    """Write limbs with out / scale = rating * own_e6 * spread, rating = (1 - net/need) * adjustment within
    0..1. Returns ok."""
    short, ok = subtract(need_e6, net_e6)
    if ok == 0:
        return 0
    put_natural(out, own_e6)
    scale_natural(out, spread_ppm)
    put_natural(scale, PPM)
    if short <= 0:
        put_natural(out, 0)
        return 1
    adjusted, _, ok = mul_add_divmod(short, adjustment_ppm, 0, need_e6)
    if ok == 1 and adjusted < PPM:
        scale_natural(out, short)
        scale_natural(out, adjustment_ppm)
        scale_natural(scale, need_e6)
        scale_natural(scale, PPM)
    return 1


@kernel
def fillable_price(
    usdc_e6: int, positions: Rows, k: int, adjustment_ppm: int, spread_ppm: int, num: Words, den: Words
) -> int:
    """Write the price, in quote units per base unit, at which a liquidation of position `k` may fill: the
    oracle's, worse by up to `spread_ppm` of the position's maintenance requirement the nearer the account
    is to bankruptcy. Returns a status.

    num, den: int64[LIMBS], read by `int_of_limbs`; exact, den > 0, not in lowest terms: an ordinary account
    needs some 100 bits of each. Written only if the status is OK, else scratch.
    """
    row = positions[k]
    size, ok_size = magnitude(row["size_base"])
    if size == 0:
        return OVERFLOW if ok_size == 0 else NOT_A_REDUCTION
    if adjustment_ppm < 0 or spread_ppm < 0:
        return OUT_OF_RANGE
    net_e6, need_e6, status = account_totals(usdc_e6, positions)
    if status != OK:
        return status
    if need_e6 <= 0:
        return NO_REQUIREMENT
    worth_e6, _ = notional_e6(row["size_base"], row["price"], row["exponent"])
    own_e6, _ = maintenance_margin_e6(abs(worth_e6), row["initial_ppm"], row["maintenance_ppm"])
    # num is first what is taken off and den its scale; then both sides go over size * scale.
    if _put_worsening(net_e6, need_e6, own_e6, adjustment_ppm, spread_ppm, num, den) == 0:
        return OVERFLOW
    side = 1 if row["size_base"] > 0 else -1
    for i in range(LIMBS):
        num[i] = -side * num[i]
    _add_scaled(num, den, side * worth_e6)
    scale_natural(den, size)
    return OK


@kernel
def _add_scaled(out: Words, scale: Words, factor: int) -> None:
    """out += scale * factor, limb by limb and signed, for scale below 2**150: the product needs no array."""
    size = abs(factor)
    sign = 1 if factor >= 0 else -1
    low = size % LIMB
    middle = (size // LIMB) % LIMB
    high = size // (LIMB * LIMB)
    carry = 0
    for i in range(LIMBS):
        total = carry + low * scale[i]
        if i > 0:
            total += middle * scale[i - 1]
        if i > 1:
            total += high * scale[i - 2]
        out[i] += sign * (total % LIMB)
        carry = total // LIMB


@kernel
def insurance_delta(
    usdc_e6: int, positions: Rows, k: int, buys: int, fill_base: int, fill_quote_e6: int, fee_ppm: int
) -> tuple[int, int]:
    """(what the insurance fund gets, negative: pays; status) when a liquidation fills.

    It gets what the account keeps beyond its bankruptcy quote, at most `fee_ppm` of the fill, rounded
    down; it pays all that is missing. `buys` is 1 for a short that is closed. Fills are given unsigned.
    """
    if fill_base <= 0 or fill_quote_e6 < 0 or fee_ppm < 0:
        return 0, OUT_OF_RANGE
    delta = fill_base if buys == 1 else -fill_base
    bankrupt_e6, status = bankruptcy_quote(usdc_e6, positions, k, delta)
    if status != OK:
        return 0, status
    received = -fill_quote_e6 if buys == 1 else fill_quote_e6
    kept, ok = subtract(received, bankrupt_e6)
    if ok == 0:
        return 0, OVERFLOW
    if kept <= 0:
        return kept, OK
    limit, ok = mul_div_floor(fill_quote_e6, fee_ppm, PPM)
    return (min(kept, limit) if ok == 1 else kept), OK


@kernel
def open_interest_delta(size_a: int, delta_a: int, size_b: int, delta_b: int) -> tuple[int, int]:
    """(change of open interest, status) by a match of two accounts; their deltas must be opposite."""
    zero, ok = add_checked(delta_a, delta_b)
    if ok == 0 or zero != 0:
        return 0, NOT_OPPOSITE
    new_a, ok_a = add_checked(size_a, delta_a)
    new_b, ok_b = add_checked(size_b, delta_b)
    if ok_a == 0 or ok_b == 0:
        return 0, OVERFLOW
    # Each difference is between two non-negative numbers, so it fits; their sum may not.
    return add_checked(max(new_a, 0) - max(size_a, 0), max(new_b, 0) - max(size_b, 0))
