"""The venues' rules in Python integers and fractions, as the published rules state them. None: refused."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

I64_MAX = 2**63 - 1
E6 = 10**6


def fits(*values: int) -> bool:
    """True if every value is an int64 that can be negated."""
    return all(-I64_MAX <= value <= I64_MAX for value in values)


def sign(x: int) -> int:
    return (x > 0) - (x < 0)


def power(exponent: int) -> Fraction:
    return Fraction(10) ** exponent


class Held(NamedTuple):
    """One position of a dYdX account."""

    size: int
    price: int
    exponent: int
    initial_ppm: int
    maintenance_ppm: int

    def quote(self, size: int | None = None) -> int:
        base = self.size if size is None else size
        return math.trunc(base * self.price * power(self.exponent))

    def maintenance(self, size: int | None = None) -> int:
        initial = math.ceil(Fraction(abs(self.quote(size)) * self.initial_ppm, E6))
        return math.ceil(Fraction(initial * self.maintenance_ppm, E6))


def scaled_initial_ppm(initial_ppm: int, oi: int, lower: int, upper: int) -> int:
    if upper == 0 or oi <= lower:
        return initial_ppm
    if oi >= upper:
        return E6
    return initial_ppm + math.floor(Fraction((E6 - initial_ppm) * (oi - lower), upper - lower))


def initial_margin(quote: int, initial_ppm: int, oi: int, lower: int, upper: int) -> int:
    return math.ceil(Fraction(quote * scaled_initial_ppm(initial_ppm, oi, lower, upper), E6))


def totals(usdc: int, held: list[Held]) -> tuple[int, int]:
    return usdc + sum(p.quote() for p in held), sum(p.maintenance() for p in held)


def bankruptcy_quote(usdc: int, held: list[Held], k: int, delta: int) -> int | None:
    position = held[k]
    if delta == 0 or sign(delta) != -sign(position.size) or abs(delta) > abs(position.size):
        return None
    net, need = totals(usdc, held)
    if need == 0:
        return None
    left = position.size + delta
    worth = position.quote(left) - position.quote()
    freed = abs(position.maintenance(left) - position.maintenance())
    return -worth - math.floor(Fraction(net * freed, need))


def fillable_price(usdc: int, held: list[Held], k: int, adjustment: int, spread: int) -> Fraction | None:
    position = held[k]
    net, need = totals(usdc, held)
    if position.size == 0 or need == 0:
        return None
    rating = min(max((1 - Fraction(net, need)) * Fraction(adjustment, E6), Fraction(0)), Fraction(1))
    worse = rating * position.maintenance() * Fraction(spread, E6)
    return (position.quote() - worse) / position.size


def insurance_delta(
    usdc: int, held: list[Held], k: int, buys: bool, base: int, quote: int, fee_ppm: int
) -> int | None:
    bankrupt = bankruptcy_quote(usdc, held, k, base if buys else -base)
    if bankrupt is None:
        return None
    kept = (-quote if buys else quote) - bankrupt
    return kept if kept <= 0 else min(kept, math.floor(Fraction(quote * fee_ppm, E6)))


def open_interest_delta(size_a: int, delta_a: int, size_b: int, delta_b: int) -> int | None:
    if delta_a + delta_b != 0:
        return None
    before = max(size_a, 0) + max(size_b, 0)
    return max(size_a + delta_a, 0) + max(size_b + delta_b, 0) - before


def position_update(
    base: int, quote: int, entry: int, even: int, dbase: int, dquote: int
) -> tuple[int, int, int, int, int]:
    new = base + dbase, quote + dquote
    if base == 0 or sign(base) == sign(dbase):
        return *new, entry + dquote, even + dquote, 0
    if abs(dbase) <= abs(base):
        share = Fraction(abs(dbase), abs(base))
        left = entry - math.trunc(entry * share)
        return *new, left, even - math.trunc(even * share), entry - left + dquote
    opened = dquote - math.trunc(Fraction(dquote * abs(base), abs(dbase)))
    return *new, opened, opened, entry + dquote - opened


def drift_requirement(base: int, price: int, ratio: int, imf: int) -> int:
    notional = abs(base) * price // 10**9
    in_force = max(ratio, ratio - ratio // 5 + math.isqrt(abs(base) * 10 + 1) * imf // 10**7)
    return notional * in_force // 10**4


def base_to_cover(
    shortage: int, ratio: int, fee: int, insurance: int, oracle: int, quote_oracle: int
) -> int | None:
    price = oracle * quote_oracle // E6
    freed = price * (ratio * 100 - fee) // E6 - oracle * insurance // E6
    return shortage * 10**9 // freed if ratio * 100 > fee and freed > 0 else None


def drift_insurance_fee(
    shortage: int, base: int, ratio: int, fee: int, oracle: int, quote_oracle: int, fee_max: int
) -> int | None:
    if 0 in (oracle, quote_oracle, base) or ratio * 100 <= fee:
        return 0
    price = oracle * quote_oracle // E6
    if price == 0:
        return None
    room = max(0, ratio * 100 - fee - shortage * 10**9 // base * E6 // price)
    return min(fee_max, room * 19 // 20)


def socialised_loss_rate(loss: int, longs: int, shorts: int) -> int | None:
    total = abs(longs) + abs(shorts)
    return math.ceil(Fraction(abs(loss) * 10**9, total)) * 1000 if total else None


def trade_fees(
    notional: int, taker: int, maker: int, adjustment: int, referred: int, discount: int, reward: int
) -> tuple[int, int, int, int, int]:
    fee = math.ceil(Fraction(notional * taker, 10**5))
    rebate = notional * maker // 10**5
    fee += sign(adjustment) * (fee * abs(adjustment) // 100)
    rebate += sign(adjustment) * (rebate * abs(adjustment) // 100)
    off, reward_quote = (fee * discount // 100, fee * reward // 100) if referred else (0, 0)
    return fee - off, rebate, fee - off - reward_quote - rebate, reward_quote, off


class Lots(NamedTuple):
    """A Mango position."""

    lots: int
    average: Fraction
    running: int


def mango_trade(start: Lots, dlots: int, dquote: int) -> tuple[Lots, Fraction]:
    new = start.lots + dlots
    kept_pnl = dquote + dlots * start.average
    if new == 0:
        return Lots(0, Fraction(0), 0), kept_pnl
    if sign(new) != sign(start.lots):
        average = abs(Fraction(dquote, dlots))
        return Lots(new, average, math.trunc(-new * average)), start.lots * (average - start.average)
    running = start.running + dquote
    if abs(new) <= abs(start.lots):
        return Lots(new, start.average, running), kept_pnl
    average = (abs(start.lots) * start.average + abs(dquote)) / abs(new)
    return Lots(new, average, running), Fraction(0)
