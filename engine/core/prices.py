"""Prices on the tick: observations, the decision on them, what follows from having none, the mark.

A market is decided from the newest observation of each provider by `kernels.oracle_rounds.decide`. While no
price can be agreed on, the last good one is HELD, its confidence widening: past the exchange's HOLD_NS the
market is reduce-only; past the market's own hold limit there is NONE, and a market that has waited that long
halts until an operator's correction. A market that starts again waits for fresh prices.
"""

from __future__ import annotations

from engine.core.legs import known_market
from engine.core.outputs import set_market_state
from engine.core.state import Books
from kernels.frames import ObservationKind, Refusal
from kernels.funding import MARK_BAND_PPM, next_basis
from kernels.jit import kernel
from kernels.layouts import (
    FEED_SLOTS,
    MARKET_HALTED,
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
from kernels.oracle import FROM_THE_FUTURE, PASSES, SKEW_NS, TOO_FAR, band_of, median3, rescale
from kernels.oracle_rounds import decide
from kernels.oracle_rules import age_in_force, own_age_limit
from kernels.profiles import ON_ORACLE
from kernels.types import Record, wide

AHEAD_NS = 3_600_000_000_000
"""Whoever drives the books by ticks may let them lie so far apart, and tell prices of the next before it comes."""
UNHEARD = -1
"""In `Books.stands`: there is no price and, until a provider is heard, there will be none."""

_OK = int(Refusal.NONE)
_UNKNOWN_MARKET = int(Refusal.UNKNOWN_MARKET)
_UNKNOWN_FEED = int(Refusal.UNKNOWN_FEED)
_INVALID = int(Refusal.OBSERVATION_INVALID)
_OLD = int(Refusal.OBSERVATION_OLD)
_AHEAD = int(Refusal.OBSERVATION_AHEAD)
_ORACLE = int(ObservationKind.ORACLE)
_MID = int(ObservationKind.MID)
_BID = int(ObservationKind.IMPACT_BID)
_ASK = int(ObservationKind.IMPACT_ASK)


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
    """Keep the newest observation of a feed, in its market's price units (nearest, ties to even).

    One dated more than AHEAD_NS after the books' clock is refused. One that is ahead by less counts when its time has
    come (`kernels.oracle.time_reason`), and until then makes no other old: whatever comes next takes its place.
    """
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
    feed, now_ns = books.feeds[slot], books.meta[0]["now_ns"]
    # Before the first tick nobody knows what is ahead.
    if now_ns > 0 and frame["publish_ns"] - AHEAD_NS > now_ns:
        return _AHEAD
    waits = now_ns > 0 and feed["publish_ns"] - books.oracles[m]["skew_ns"] > now_ns
    if frame["publish_ns"] < feed["publish_ns"] and not waits:
        return _OLD
    feed["publish_ns"] = frame["publish_ns"]
    feed["price"] = price
    feed["conf"] = conf
    feed["slot"] = frame["slot"]
    if slot < m * FEED_SLOTS + MAX_PROVIDERS:
        books.stands[m] = 0
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
def mark_of(oracle: int, basis_e6: int, bid: int, ask: int) -> int:
    """Median of index price, index price + basis and impact mid, within the band; without a book: index price."""
    if bid == 0 or ask == 0:
        return oracle
    mark = median3(oracle, oracle + basis_e6 // 1_000_000, (bid + ask) // 2)
    band = oracle * MARK_BAND_PPM // 1_000_000
    return max(oracle - band, min(oracle + band, mark))


@kernel
def mark_price(books: Books, m: int, market: Record, now_ns: int, sampled: int) -> int:
    """Mark = median(index, index + 150 s average basis, impact mid) within +-50 bps; without a book: index.

    sampled: 1 advances the basis average by one second; 0 takes it as it is.
    """
    base = m * FEED_SLOTS
    oracle = market["oracle"]
    mid = fresh_price(books, base + SLOT_MID, now_ns)
    bid = fresh_price(books, base + SLOT_BID, now_ns)
    ask = fresh_price(books, base + SLOT_ASK, now_ns)
    if mid == 0:
        if sampled == 1:
            market["basis_known"] = 0
            market["basis_e6"] = 0
        return oracle
    basis = (mid - oracle) * 1_000_000
    if market["basis_known"] == 1:
        basis = next_basis(market["basis_e6"], basis) if sampled == 1 else market["basis_e6"]
    if sampled == 1:
        market["basis_e6"] = basis
        market["basis_known"] = 1
    return mark_of(oracle, basis, bid, ask)


@kernel
def take_votes(books: Books, m: int) -> None:
    """Write the newest observations of one market's providers as VOTE rows.

    Their owner, verification and samples were checked by whoever forwarded them: no frame tells those.
    """
    base = m * FEED_SLOTS
    for k in range(base, base + MAX_PROVIDERS):
        feed = books.feeds[k]
        vote = books.votes[k]
        vote["weight"] = feed["weight"]
        if feed["weight"] > 0:
            vote["publish_ns"] = feed["publish_ns"]
            vote["price"] = feed["price"]
            vote["conf"] = feed["conf"]
            vote["samples"] = 1
            vote["valid"] = 1


@kernel
def is_unheard(books: Books, m: int) -> int:
    """1 if a market that never had a price will have none as long as no provider is heard and no rule changes."""
    oracle = books.oracles[m]
    if oracle["reference"] != 0 or oracle["agreements"] != 0:
        return 0
    for k in range(m * FEED_SLOTS, m * FEED_SLOTS + MAX_PROVIDERS):
        reason = books.reasons[k]
        if reason == PASSES or reason == FROM_THE_FUTURE or reason == TOO_FAR:
            return 0
    return 1


@kernel
def stands_until(books: Books, m: int, market: Record, before: int, now_ns: int) -> int:
    """Until when every further round gives what this one gave, unless a provider is heard or a rule changes; 0:
    not even the next one. before: the reference of this round, which has decided on one.

    A vote that passed goes on passing until it is too old, if it lies within the narrowest band of the price that
    is now the reference. One from the future will count some time and one too far may, as the band gets wider;
    what other gates held back they will hold back again. That price is then also its own nearest median.
    """
    if before <= 0:
        return 0
    oracle, base = books.oracles[m], m * FEED_SLOTS
    price = oracle["reference"]
    band = band_of(price, 0, oracle["band_ppm"], 0)
    limit_ns = own_age_limit(oracle, market["leverage_max"])
    until_ns = now_ns + limit_ns
    for k in range(base, base + MAX_PROVIDERS):
        reason = books.reasons[k]
        if reason == PASSES:
            if abs(books.votes[k]["price"] - price) > band:
                return 0
            until_ns = min(until_ns, books.votes[k]["publish_ns"] + limit_ns)
        elif reason == FROM_THE_FUTURE or reason == TOO_FAR:
            return 0
    return until_ns


@kernel
def price_round(books: Books, m: int, market: Record, now_ns: int, sampled: int) -> int:
    """Decide one market's price for now; 1 if there is one that was agreed on now.

    sampled: 1 on a second. 0 between two: nothing that counts seconds moves on, neither the rounds in which
    providers must agree on a jump, nor the average basis, nor the price of payment.
    Leaves the reason for or against each provider in books.reasons[m * 16 : m * 16 + 13].
    """
    oracle = books.oracles[m]
    oracle["age_ns"] = age_in_force(oracle, market["leverage_max"], now_ns)
    stands = books.stands[m]
    if stands == UNHEARD:
        return 0
    if now_ns <= stands:
        oracle["reference_ns"] = now_ns
    elif decide_anew(books, m, market, oracle, now_ns, sampled) == 0:
        return 0
    mark = mark_price(books, m, market, now_ns, sampled)
    market["mark"] = mark
    if sampled == 1:
        market["pay_price"] = market["oracle"] if market["pay_on"] == ON_ORACLE else mark
    set_market_state(books, m, MARKET_REDUCE_ONLY, 0, 0)
    return 1


@kernel
def decide_anew(books: Books, m: int, market: Record, oracle: Record, now_ns: int, sampled: int) -> int:
    """Hear every provider of a market. 1: its index price is agreed on; 0: there is none, or the last one is held."""
    books.stands[m] = 0
    take_votes(books, m)
    before = oracle["reference"]
    agreements, jump, jump_ns = oracle["agreements"], oracle["jump"], oracle["jump_ns"]
    if sampled == 0:
        oracle["agreements"] = 0
    status, price, conf = decide(books.votes, m, oracle, oracle, now_ns, books.order, books.reasons)
    if status == STATUS_NONE or status == STATUS_HELD:
        if sampled == 0:
            oracle["agreements"], oracle["jump"], oracle["jump_ns"] = agreements, jump, jump_ns
        if market["oracle"] != 0:
            hold_price(books, m, market, status, conf, now_ns)
        elif is_unheard(books, m) == 1:
            books.stands[m] = UNHEARD
        return 0
    market["status"] = status
    market["oracle"] = price
    market["conf"] = conf
    market["held_since_ns"] = 0
    books.stands[m] = stands_until(books, m, market, before, now_ns)
    return 1


@kernel
def hold_price(books: Books, m: int, market: Record, status: int, conf: int, now_ns: int) -> None:
    """A second without agreement, HELD or NONE: index price and mark stay, what may be done gets less."""
    market["status"] = status
    if status == STATUS_HELD:
        market["conf"] = conf
    if market["held_since_ns"] == 0:
        market["held_since_ns"] = now_ns
    waited_ns = now_ns - market["held_since_ns"]
    bits = 0
    if status == STATUS_NONE or waited_ns > books.meta[0]["hold_ns"]:
        bits = MARKET_REDUCE_ONLY
    if status == STATUS_NONE and waited_ns > books.oracles[m]["hold_ns"]:
        bits = MARKET_REDUCE_ONLY | MARKET_HALTED
    set_market_state(books, m, bits, 1, 0)


@kernel
def restart_market(books: Books, m: int, now_ns: int) -> None:
    """After a pause or a halt: what was published before `now_ns` no longer counts, and until something newer
    is agreed on the price is held and the market reduce-only. One that never had a price has none to doubt."""
    oracle = books.oracles[m]
    oracle["restart_ns"] = now_ns
    oracle["agreements"] = 0
    books.stands[m] = 0
    market = books.markets[m]
    if market["oracle"] == 0:
        return
    market["status"] = STATUS_HELD
    market["held_since_ns"] = now_ns
    set_market_state(books, m, MARKET_REDUCE_ONLY, 1, 0)
