"""Observations, consensus, mark, funding of the model: MONEY.md, Prices and Funding."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from kernels.frames import ObservationKind, Refusal, TickKind
from kernels.layouts import (
    LIMIT,
    MARKET_HALTED,
    MARKET_REDUCE_ONLY,
    PRICE_MAX,
    PRICE_MIN,
    SLOT_ASK,
    SLOT_BID,
    SLOT_MID,
    STATUS_HELD,
    STATUS_NONE,
)
from relayer.verify.model_liquidations import drop_silent
from relayer.verify.model_oracle import Verdict, Vote, age_limit, decide
from relayer.verify.model_params import put_in_force
from relayer.verify.model_rules import Seen, forget_samples, interval_ends, rate_of_interval, take_sample
from relayer.verify.model_state import Feed, Ledger, Market, Payment, half_even_div

SKEW_NS = 10**9
HOUR_NS = 3600 * 10**9
PERIOD_S = 8 * 3600
RATE_ONE = 10**12
BASIS_SECONDS = 150
_BOOK_SLOTS = {
    ObservationKind.MID: SLOT_MID,
    ObservationKind.IMPACT_BID: SLOT_BID,
    ObservationKind.IMPACT_ASK: SLOT_ASK,
}


class MarketPrices(NamedTuple):
    """What the compiled fold knows of a market's prices and of its open hour, to adopt instead of sampling."""

    status: int
    oracle: int
    conf: int
    mark: int
    basis_e6: int
    basis_known: int
    held_since_ns: int
    premium_sum_e12: int
    weight_valid: int
    seconds_valid: int
    seconds_seen: int
    pay_price: int
    state: int


def rescale(value: int, shift: int) -> int | None:
    """value·10^shift to nearest, ties to even; None for shifts beyond 18 or a result beyond int64."""
    if not -18 <= shift <= 18:
        return None
    out = value * 10**shift if shift >= 0 else half_even_div(value, 10**-shift)
    return out if -(2**63) <= out < 2**63 else None


def apply_observation(ledger: Ledger, frame: Any) -> Refusal:
    """Keep the newest observation of a registered feed, in the market's price units; none ahead by over an hour.

    One that the market's skew does not admit yet gives way to any other.
    """
    market = ledger.market(frame.market)
    if market is None:
        return Refusal.UNKNOWN_MARKET
    if frame.kind == ObservationKind.ORACLE:
        if ledger.tables.weights.get(frame.market, {}).get(frame.feed, 0) == 0:
            return Refusal.UNKNOWN_FEED
        slot = frame.feed
    elif frame.kind in _BOOK_SLOTS:
        slot = _BOOK_SLOTS[frame.kind]
    else:
        return Refusal.UNKNOWN_FEED
    shift = frame.expo + market.price_exp - market.lot_exp
    price, conf = rescale(frame.price, shift), rescale(frame.conf, shift)
    if price is None or conf is None or not PRICE_MIN <= price <= PRICE_MAX:
        return Refusal.OBSERVATION_INVALID
    if conf < 0 or frame.publish_ns <= 0:
        return Refusal.OBSERVATION_INVALID
    feeds = ledger.feeds.setdefault(frame.market, {})
    now_ns = ledger.meta.now_ns
    if now_ns and frame.publish_ns > now_ns + HOUR_NS:
        return Refusal.OBSERVATION_AHEAD
    latest_ns = now_ns + ledger.tables.oracles[frame.market].skew_ns if now_ns else math.inf
    if slot in feeds and frame.publish_ns < feeds[slot].publish_ns <= latest_ns:
        return Refusal.OBSERVATION_OLD
    feeds[slot] = Feed(frame.publish_ns, price, conf, frame.slot)
    return Refusal.NONE


def book_price(ledger: Ledger, number: int, slot: int, now_ns: int) -> int | None:
    """What the matching engine last said of its book, if that is not stale and at most a second ahead."""
    feed = ledger.feeds.get(number, {}).get(slot)
    if feed is None or not now_ns - ledger.tables.observation_age_ns <= feed.publish_ns <= now_ns + SKEW_NS:
        return None
    return feed.price


def next_mark(ledger: Ledger, number: int, market: Market, now_ns: int, second: bool) -> int:
    """median(index, index + EMA150s(mid − index), impact mid) within ±50 bps of index; unknown book: index.

    The average takes a sample a second; between seconds it stands.
    """
    index = market.oracle
    mid = book_price(ledger, number, SLOT_MID, now_ns)
    bid = book_price(ledger, number, SLOT_BID, now_ns)
    ask = book_price(ledger, number, SLOT_ASK, now_ns)
    if mid is None:
        if second:
            market.basis_known, market.basis_e6 = 0, 0
        return index
    basis = (mid - index) * 10**6
    if market.basis_known:
        basis = market.basis_e6 + ((basis - market.basis_e6) // BASIS_SECONDS if second else 0)
    if second:
        market.basis_known, market.basis_e6 = 1, basis
    if bid is None or ask is None:
        return index
    median = sorted((index, index + basis // 10**6, (bid + ask) // 2))[1]
    band = index * 50 // 10_000
    return min(max(median, index - band), index + band)


def hear(ledger: Ledger, number: int, market: Market, now_ns: int) -> Verdict:
    """The round of a market: one vote for each registered provider, and the reasons against them."""
    oracle, feeds = ledger.tables.oracles[number], ledger.feeds.get(number, {})
    oracle.age_ns = age_limit(oracle, market.leverage_max, now_ns)
    votes = {}
    for provider, weight in ledger.tables.weights.get(number, {}).items():
        feed = feeds.get(provider)
        votes[provider] = Vote(weight, feed.publish_ns, feed.price, feed.conf) if feed else Vote(weight)
    verdict, ledger.reasons[number] = decide(votes, oracle, now_ns)
    return verdict


def hold(ledger: Ledger, number: int, market: Market, verdict: Verdict, now_ns: int) -> None:
    """Nothing agreed on: the last price stays. HELD too long, or NONE: reduce-only; NONE for long: halted."""
    market.status = verdict.status
    if verdict.status == STATUS_HELD:
        market.conf = verdict.conf
    market.held_since_ns = market.held_since_ns or now_ns
    waited_ns = now_ns - market.held_since_ns
    none = verdict.status == STATUS_NONE
    state = market.state
    if none or waited_ns > ledger.tables.hold_ns:
        state |= MARKET_REDUCE_ONLY
    if none and waited_ns > ledger.tables.oracles[number].hold_ns:
        state |= MARKET_HALTED
    ledger.set_state(number, state)


def restart(ledger: Ledger, number: int, now_ns: int) -> None:
    """From here on only what is published later counts; a market with a price waits for it, reduce-only."""
    market, oracle = ledger.tables.markets[number], ledger.tables.oracles[number]
    oracle.restart_ns, oracle.agreements = now_ns, 0
    if market.oracle:
        market.status, market.held_since_ns = STATUS_HELD, now_ns
        ledger.set_state(number, market.state | MARKET_REDUCE_ONLY)


def price(ledger: Ledger, number: int, market: Market, now_ns: int, second: bool) -> bool:
    """The price of a market now, and whether there is one. Between seconds no jump comes nearer to belief, and
    one that a single round would not have believed is not believed."""
    oracle = ledger.tables.oracles[number]
    rounds = oracle.agreements, oracle.jump, oracle.jump_ns
    if not second:
        oracle.agreements = 0
    verdict = hear(ledger, number, market, now_ns)
    if verdict.status in (STATUS_NONE, STATUS_HELD):
        if not second:
            oracle.agreements, oracle.jump, oracle.jump_ns = rounds
        if market.oracle:
            hold(ledger, number, market, verdict, now_ns)
        return False
    market.status, market.oracle, market.conf = verdict
    market.held_since_ns = 0
    market.mark = next_mark(ledger, number, market, now_ns, second)
    if second:
        market.pay_price = market.oracle if market.pay_on else market.mark
    ledger.set_state(number, market.state & ~MARKET_REDUCE_ONLY)
    return True


def sample(ledger: Ledger, number: int, market: Market, prev_ns: int, now_ns: int) -> None:
    """One second of a market: its price, and its premium if prices of that status count for funding."""
    market.seconds_seen += 1
    if not price(ledger, number, market, now_ns, second=True):
        return
    if not ledger.tables.oracles[number].funding_on >> market.status & 1:
        return
    bid = book_price(ledger, number, SLOT_BID, now_ns)
    ask = book_price(ledger, number, SLOT_ASK, now_ns)
    take_sample(market, Seen(book_price(ledger, number, SLOT_MID, now_ns), bid, ask), prev_ns, now_ns)


def pay_interval(ledger: Ledger, number: int, market: Market) -> None:
    """Rate of the interval, step of the index, and what every open position owes by it."""
    market.rate_set_e12, before = rate_of_interval(market), market.rate_set_e12
    rate = before if market.lag else market.rate_set_e12
    if not market.open_interest:
        rate = 0
    step, rem = divmod(
        market.pay_price * 10**6 * rate * market.interval_s + market.index_rem,
        PERIOD_S * RATE_ONE,
    )
    if abs(step) > LIMIT or abs(market.index_e6 + step) > LIMIT:
        step, rem, rate = 0, market.index_rem, 0
    market.index_e6 += step
    market.index_rem = rem
    market.rate_e12 = rate
    paid = 0
    for slot in ledger.open.get(number, ()):
        position = ledger.positions[slot]
        pay, position.eager_rem = divmod(-position.size * step + position.eager_rem, market.scale)
        position.eager_pay_e6 += pay
        paid += max(0, -pay)
    forget_samples(market)
    ledger.payments.append(Payment(number, market.epoch, ledger.meta.now_ns, rate, step, paid))


def end_hour(ledger: Ledger, number: int, market: Market, prev_ns: int, sampled: bool) -> None:
    """A new epoch. If the interval is over too it pays, or, opened past its end, is forgotten with its rate."""
    market.epoch += 1
    if not interval_ends(market, prev_ns, ledger.meta.now_ns):
        return
    if sampled:
        pay_interval(ledger, number, market)
    else:
        forget_samples(market)
        market.rate_set_e12 = 0


def check_tick(ledger: Ledger, tick: Any) -> Refusal:
    """Time moves only forward, and a second names the interval that it closes."""
    if tick.kind not in tuple(TickKind):
        return Refusal.UNKNOWN_KIND
    last = ledger.meta.now_ns
    if tick.now_ns <= last:
        return Refusal.CLOCK_OUT_OF_ORDER
    if tick.kind != TickKind.OPEN and (tick.prev_ns, tick.interval_ns) != (last, tick.now_ns - last):
        return Refusal.CLOCK_OUT_OF_ORDER
    if tick.kind == TickKind.RISK and tick.now_ns // HOUR_NS > ledger.meta.funding_hour:
        return Refusal.CLOCK_OUT_OF_ORDER
    return Refusal.NONE


def advance(ledger: Ledger, now_ns: int) -> tuple[bool, bool]:
    """Move the clock; due parameters come into force. (ends an hour, closes a batch).

    A batch closes at the first tick at or past the next multiple of the window, and before every payment.
    """
    meta = ledger.meta
    if meta.pending and now_ns >= meta.pending_not_before_ns:
        put_in_force(ledger)
    window = ledger.tables.batch_window_ns
    ends_hour = now_ns // HOUR_NS > meta.funding_hour
    closes = window > 0 and (ends_hour or now_ns // window > meta.now_ns // window)
    meta.now_ns, meta.funding_hour = now_ns, now_ns // HOUR_NS
    return ends_hour, closes


def apply_tick(ledger: Ledger, tick: Any) -> tuple[Refusal, bool]:
    """Sample every market and, past an hour, pay once; OPEN samples and pays nothing and makes markets wait for
    fresh prices; RISK takes prices and no more. (why, closes a batch)."""
    why = check_tick(ledger, tick)
    if why:
        return why, False
    prev_ns = ledger.meta.second_ns
    ends_hour, closes = advance(ledger, tick.now_ns)
    if tick.kind != TickKind.RISK:
        ledger.meta.second_ns = tick.now_ns
    for number in range(ledger.tables.count):
        market = ledger.tables.markets[number]
        if tick.kind == TickKind.SECOND:
            sample(ledger, number, market, prev_ns, tick.now_ns)
        elif tick.kind == TickKind.RISK:
            price(ledger, number, market, tick.now_ns, second=False)
        else:
            restart(ledger, number, tick.now_ns)
        if ends_hour:
            end_hour(ledger, number, market, prev_ns, tick.kind == TickKind.SECOND)
    drop_silent(ledger)
    return Refusal.NONE, closes
