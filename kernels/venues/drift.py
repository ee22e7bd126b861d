"""Margin, liquidation, fees and positions as Drift v2 computes them (protocol-v2@0ae3e3b, programs/drift/src/math).

Prices and quote in 1e-6, base in 1e-9 of a coin. Ratios in 1e-4, fees of a liquidation in 1e-6, trading fees
in 1e-5. Division truncates; where an amount is unsigned there, a negative one is refused here.
"""

from __future__ import annotations

from kernels.int128 import add_checked, mul_add_divmod, mul_div_ceil, mul_div_floor
from kernels.jit import kernel
from kernels.venues.exact import magnitude, multiply, scaled_product
from kernels.venues.status import NO_OPEN_INTEREST, NO_SIZE, OK, OUT_OF_RANGE, OVERFLOW

BASE = 1_000_000_000
QUOTE = 1_000_000
RATIO = 10_000
FEE = 100_000
RATIO_TO_FEE = 100
IMF_DIVISOR = 10_000_000
_ROOT_MAX = 9_603_838_834
"""isqrt(10 * (2**63 - 1) + 1)."""


@kernel
def _share(value: int, part: int, whole: int) -> tuple[int, int]:
    """(value * part / whole toward zero, ok) for part >= 0, whole > 0."""
    size, ok = magnitude(value)
    if ok == 0:
        return 0, 0
    out, ok = mul_div_floor(size, part, whole)
    return (out if value >= 0 else -out), ok


@kernel
def position_update(
    base: int, quote: int, entry: int, break_even: int, dbase: int, dquote: int
) -> tuple[int, int, int, int, int, int]:
    """(base, quote, entry, break_even, realised_pnl, status) after a trade of `dbase` for signed `dquote`.

    `entry` and `break_even` are signed quotes of the open size. A reduction takes out their share, toward
    zero; a flip opens with the share of the trade's quote that is beyond the close.
    """
    new_base, ok_base = add_checked(base, dbase)
    new_quote, ok_quote = add_checked(quote, dquote)
    old_size, ok_old = magnitude(base)
    size, ok_size = magnitude(dbase)
    if ok_base == 0 or ok_quote == 0 or ok_old == 0 or ok_size == 0:
        return 0, 0, 0, 0, 0, OVERFLOW
    if base == 0 or (size != 0 and (base > 0) == (dbase > 0)):
        new_entry, ok_entry = add_checked(entry, dquote)
        new_even, ok_even = add_checked(break_even, dquote)
        pnl = 0
    elif size <= old_size:
        out, ok_out = _share(entry, size, old_size)
        even_out, ok_even = _share(break_even, size, old_size)
        new_entry, new_even = entry - out, break_even - even_out
        pnl, ok_pnl = add_checked(out, dquote)
        ok_entry = ok_out * ok_pnl
    else:
        closing, ok_closing = _share(dquote, old_size, size)
        new_entry = dquote - closing
        new_even, ok_even = new_entry, 1
        pnl, ok_pnl = add_checked(entry, closing)
        ok_entry = ok_closing * ok_pnl
    if ok_entry == 0 or ok_even == 0:
        return 0, 0, 0, 0, 0, OVERFLOW
    return new_base, new_quote, new_entry, new_even, pnl, OK


@kernel
def unrealised_pnl(base: int, quote: int, price: int) -> tuple[int, int]:
    """(worth of `base` at `price`, toward zero, + signed quote; status)."""
    worth, ok = scaled_product(base, price, -9)
    if ok == 0:
        return 0, OVERFLOW
    return add_checked(worth, quote)


@kernel
def _root_of_size(size: int) -> int:
    """isqrt(10 * size + 1) for size >= 0: largest root with root**2 - 1 <= 10 * size."""
    low, high = 0, _ROOT_MAX
    while low < high:
        middle = (low + high + 1) // 2
        # ceil((middle**2 - 1) / 10), which fits int64 up to the largest root.
        needed, _, _ = mul_add_divmod(middle, middle, 8, 10)
        if needed <= size:
            low = middle
        else:
            high = middle - 1
    return low


@kernel
def size_ratio(base: int, ratio: int, imf_factor: int) -> tuple[int, int]:
    """(margin ratio in 1e-4 of a position of `base`, status): the larger of its own and four fifths of it
    + sqrt(10 * size + 1) * imf_factor / 1e7."""
    size, ok = magnitude(base)
    if ok == 0 or ratio < 0 or imf_factor < 0:
        return 0, OVERFLOW if ok == 0 else OUT_OF_RANGE
    premium, ok = mul_div_floor(_root_of_size(size), imf_factor, IMF_DIVISOR)
    if ok == 0:
        return 0, OVERFLOW
    scaled, ok = add_checked(ratio - ratio // 5, premium)
    return (max(ratio, scaled), OK) if ok == 1 else (0, OVERFLOW)


@kernel
def margin_requirement(base: int, price: int, ratio: int, imf_factor: int) -> tuple[int, int]:
    """(margin in quote that a position needs at `price`, status). Both divisions round down."""
    size, ok_size = magnitude(base)
    in_force, status = size_ratio(base, ratio, imf_factor)
    if status != OK or ok_size == 0:
        return 0, status
    if price < 0:
        return 0, OUT_OF_RANGE
    worth, ok = mul_div_floor(size, price, BASE)
    if ok == 0:
        return 0, OVERFLOW
    return mul_div_floor(worth, in_force, RATIO)


@kernel
def is_liquidatable(collateral: int, maintenance: int) -> int:
    """1 if collateral is strictly below the maintenance requirement."""
    return 1 if collateral < maintenance else 0


@kernel
def base_to_cover_shortage(
    shortage: int, ratio: int, liquidator_fee: int, insurance_fee: int, oracle: int, quote_oracle: int
) -> tuple[int, int]:
    """(base whose liquidation frees `shortage` of margin after both fees, status)."""
    if min(shortage, ratio, liquidator_fee, insurance_fee, oracle, quote_oracle) < 0:
        return 0, OUT_OF_RANGE
    price, ok_price = mul_div_floor(oracle, quote_oracle, QUOTE)
    ratio_e6, ok_ratio = multiply(ratio, RATIO_TO_FEE)
    if ok_price == 0 or ok_ratio == 0:
        return 0, OVERFLOW
    if ratio_e6 <= liquidator_fee:
        return 0, NO_SIZE
    freed, ok_freed = mul_div_floor(price, ratio_e6 - liquidator_fee, QUOTE)
    fee, ok_fee = mul_div_floor(oracle, insurance_fee, QUOTE)
    if ok_freed == 0 or ok_fee == 0:
        return 0, OVERFLOW
    if freed <= fee:
        return 0, NO_SIZE
    return mul_div_floor(shortage, BASE, freed - fee)


@kernel
def insurance_fee(
    shortage: int, base: int, ratio: int, liquidator_fee: int, oracle: int, quote_oracle: int, fee_max: int
) -> tuple[int, int]:
    """(insurance fee in 1e-6 that a liquidation of all of `base` can bear, status): 95 % of what its
    margin frees beyond the shortage and the liquidator's fee, at most `fee_max`."""
    if min(shortage, ratio, liquidator_fee, oracle, quote_oracle, fee_max) < 0 or base < 0:
        return 0, OUT_OF_RANGE
    ratio_e6, ok = multiply(ratio, RATIO_TO_FEE)
    if ok == 0:
        return 0, OVERFLOW
    if oracle == 0 or quote_oracle == 0 or base == 0 or ratio_e6 <= liquidator_fee:
        return 0, OK
    price, ok = mul_div_floor(oracle, quote_oracle, QUOTE)
    if ok == 0:
        return 0, OVERFLOW
    if price == 0:
        return 0, OUT_OF_RANGE
    room = ratio_e6 - liquidator_fee
    per_coin, ok_coin = mul_div_floor(shortage, BASE, base)
    # A shortage too large to state still leaves no room if the largest one that can be stated does not.
    needed, ok = mul_div_floor(per_coin if ok_coin == 1 else 9223372036854775807, QUOTE, price)
    if ok == 0 or needed >= room:
        return 0, OK
    if ok_coin == 0:
        return 0, OVERFLOW
    fee, ok = mul_div_floor(room - needed, 19, 20)
    return min(fee_max, fee), OK


@kernel
def socialised_loss_rate(loss: int, long_base: int, short_base: int) -> tuple[int, int]:
    """(what is added against both sides' cumulative funding rates, 1e-9 quote per coin; status).

    |loss| per coin of open interest on both sides, rounded up to 1e-6 so that the loss is covered.
    """
    size, ok_loss = magnitude(loss)
    longs, ok_long = magnitude(long_base)
    shorts, ok_short = magnitude(short_base)
    if ok_loss == 0 or ok_long == 0 or ok_short == 0:
        return 0, OVERFLOW
    total, ok = add_checked(longs, shorts)
    if ok == 0:
        return 0, OVERFLOW
    if total == 0:
        return 0, NO_OPEN_INTEREST
    per_coin, ok = mul_div_ceil(size, BASE, total)
    if ok == 0:
        return 0, OVERFLOW
    return multiply(per_coin, 1000)


@kernel
def _adjusted(fee: int, adjustment_pct: int) -> tuple[int, int]:
    """(fee, ok) raised or lowered by a percentage of itself, the change rounded down."""
    size, ok = magnitude(adjustment_pct)
    if ok == 0:
        return 0, 0
    change, ok = mul_div_floor(fee, size, 100)
    if ok == 0:
        return 0, 0
    return add_checked(fee, change if adjustment_pct > 0 else -change)


@kernel
def trade_fees(
    notional: int,
    taker_e5: int,
    maker_e5: int,
    adjustment_pct: int,
    referred: int,
    discount_pct: int,
    reward_pct: int,
) -> tuple[int, int, int, int, int, int]:
    """(taker pays, maker receives, house receives, referrer receives, discount, status) of one trade.

    The taker's fee rounds up, all that is given away rounds down, and the house has the difference.
    """
    if min(notional, taker_e5, maker_e5, discount_pct, reward_pct) < 0:
        return 0, 0, 0, 0, 0, OUT_OF_RANGE
    fee, ok_fee = mul_div_ceil(notional, taker_e5, FEE)
    rebate, ok_rebate = mul_div_floor(notional, maker_e5, FEE)
    if ok_fee == 0 or ok_rebate == 0:
        return 0, 0, 0, 0, 0, OVERFLOW
    fee, ok_fee = _adjusted(fee, adjustment_pct)
    rebate, ok_rebate = _adjusted(rebate, adjustment_pct)
    if ok_fee == 0 or ok_rebate == 0:
        return 0, 0, 0, 0, 0, OVERFLOW
    if fee < 0:
        return 0, 0, 0, 0, 0, OUT_OF_RANGE
    discount, ok_discount = mul_div_floor(fee, discount_pct if referred == 1 else 0, 100)
    reward, ok_reward = mul_div_floor(fee, reward_pct if referred == 1 else 0, 100)
    if ok_discount == 0 or ok_reward == 0:
        return 0, 0, 0, 0, 0, OVERFLOW
    house, ok = add_checked(fee - discount, -reward)
    if ok == 1:
        house, ok = add_checked(house, -rebate)
    if ok == 0:
        return 0, 0, 0, 0, 0, OVERFLOW
    return fee - discount, rebate, house, reward, discount, OK
