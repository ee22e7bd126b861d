"""The tick side: the clock, premium of the second, payment of the hour. O(markets)."""

from __future__ import annotations

from engine.core.liquidations import drop_silent
from engine.core.prices import fresh_price, price_round, restart_market
from engine.core.state import Books
from kernels.crc32c import crc_word
from kernels.frames import Refusal, TickKind
from kernels.funding import HOUR_NS, SECOND_NS, next_index
from kernels.funding_premium import premium_of_source
from kernels.funding_rate import add_premium, interval_rate_e12, slots_elapsed
from kernels.jit import kernel, routine
from kernels.layouts import FEED_SLOTS, SLOT_ASK, SLOT_BID, SLOT_MID
from kernels.oracle_rules import admits
from kernels.profiles import TWAP_DIFF
from kernels.types import Record, wide

SAMPLES_MAX = 1 << 20
"""Ticks closer than a second may be many; past this number an interval takes no more, so its sum is bounded."""

_OK = int(Refusal.NONE)
_CLOCK = int(Refusal.CLOCK_OUT_OF_ORDER)
_KIND = int(Refusal.UNKNOWN_KIND)
_OPEN = int(TickKind.OPEN)
_SECOND = int(TickKind.SECOND)
_RISK = int(TickKind.RISK)


@kernel
def sample_market(books: Books, m: int, prev_ns: int, now_ns: int, slot: int) -> None:
    """One second of one market: price, mark, and the premium if the price's status counts for funding.

    slot: `slot_at` of the market's interval."""
    market = books.markets[m]
    market["seconds_seen"] += 1
    live = price_round(books, m, market, now_ns, 1)
    if live == 1 and admits(books.oracles[m]["funding_on"], market["status"]) == 1:
        sample_premium(books, m, market, prev_ns, now_ns, slot)


@kernel
def sample_premium(books: Books, m: int, market: Record, prev_ns: int, now_ns: int, slot: int) -> None:
    """Add the premium of this second to the interval, if a sample is due and its source is known.

    One sample is due at the first tick at or past each multiple of `sample_s`; with 1 s, at every tick. What
    closes an interval belongs to it. A sample without its source is missing, as is one without a price.
    """
    step_ns = market["sample_s"] * SECOND_NS
    if market["sample_s"] > 1 and now_ns // step_ns == prev_ns // step_ns:
        return
    if market["seconds_valid"] >= SAMPLES_MAX:
        return
    oracle = market["oracle"]
    if market["source"] == TWAP_DIFF:
        market["premium_sum_e12"] += market["mark"] - oracle
        market["weight_valid"] += oracle
        market["seconds_valid"] += 1
        return
    base = m * FEED_SLOTS
    premium, valid = premium_of_source(
        market["source"],
        market["mark"],
        fresh_price(books, base + SLOT_MID, now_ns),
        fresh_price(books, base + SLOT_BID, now_ns),
        fresh_price(books, base + SLOT_ASK, now_ns),
        oracle,
        market["premium_limit_e12"],
    )
    if valid == 0:
        return
    total, weight = add_premium(
        market, market["premium_sum_e12"], market["weight_valid"], premium, slot, slot
    )
    market["premium_sum_e12"] = total
    market["weight_valid"] = weight
    market["seconds_valid"] += 1


@kernel
def slot_at(market: Record, prev_ns: int, now_ns: int) -> int:
    """Which sample slot of its interval, 1..n, a second from prev_ns to now_ns belongs to."""
    return slots_of(market) if ends_interval(market, prev_ns, now_ns) == 1 else slots_elapsed(market, now_ns)


@kernel
def slots_of(market: Record) -> int:
    """Samples of a whole interval."""
    return market["interval_s"] // market["sample_s"]


@kernel
def ends_interval(market: Record, prev_ns: int, now_ns: int) -> int:
    """1 if the market's funding interval ends between two ticks."""
    interval_ns = market["interval_s"] * SECOND_NS
    return 1 if now_ns // interval_ns > prev_ns // interval_ns else 0


@kernel
def pay_interval(market: Record) -> None:
    """Close the interval of one market: rate, index. Positions settle on touch.

    Nothing is paid without open interest. With a lag, what is paid is the rate that the interval before set.
    """
    before = market["rate_set_e12"]
    rate = interval_rate_e12(
        market,
        market["premium_sum_e12"],
        market["weight_valid"],
        market["seconds_valid"],
        slots_of(market),
        before,
    )
    market["rate_set_e12"] = rate
    if market["lag"] == 1:
        rate = before
    if market["open_interest"] == 0:
        rate = 0
    index, rem, ok = next_index(
        market["index_e6"], market["index_rem"], market["pay_price"], rate, market["interval_s"]
    )
    market["index_e6"] = index
    market["index_rem"] = rem
    market["rate_e12"] = rate if ok == 1 else 0
    reset_interval(market)


@kernel
def reset_interval(market: Record) -> None:
    """Start an interval without samples."""
    market["premium_sum_e12"] = 0
    market["weight_valid"] = 0
    market["seconds_valid"] = 0
    market["seconds_seen"] = 0


@kernel
def end_hour(market: Record, prev_ns: int, now_ns: int, sampled: int) -> None:
    """An hour is over: a new epoch, and if the market's interval is over too, its payment.

    sampled = 0: the clock opened past the hour. What was missed is never paid, nor the rate it would have set.
    """
    market["epoch"] += 1
    if ends_interval(market, prev_ns, now_ns) == 0:
        return
    if sampled == 1:
        pay_interval(market)
    else:
        reset_interval(market)
        market["rate_set_e12"] = 0


@kernel
def crosses_hour(books: Books, now_ns: int) -> int:
    """1 if a tick at `now_ns` ends an hour: the batch before it must be closed."""
    return 1 if now_ns // HOUR_NS > books.meta[0]["funding_hour"] else 0


@kernel
def closes_batch(books: Books, now_ns: int) -> int:
    """1 if a tick at `now_ns` is the first at or past the next multiple of the batch window, or ends an hour.

    A batch closes before such a tick, so that it lies within one funding epoch.
    """
    meta = books.meta[0]
    window = meta["batch_window_ns"]
    if window <= 0:
        return 0
    if now_ns // window > meta["now_ns"] // window:
        return 1
    return crosses_hour(books, now_ns)


@kernel
def tick_refusal(books: Books, frame: Record) -> int:
    """Why a tick is not taken, or 0. Time only moves forward, and `prev_ns` names the time the books have.

    The first tick past an hour is the one that ends it: a RISK tick waits for that.
    """
    kind, now = wide(frame["kind"]), frame["now_ns"]
    last = books.meta[0]["now_ns"]
    if kind != _OPEN and kind != _SECOND and kind != _RISK:
        return _KIND
    if now <= last or now <= 0:
        return _CLOCK
    if kind != _OPEN and (frame["prev_ns"] != last or frame["interval_ns"] != now - last):
        return _CLOCK
    if kind == _RISK and crosses_hour(books, now) == 1:
        return _CLOCK
    return _OK


@routine
def apply_tick(books: Books, frame: Record) -> int:
    """Advance the clock. A second samples every market; the first tick past an hour ends that hour.

    Each interval counts exactly once. OPEN starts or resumes the clock: what lies between was paused and is
    neither sampled nor paid, and every market waits for fresh prices. RISK only prices anew: what a second
    samples reaches back to the second before, however many RISK ticks lie between.
    """
    why = tick_refusal(books, frame)
    if why != _OK:
        return why
    meta = books.meta[0]
    now, kind = frame["now_ns"], wide(frame["kind"])
    prev = meta["second_ns"]
    ends_hour = crosses_hour(books, now)
    meta["now_ns"] = now
    meta["funding_hour"] = now // HOUR_NS
    if kind != _RISK:
        meta["second_ns"] = now
    interval_s, sample_s, slot = 0, 0, 0
    for m in range(meta["markets"]):
        market = books.markets[m]
        if market["active"] == 0:
            continue
        if kind == _SECOND:
            # Nearly all markets have the same interval, and divisions are most of what a quiet one costs.
            if market["interval_s"] != interval_s or market["sample_s"] != sample_s:
                interval_s, sample_s = market["interval_s"], market["sample_s"]
                slot = slot_at(market, prev, now)
            sample_market(books, m, prev, now, slot)
        elif kind == _RISK:
            price_round(books, m, market, now, 0)
        else:
            restart_market(books, m, now)
        if ends_hour == 1:
            end_hour(market, prev, now, 1 if kind == _SECOND else 0)
        witness = crc_word(books.witness[0], market["mark"])
        witness = crc_word(witness, market["premium_sum_e12"])
        books.witness[0] = crc_word(witness, market["index_e6"])
    drop_silent(books, now)
    return _OK
