"""Liquidation: who first, how much, and where a loss goes. Exact integers, nothing made or lost on the way.

Order of events (MONEY.md): reduce-only orders for `close_size`; then takeover by insurance, as far as it
can bear the loss; then deleveraging of the other side for what is left. Takeover and deleveraging happen at
the bankruptcy price without rounding: the position's size and cash move in the same proportion, so its
equity ends at zero and both totals stay what they were. Every amount here becomes an ordinary delta.
"""

from __future__ import annotations

from kernels.book import fee_of, within
from kernels.int128 import mul_div_ceil, mul_div_floor
from kernels.jit import kernel
from kernels.margin import liquidatable, maintenance_e6, ratio_less, valued
from kernels.narrow import divmod_floor
from kernels.types import Rows, Words

TARGET_E6 = 1_250_000
"""A partial liquidation restores equity = 1.25 x maintenance."""
FULL_BELOW_E6 = 10_000_000_000
"""A position worth less than 10,000 USDC is closed whole."""
ORDERS_MAX = 3
ORDER_NS = 100_000_000
"""So many reduce-only orders, so long after each other."""
TAKEOVER_NS = 500_000_000
"""So long after the first candidate, insurance takes over."""
UNWIND_NS = 1_000_000_000
"""An order that closes what insurance holds is placed anew so often, at the mark and size of then."""
SILENCE_NS = 10_000_000_000
"""A liquidation that risk has not spoken of for so long is dropped."""
SCORE_ONE = 1_000_000
SCORE_MAX = (1 << 31) - 1


@kernel
def ranks_before(equity: Words, maintenance: Words, a: int, b: int) -> int:
    """1 if candidate a comes before b: lower ratio, exactly; at the same ratio the lower number."""
    if ratio_less(equity[a], maintenance[a], equity[b], maintenance[b]) == 1:
        return 1
    if ratio_less(equity[b], maintenance[b], equity[a], maintenance[a]) == 1:
        return 0
    return 1 if a < b else 0


@kernel
def scored_before(scores: Words, a: int, b: int) -> int:
    """1 if a comes before b: higher score, or the same and the lower number."""
    if scores[a] != scores[b]:
        return 1 if scores[a] > scores[b] else 0
    return 1 if a < b else 0


@kernel
def heap_sort(first: Words, second: Words, by_ratio: int, order: Words, count: int) -> None:
    """Put order[:count] in rank: by the ratio first / second if `by_ratio`, else by the score in `first`.

    In place, n log n at worst (a heap with the last in rank on top).
    """
    start = count // 2
    end = count
    while end > 1:
        if start > 0:
            start -= 1
        else:
            end -= 1
            order[0], order[end] = order[end], order[0]
        root = start
        while 2 * root + 1 < end:
            child = 2 * root + 1
            if child + 1 < end and comes_before(first, second, by_ratio, order[child], order[child + 1]) == 1:
                child += 1
            if comes_before(first, second, by_ratio, order[root], order[child]) == 0:
                break
            order[root], order[child] = order[child], order[root]
            root = child


@kernel
def comes_before(first: Words, second: Words, by_ratio: int, a: int, b: int) -> int:
    """1 if a comes before b in the ranking that `heap_sort` was asked for."""
    if by_ratio == 1:
        return ranks_before(first, second, a, b)
    return scored_before(first, a, b)


@kernel
def order_candidates(equity: Words, maintenance: Words, order: Words) -> int:
    """Write the liquidatable of n units to `order`, lowest margin ratio first, ties by number. How many.

    equity, maintenance: int64[n] in 1e-6 USDC, within +-2**62; order: int64[n], scratch past the answer.
    """
    count = 0
    for unit in range(equity.shape[0]):
        if liquidatable(equity[unit], maintenance[unit]) == 1:
            order[count] = unit
            count += 1
    heap_sort(equity, maintenance, 1, order, count)
    return count


@kernel
def closing_cost(size: int, mark: int, fee_e9: int, quote_mul: int, quote_div: int) -> tuple[int, int]:
    """(fees in 1e-6 USDC of closing `size` at the mark, ok), up. fee_e9: taker and liquidation fee together."""
    _, notional, ok1 = valued(size, mark, quote_mul, quote_div)
    fee, ok2 = fee_of(notional, fee_e9)
    return fee, ok1 * ok2


@kernel
def restored(
    kept: int,
    closed: int,
    equity: int,
    other_maintenance: int,
    mark: int,
    tiers: Rows,
    top: int,
    floor_e12: int,
    fee_e9: int,
    target_e6: int,
    quote_mul: int,
    quote_div: int,
) -> int:
    """1 if closing `closed` lots at the mark and keeping `kept` leaves equity >= target x maintenance."""
    _, notional, ok1 = valued(kept, mark, quote_mul, quote_div)
    cost, ok2 = closing_cost(closed, mark, fee_e9, quote_mul, quote_div)
    need = maintenance_e6(tiers, top, notional, floor_e12) + other_maintenance
    target, ok3 = mul_div_ceil(need, target_e6, 1_000_000)
    if ok1 == 0 or ok2 == 0 or ok3 == 0:
        return 0
    return 1 if equity - cost >= target else 0


@kernel
def close_size(
    size: int,
    equity: int,
    maintenance: int,
    mark: int,
    tiers: Rows,
    top: int,
    floor_e12: int,
    fee_e9: int,
    target_e6: int,
    full_below_e6: int,
    quote_mul: int,
    quote_div: int,
) -> tuple[int, int]:
    """(lots to close, 0..|size|, ok) of a position in a unit with `equity` and `maintenance`, both within 2**61.

    Nothing while equity covers maintenance. All of it if it is worth less than `full_below_e6` at the mark,
    if equity is under half the maintenance, or if no part restores. Else the smallest part that leaves
    equity, less the fees of closing, at `target_e6` (1e-6) of the maintenance of what is kept: one lot less
    does not. The maintenance of a unit is this position's and, for a cross account, that of the others,
    which stays. ok = 0: a number is past its bounds, or the mark off scale.
    """
    _, notional, ok = valued(size, mark, quote_mul, quote_div)
    if ok == 0 or within(size) + within(equity) + within(maintenance) < 3:
        return 0, 0
    if size == 0 or liquidatable(equity, maintenance) == 0:
        return 0, 1
    whole = abs(size)
    others = maintenance - maintenance_e6(tiers, top, notional, floor_e12)
    if others < 0:
        return 0, 0
    if notional < full_below_e6 or 2 * equity < maintenance:
        return whole, 1
    low, high = 0, whole
    while high - low > 1:
        part = (low + high) // 2
        if (
            restored(
                whole - part,
                part,
                equity,
                others,
                mark,
                tiers,
                top,
                floor_e12,
                fee_e9,
                target_e6,
                quote_mul,
                quote_div,
            )
            == 1
        ):
            high = part
        else:
            low = part
    return high, 1


@kernel
def liquidation_fee(quote_e6: int, fee_e9: int, equity: int) -> tuple[int, int]:
    """(fee of a liquidation fill in 1e-6 USDC, ok): up, but never more than the equity that is left.

    It goes from the position's cash to insurance, so T falls by what insurance gains. ok = 0: the quote is
    past +-2**61. fee_e9: 0 .. 1e9.
    """
    if within(quote_e6) == 0:
        return 0, 0
    fee, ok = fee_of(quote_e6, fee_e9)
    if ok == 0:
        return 0, 0
    return min(fee, max(0, equity)), 1


@kernel
def cash_share(cash: int, part: int, whole: int) -> tuple[int, int]:
    """(cash that goes with `part` of `whole` lots, ok), down. 0 <= part <= whole, whole > 0."""
    return mul_div_floor(cash, part, whole)


@kernel
def backing(
    size: int,
    cash: int,
    part: int,
    mark: int,
    reserve_e12: int,
    quote_mul: int,
    quote_div: int,
) -> tuple[int, int, int]:
    """(dcash, transfer, ok): what insurance receives with `part` lots, and what it must put behind them.

    transfer lifts the equity of what it takes to `reserve_e12` of its notional, never below nothing.
    """
    whole = abs(size)
    dcash, ok1 = cash_share(cash, part, whole)
    worth, notional, ok2 = valued(part if size > 0 else -part, mark, quote_mul, quote_div)
    keep, ok3 = mul_div_ceil(notional, reserve_e12, 1_000_000_000_000)
    if ok1 == 0 or ok2 == 0 or ok3 == 0:
        return 0, 0, 0
    return dcash, max(0, keep - (dcash + worth)), 1


@kernel
def takeover(
    size: int,
    cash: int,
    mark: int,
    available_e6: int,
    reserve_e12: int,
    quote_mul: int,
    quote_div: int,
) -> tuple[int, int, int, int]:
    """(dsize, dcash, transfer, ok): what insurance takes of a bankrupt position, and pays into it.

    cash: settled, within 2**61. The position changes by (-dsize, -dcash), insurance's by (+dsize,
    +dcash + transfer), transfer being from its free balance, of which it may use `available_e6`: it never
    goes negative. It takes the largest part it can back at `reserve_e12` of notional (0..1e12); the whole,
    if it can; nothing at worst. What is left is to be deleveraged. reserve_e12: margin that insurance keeps
    behind what it holds, so that the next tick does not end it. ok = 0: past bounds, nothing is taken.
    """
    if within(size) == 0 or within(cash) == 0 or reserve_e12 < 0 or reserve_e12 > 1_000_000_000_000:
        return 0, 0, 0, 0
    if size == 0:
        return 0, 0, 0, 1
    whole = abs(size)
    available = max(0, available_e6)
    dcash, transfer, ok = backing(size, cash, whole, mark, reserve_e12, quote_mul, quote_div)
    if ok == 0:
        return 0, 0, 0, 0
    low, high = whole, whole + 1
    if transfer > available:
        low, high = 0, whole
    while high - low > 1:
        part = (low + high) // 2
        _, transfer, ok = backing(size, cash, part, mark, reserve_e12, quote_mul, quote_div)
        if ok == 1 and transfer <= available:
            low = part
        else:
            high = part
    if low == 0:
        return 0, 0, 0, 1
    dcash, transfer, _ = backing(size, cash, low, mark, reserve_e12, quote_mul, quote_div)
    return (low if size > 0 else -low), dcash, transfer, 1


@kernel
def clamped_share(numerator: int, divisor: int) -> int:
    """numerator / divisor in 1e-6, down, within +-SCORE_MAX. divisor > 0."""
    share, _, ok = divmod_floor(numerator, SCORE_ONE, 0, divisor)
    if ok == 0:
        return SCORE_MAX if numerator > 0 else -SCORE_MAX
    return max(-SCORE_MAX, min(SCORE_MAX, share))


@kernel
def deleverage_score(unrealised_e6: int, cost_e6: int, notional_e6: int, equity: int) -> int:
    """Rank of a position for deleveraging, the highest first: profit share x leverage.

    Profit share = unrealised / |cost|, leverage = notional / equity, each in 1e-6, down, bounded. A loser's
    loss is divided by its leverage instead, so every winner comes before it. Last of all whoever has no
    equity: it is about to be liquidated itself. Arguments within +-2**61.
    """
    if equity <= 0 or notional_e6 <= 0:
        return -SCORE_MAX * SCORE_MAX
    profit = clamped_share(unrealised_e6, max(1, abs(cost_e6)))
    leverage = max(1, clamped_share(notional_e6, equity))
    if profit >= 0:
        return profit * leverage
    return profit * SCORE_ONE // leverage


@kernel
def order_deleveraging(scores: Words, sizes: Words, side: int, order: Words) -> int:
    """Write those of n positions that stand on `side` (1: long, -1: short) to `order`, highest score first.

    scores, sizes: int64[n]; ties by number; order: int64[n]. How many.
    """
    count = 0
    for k in range(sizes.shape[0]):
        if (sizes[k] > 0 and side > 0) or (sizes[k] < 0 and side < 0):
            order[count] = k
            count += 1
    heap_sort(scores, scores, 0, order, count)
    return count


@kernel
def deleverage(
    size: int, cash: int, sizes: Words, order: Words, count: int, dsizes: Words, dcashes: Words
) -> tuple[int, int, int]:
    """(lots left, rows used, ok): spread a bankrupt position over the other side at the bankruptcy price.

    size, cash: what insurance did not take, within 2**61; sizes: int64[n] of the positions, of which
    order[:count] are met in turn, each up to its own size. Row k changes position order[k] by
    (+dsizes[k], +dcashes[k]) and the bankrupt one by the opposite. Cash goes in proportion, by cumulative
    floors, so all of it is gone when all lots are. No fees. ok = 0, and rows used 0: past bounds, or a
    position in `order` is not on the other side.
    """
    if within(size) == 0 or within(cash) == 0 or size == 0:
        return 0, 0, 1 if size == 0 and within(cash) == 1 else 0
    whole = abs(size)
    done, given, used = 0, 0, 0
    while used < count and done < whole:
        other = sizes[order[used]]
        if within(other) == 0 or (size > 0) == (other > 0) or other == 0:
            return whole, 0, 0
        part = min(abs(other), whole - done)
        done += part
        upto, _ = cash_share(cash, done, whole)
        dsizes[used] = part if size > 0 else -part
        dcashes[used] = upto - given
        given = upto
        used += 1
    return whole - done, used, 1
