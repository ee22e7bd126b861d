"""Margin: what a position is worth and what it must keep, in exact integers.

Equity rounds down, requirements round up, the liquidation test is strict (MONEY.md). `index_e6` is always
the funding index with the open hour's accrual in it, so that equity counts funding not yet settled.

A tier's rate holds for the part of a position up to the tier's `max_notional_e6` (0: without end); what
lies beyond is held to the next tier below, and tier 0 takes the rest. The requirement is therefore a
continuous, convex function of size and price: a rising price never liquidates a long, and there is one
liquidation price. With one rate for the whole, a long of 99,999 USDC at 50x would need 2.5 times the
margin one tick higher.
"""

from __future__ import annotations

import numpy as np

from kernels.book import within
from kernels.columns import inverse_of
from kernels.int128 import divmod128, mul_add128, mul_div_ceil
from kernels.jit import kernel
from kernels.layouts import LIMIT, MAX_TIERS
from kernels.narrow import divmod_by, divmod_floor, magic_of, rate_magic, share_by, share_up
from kernels.types import Record, Rows, Words, wide

RATE_ONE = 1_000_000_000_000
RATIO_ONE_E6 = 1_000_000
RATIO_MAX_E6 = 1 << 62
"""The ratio of what needs no margin, and the bound of a rounded ratio either way."""
LEVERAGE_MAX = 1000
PRICE_WIDE = 9_000_000_000_000
"""Prices up to 1,000 times the largest on-scale one are valued; a liquidation price may lie there."""

RISK = np.dtype(
    [
        ("mark", "<i8"),
        ("index_e6", "<i8"),  # with the open hour's accrual
        ("floor_e12", "<i8"),  # least maintenance rate, see `floor_rate_e12`
        ("floor_magic", "<i8"),
        ("leverage", "<i8"),  # of a position that set none
        ("lot_e6", "<i8"),  # mark * quote_mul: a lot is worth lot_e6 / quote_div
        ("scale", "<i8"),
        ("scale_magic", "<i8"),
        ("scale_shift", "<i8"),
        ("quote_div", "<i8"),
        ("quote_magic", "<i8"),
        ("quote_shift", "<i8"),
        ("quote_mul", "<i8"),
        ("scale_inverse", "<f8"),  # for `columns.lane`, which only guesses by them
        ("quote_inverse", "<f8"),
    ]
)
"""What a sweep reads of a market. Written by `put_risk` only, which keeps what is derived in step."""


@kernel
def put_risk(
    row: Record,
    mark: int,
    index_e6: int,
    floor_e12: int,
    leverage: int,
    scale: int,
    quote_mul: int,
    quote_div: int,
) -> None:
    """Fill a RISK row. A mark outside 0..PRICE_WIDE becomes -1: such a market cannot be valued.

    floor_e12: 0 .. 1e12; what lies outside is brought there.
    """
    floor_e12 = min(max(floor_e12, 0), RATE_ONE)
    if mark < 0 or mark > PRICE_WIDE:
        mark = -1
    row["mark"] = mark
    row["lot_e6"] = mark * quote_mul
    row["index_e6"] = index_e6
    row["floor_e12"] = floor_e12
    row["floor_magic"] = rate_magic(floor_e12)
    row["leverage"] = leverage
    row["scale"] = scale
    row["scale_magic"], row["scale_shift"] = magic_of(scale)
    row["quote_mul"] = quote_mul
    row["quote_div"] = quote_div
    row["quote_magic"], row["quote_shift"] = magic_of(quote_div)
    row["scale_inverse"], row["quote_inverse"] = inverse_of(scale), inverse_of(quote_div)


@kernel
def tier_of(tiers: Rows, leverage: int) -> int:
    """First margin tier whose leverage limit admits `leverage`, or -1. Tiers are in rising order."""
    for k in range(MAX_TIERS):
        if tiers[k]["margin_set"] == 0:
            return -1
        if leverage <= tiers[k]["max_leverage"]:
            return k
    return -1


@kernel
def initial_rate_e12(tiers: Rows, leverage: int) -> int:
    """Initial margin rate at `leverage` > 0: at least 1/leverage (rounded up), at least its tier's."""
    own = (RATE_ONE + leverage - 1) // leverage
    k = tier_of(tiers, leverage)
    if k < 0:
        return RATE_ONE
    return max(own, tiers[k]["initial_e12"])


@kernel
def held_tier(tiers: Rows, leverage: int) -> int:
    """Tier that maintenance is taken from: `tier_of`, else the last in force, -1 if none is.

    A table that no longer admits a leverage stops new positions; it does not liquidate old ones.
    """
    last = -1
    for k in range(MAX_TIERS):
        if tiers[k]["margin_set"] == 0:
            return last
        if leverage <= tiers[k]["max_leverage"]:
            return k
        last = k
    return last


@kernel
def index_tiers(tiers: Rows, tier_at: Words) -> None:
    """Write for each leverage: `held_tier`, its maintenance rate, that rate's magic, its limit (or LIMIT).

    tier_at: int64[LEVERAGE_MAX + 1, 4]: what a sweep reads of the tiers, side by side.
    """
    for leverage in range(tier_at.shape[0]):
        top = held_tier(tiers, leverage)
        rate, limit = RATE_ONE, LIMIT
        if top >= 0:
            rate = tiers[top]["maintenance_e12"]
            if top > 0 and tiers[top]["max_notional_e6"] > 0:
                limit = min(LIMIT, tiers[top]["max_notional_e6"])
        tier_at[leverage, 0] = top
        tier_at[leverage, 1] = rate
        tier_at[leverage, 2] = rate_magic(rate)
        tier_at[leverage, 3] = limit


@kernel
def floor_rate_e12(taker_e9: int, liquidation_e9: int, conf: int, mark: int, move_e12: int) -> int:
    """Least maintenance rate: taker fee + liquidation fee + 2 conf / mark + `move_e12`, up, at most 1.

    move_e12: the move seen in 100 ms at p99.99. A price without meaning (mark <= 0, or a confidence wider
    than the price) asks for everything; a negative part counts as 0.
    """
    if mark <= 0 or conf > mark:
        return RATE_ONE
    width, ok = mul_div_ceil(max(conf, 0), 2 * RATE_ONE, mark)
    fees = (min(max(taker_e9, 0), 1_000_000_000) + min(max(liquidation_e9, 0), 1_000_000_000)) * 1000
    move = min(max(move_e12, 0), RATE_ONE)
    return min(RATE_ONE, fees + width + move) if ok == 1 else RATE_ONE


@kernel
def tier_rate_e12(tiers: Rows, k: int, initial: int) -> int:
    """Initial (`initial` = 1) or maintenance rate of tier k."""
    return tiers[k]["initial_e12"] if initial == 1 else tiers[k]["maintenance_e12"]


@kernel
def tiered_e6(tiers: Rows, top: int, notional_e6: int, least_e12: int, initial: int) -> int:
    """Margin for 0 <= notional_e6 <= 2**61 from tier `top` down, no rate under `least_e12`; one rounding, up.

    top: -1 asks for all of it. Rates never fall from slice to slice, whatever the table says.
    """
    if top < 0:
        return notional_e6
    rate = min(RATE_ONE, max(least_e12, tier_rate_e12(tiers, top, initial)))
    limit = tiers[top]["max_notional_e6"]
    if top == 0 or limit == 0 or notional_e6 <= limit:
        return share_up(notional_e6, rate)
    hi, lo = mul_add128(0, 0, limit, rate)
    reached = limit
    k = top - 1
    while reached < notional_e6:
        rate = min(RATE_ONE, max(rate, tier_rate_e12(tiers, k, initial)))
        limit = tiers[k]["max_notional_e6"]
        upto = notional_e6
        if k > 0 and limit > 0:
            upto = min(notional_e6, max(limit, reached))
        hi, lo = mul_add128(hi, lo, upto - reached, rate)
        reached = upto
        k -= 1
    need, rest, _ = divmod128(hi, lo, RATE_ONE)
    return need + 1 if rest > 0 else need


@kernel
def maintenance_e6(tiers: Rows, top: int, notional_e6: int, floor_e12: int) -> int:
    """Maintenance margin in 1e-6 USDC, up. top: `held_tier`; notional_e6: 0 .. 2**61, itself rounded up."""
    return tiered_e6(tiers, top, notional_e6, floor_e12, 0)


@kernel
def initial_e6(tiers: Rows, leverage: int, notional_e6: int, floor_e12: int) -> int:
    """Initial margin in 1e-6 USDC at `leverage` > 0, up: 1/leverage, tiers and `floor_e12` are all met.

    All of it where no tier admits the leverage.
    """
    own = (RATE_ONE + leverage - 1) // leverage
    return tiered_e6(tiers, tier_of(tiers, leverage), notional_e6, max(own, floor_e12), 1)


@kernel
def index_initial(tiers: Rows, initial_at: Words) -> None:
    """Write for each leverage what booking reads of the tiers, side by side: the initial rate of the first
    slice, that rate's magic, the largest position (LIMIT: any), `tier_of`.

    initial_at: int64[LEVERAGE_MAX + 1, 4]. Derived: taken anew whenever `tiers` change.
    """
    for leverage in range(initial_at.shape[0]):
        top = tier_of(tiers, max(leverage, 1))
        rate = initial_rate_e12(tiers, max(leverage, 1))
        largest = LIMIT
        if top >= 0 and tiers[top]["max_notional_e6"] > 0:
            largest = min(LIMIT, tiers[top]["max_notional_e6"])
        initial_at[leverage, 0] = rate
        initial_at[leverage, 1] = rate_magic(rate)
        initial_at[leverage, 2] = largest
        initial_at[leverage, 3] = top


@kernel
def too_large(initial_at: Words, leverage: int, notional_e6: int) -> int:
    """1 if a position is larger than the tier of its leverage admits. It is held to more margin, not undone."""
    return 1 if notional_e6 > initial_at[min(max(leverage, 1), LEVERAGE_MAX), 2] else 0


@kernel
def initial_by(tiers: Rows, initial_at: Words, leverage: int, notional_e6: int) -> int:
    """`initial_e6` without a floor, by `index_initial`: one comparison and one share within the first slice.

    notional_e6: 0 .. 2**61 - 1; leverage: what lies outside 1..LEVERAGE_MAX is brought there.
    """
    row = initial_at[min(max(leverage, 1), LEVERAGE_MAX)]
    if notional_e6 <= row[2]:
        return share_by(notional_e6, row[0], row[1])
    return tiered_e6(tiers, row[3], notional_e6, row[0], 1)


@kernel
def top_up(equity_e6: int, need_e6: int, reach_e6: int) -> int:
    """What lifts equity to a requirement, as far as `reach_e6` goes; never negative. All within 2**62."""
    return max(0, min(need_e6 - equity_e6, reach_e6))


@kernel
def notional_of(worth: int, rest: int) -> int:
    """|worth|, up, of a worth rounded down and what that left. The larger of both signs: a branch on the
    side of a position cannot be foretold."""
    return max(-worth, worth + min(rest, 1))


@kernel
def valued(size: int, price: int, quote_mul: int, quote_div: int) -> tuple[int, int, int]:
    """(worth, notional, ok) in 1e-6 USDC: size * price rounded down, and its absolute value rounded up.

    ok = 0: the price is not in 0..PRICE_WIDE, or the worth past +-LIMIT. quote_mul: 1 .. 1e6.
    """
    if price < 0 or price > PRICE_WIDE:
        return 0, 0, 0
    worth, rest, ok = divmod_floor(size, price * quote_mul, 0, quote_div)
    if ok == 0 or within(worth) == 0:
        return 0, 0, 0
    return worth, notional_of(worth, rest), 1


@kernel
def settled_cash(size: int, cash: int, idx: int, rem: int, index_e6: int, scale: int) -> tuple[int, int]:
    """(cash after funding up to `index_e6`, ok): what `funding.settle` would leave. Down, rest in rem.

    ok = 0: an argument lies past +-LIMIT, or what is paid does.
    """
    if within(size) + within(cash) + within(idx) + within(index_e6) < 4:
        return 0, 0
    if idx == index_e6 or size == 0:
        return cash, 1
    pay, _, ok = divmod_floor(-size, index_e6 - idx, rem, scale)
    if ok == 0 or within(pay) == 0:
        return 0, 0
    return cash + pay, 1


@kernel
def equity_e6(
    size: int,
    cash: int,
    idx: int,
    rem: int,
    index_e6: int,
    scale: int,
    price: int,
    quote_mul: int,
    quote_div: int,
) -> tuple[int, int]:
    """(equity of a position in 1e-6 USDC, ok): settled cash + worth at `price`, each rounded down."""
    cash, ok1 = settled_cash(size, cash, idx, rem, index_e6, scale)
    worth, _, ok2 = valued(size, price, quote_mul, quote_div)
    if ok1 == 0 or ok2 == 0:
        return 0, 0
    return cash + worth, 1


@kernel
def unrealised_e6(size: int, cost_e6: int, price: int, quote_mul: int, quote_div: int) -> tuple[int, int]:
    """(unrealised PnL in 1e-6 USDC, ok): worth rounded down, less the signed quote the open size cost."""
    worth, _, ok = valued(size, price, quote_mul, quote_div)
    if ok == 0 or within(cost_e6) == 0:
        return 0, 0
    return worth - cost_e6, 1


@kernel
def liquidatable(equity: int, maintenance: int) -> int:
    """1 if something needs margin and equity is less than it. Exact and strict."""
    return 1 if maintenance > 0 and equity < maintenance else 0


@kernel
def ratio_less(equity_a: int, maintenance_a: int, equity_b: int, maintenance_b: int) -> int:
    """1 if equity_a / maintenance_a < equity_b / maintenance_b, exactly. Maintenance > 0, all within 2**62."""
    hi, lo = mul_add128(0, 0, equity_a, maintenance_b)
    hi, lo = mul_add128(hi, lo, -equity_b, maintenance_a)
    return 1 if hi < 0 else 0


@kernel
def ratio_e6(equity: int, maintenance: int) -> int:
    """equity / maintenance in 1e-6, down, within +-RATIO_MAX_E6, which is also that of no requirement.

    For people and for telling near from far. It is under 1e6 exactly where the account is liquidatable.
    """
    if maintenance <= 0:
        return RATIO_MAX_E6
    ratio, _, ok = divmod_floor(equity, RATIO_ONE_E6, 0, maintenance)
    if ok == 0:
        return RATIO_MAX_E6 if equity > 0 else -RATIO_MAX_E6
    return max(-RATIO_MAX_E6, min(RATIO_MAX_E6, ratio))


@kernel
def bare(value: int) -> int:
    """value, or its complement if it is negative: below 2**61 exactly from -2**61 to 2**61 - 1."""
    return value ^ (value >> 63)


@kernel
def position_margin(position: Record, risk: Record, tiers: Rows, tier_at: Words) -> tuple[int, int, int, int]:
    """(equity, maintenance, notional, ok) of a POSITION at its market's RISK row. Without size: its cash."""
    size = position["size"]
    if size == 0:
        return position["cash"], 0, 0, within(position["cash"])
    cash, idx, index_e6 = position["cash"], position["idx"], risk["index_e6"]
    pay, _, ok1 = divmod_by(
        -size, index_e6 - idx, position["rem"], risk["scale"], risk["scale_magic"], risk["scale_shift"]
    )
    worth, rest, ok2 = divmod_by(
        size, risk["lot_e6"], 0, risk["quote_div"], risk["quote_magic"], risk["quote_shift"]
    )
    # One comparison for six bounds: the bits of a number, or of its complement if it is negative.
    bits = bare(size) | bare(cash) | bare(idx) | bare(index_e6) | bare(pay) | bare(worth)
    if ok1 + ok2 < 2 or bits >= LIMIT or risk["mark"] < 0:
        return 0, 0, 0, 0
    notional = notional_of(worth, rest)
    leverage = wide(position["leverage"])
    if leverage == 0:
        leverage = risk["leverage"]
    tier = tier_at[min(max(leverage, 1), LEVERAGE_MAX)]
    floor_e12 = risk["floor_e12"]
    if notional <= tier[3]:
        need = share_by(notional, max(tier[1], floor_e12), max(tier[2], risk["floor_magic"]))
    else:
        need = maintenance_e6(tiers, tier[0], notional, floor_e12)
    return cash + pay + worth, need, notional, 1
