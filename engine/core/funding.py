"""The tick side: observations, consensus, premium of the second, payment of the hour. O(markets)."""

from __future__ import annotations

from engine.core.booking import known_market
from engine.core.outputs import set_market_state
from engine.core.state import Books
from kernels.crc32c import crc_word
from kernels.frames import ObservationKind, Refusal, TickKind
from kernels.funding import (
    HOUR_NS,
    MARK_BAND_PPM,
    SECOND_NS,
    next_basis,
    next_index,
)
from kernels.funding_premium import premium_of_source
from kernels.funding_rate import add_premium, interval_rate_e12, slots_elapsed
from kernels.jit import kernel
from kernels.layouts import (
    FEED_SLOTS,
    MARKET_REDUCE_ONLY,
    MAX_PROVIDERS,
    PRICE_MAX,
    PRICE_MIN,
    SLOT_ASK,
    SLOT_BID,
    SLOT_MID,
    STATUS_HELD,
    STATUS_NONE,
)
from kernels.oracle import SKEW_NS, consensus, median3, rescale
from kernels.profiles import ON_ORACLE, TWAP_DIFF
from kernels.types import Record, wide

SAMPLES_MAX = 1 << 20
"""Ticks closer than a second may be many; past this number an interval takes no more, so its sum is bounded."""

_OK = int(Refusal.NONE)
_UNKNOWN_MARKET = int(Refusal.UNKNOWN_MARKET)
_UNKNOWN_FEED = int(Refusal.UNKNOWN_FEED)
_INVALID = int(Refusal.OBSERVATION_INVALID)
_OLD = int(Refusal.OBSERVATION_OLD)
_CLOCK = int(Refusal.CLOCK_OUT_OF_ORDER)
_KIND = int(Refusal.UNKNOWN_KIND)
_ORACLE = int(ObservationKind.ORACLE)
_MID = int(ObservationKind.MID)
_BID = int(ObservationKind.IMPACT_BID)
_ASK = int(ObservationKind.IMPACT_ASK)
_OPEN = int(TickKind.OPEN)
_SECOND = int(TickKind.SECOND)


@kernel
def feed_slot(books: Books, frame: Record) -> int:
    """Which observation slot of its market the frame fills, or -1 if no such feed is registered."""
    kind = wide(frame["kind"])
    base = wide(frame["market"]) * FEED_SLOTS
    if kind == _ORACLE:
        k = wide(frame["feed"])
        if k < 0 or k >= MAX_PROVIDERS or books.feeds[base + k]["weight"] <= 0:
            return -1
        return base + k
    if kind == _MID:
        return base + SLOT_MID
    if kind == _BID:
        return base + SLOT_BID
    if kind == _ASK:
        return base + SLOT_ASK
    return -1


@kernel
def apply_observation(books: Books, frame: Record) -> int:
    """Keep the newest observation of a feed, in its market's price units (nearest, ties to even)."""
    m = wide(frame["market"])
    if known_market(books, m) == 0:
        return _UNKNOWN_MARKET
    slot = feed_slot(books, frame)
    if slot < 0:
        return _UNKNOWN_FEED
    market = books.markets[m]
    shift = wide(frame["expo"]) + market["price_exp"] - market["lot_exp"]
    price, ok1 = rescale(frame["price"], shift)
    conf, ok2 = rescale(frame["conf"], shift)
    if ok1 == 0 or ok2 == 0 or price < PRICE_MIN or price > PRICE_MAX or conf < 0 or frame["publish_ns"] <= 0:
        return _INVALID
    feed = books.feeds[slot]
    if frame["publish_ns"] < feed["publish_ns"]:
        return _OLD
    feed["publish_ns"] = frame["publish_ns"]
    feed["price"] = price
    feed["conf"] = conf
    feed["slot"] = frame["slot"]
    return _OK


@kernel
def fresh_price(books: Books, slot: int, now_ns: int) -> int:
    """Price of a book observation that is not from the future nor too old, or 0."""
    feed = books.feeds[slot]
    age = now_ns - feed["publish_ns"]
    if feed["publish_ns"] <= 0 or age < -SKEW_NS or age > books.meta[0]["observation_age_ns"]:
        return 0
    return feed["price"]


@kernel
def mark_price(books: Books, m: int, market: Record, now_ns: int) -> int:
    """Mark = median(index, index + 150 s average basis, impact mid) within +-50 bps; without a book: index.

    Advances the basis average by one second.
    """
    base = m * FEED_SLOTS
    oracle = market["oracle"]
    mid = fresh_price(books, base + SLOT_MID, now_ns)
    bid = fresh_price(books, base + SLOT_BID, now_ns)
    ask = fresh_price(books, base + SLOT_ASK, now_ns)
    if mid == 0:
        market["basis_known"] = 0
        market["basis_e6"] = 0
        return oracle
    sample = (mid - oracle) * 1_000_000
    market["basis_e6"] = next_basis(market["basis_e6"], sample) if market["basis_known"] == 1 else sample
    market["basis_known"] = 1
    if bid == 0 or ask == 0:
        return oracle
    mark = median3(oracle, oracle + market["basis_e6"] // 1_000_000, (bid + ask) // 2)
    band = oracle * MARK_BAND_PPM // 1_000_000
    return max(oracle - band, min(oracle + band, mark))


@kernel
def sample_market(books: Books, m: int, prev_ns: int, now_ns: int) -> None:
    """One second of one market: consensus, mark, premium. Without a price the last good one is HELD."""
    market = books.markets[m]
    meta = books.meta[0]
    status, price, conf = consensus(books.feeds, m, now_ns, meta["observation_age_ns"], books.order)
    market["seconds_seen"] += 1
    if status == STATUS_NONE:
        if market["oracle"] == 0:
            return
        if market["status"] != STATUS_HELD:
            market["status"] = STATUS_HELD
            market["held_since_ns"] = now_ns
        if now_ns - market["held_since_ns"] > meta["hold_ns"]:
            set_market_state(books, m, MARKET_REDUCE_ONLY, 1, 0)
        return
    market["status"] = status
    market["oracle"] = price
    market["conf"] = conf
    market["held_since_ns"] = 0
    mark = mark_price(books, m, market, now_ns)
    market["mark"] = mark
    market["pay_price"] = price if market["pay_on"] == ON_ORACLE else mark
    set_market_state(books, m, MARKET_REDUCE_ONLY, 0, 0)
    sample_premium(books, m, market, prev_ns, now_ns)


@kernel
def sample_premium(books: Books, m: int, market: Record, prev_ns: int, now_ns: int) -> None:
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
    slot = slots_of(market) if ends_interval(market, prev_ns, now_ns) == 1 else slots_elapsed(market, now_ns)
    total, weight = add_premium(
        market, market["premium_sum_e12"], market["weight_valid"], premium, slot, slot
    )
    market["premium_sum_e12"] = total
    market["weight_valid"] = weight
    market["seconds_valid"] += 1


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
    """Why a tick is not taken, or 0. Time only moves forward, and `prev_ns` names the time the books have."""
    kind, now = wide(frame["kind"]), frame["now_ns"]
    last = books.meta[0]["now_ns"]
    if kind != _OPEN and kind != _SECOND:
        return _KIND
    if now <= last or now <= 0:
        return _CLOCK
    if kind == _SECOND and (frame["prev_ns"] != last or frame["interval_ns"] != now - last):
        return _CLOCK
    return _OK


@kernel
def apply_tick(books: Books, frame: Record) -> int:
    """Advance the clock. A second samples every market; the first tick past an hour ends that hour.

    Each interval counts exactly once. OPEN starts or resumes the clock: what lies between was paused and is
    neither sampled nor paid.
    """
    why = tick_refusal(books, frame)
    if why != _OK:
        return why
    meta = books.meta[0]
    now, kind = frame["now_ns"], wide(frame["kind"])
    prev = meta["now_ns"]
    ends_hour = crosses_hour(books, now)
    meta["now_ns"] = now
    meta["funding_hour"] = now // HOUR_NS
    for m in range(meta["markets"]):
        market = books.markets[m]
        if market["active"] == 0:
            continue
        if kind == _SECOND:
            sample_market(books, m, prev, now)
        if ends_hour == 1:
            end_hour(market, prev, now, 1 if kind == _SECOND else 0)
        witness = crc_word(books.witness[0], market["mark"])
        witness = crc_word(witness, market["premium_sum_e12"])
        books.witness[0] = crc_word(witness, market["index_e6"])
    return _OK
