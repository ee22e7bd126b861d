"""Seconds in which nothing new is heard, many at a time: what a replay is mostly made of.

`tick_run` looks how many ticks follow each other within one hour, and until when every price stands and every
observation of a book stays as fresh as it is. Then it takes one market after the other through all
of these seconds, with its numbers at hand, and rolls the witness over what it has left. Any other tick is
`engine.core.funding`'s, whose answers these are too, to the byte (tests/engine/core/test_fast_ticks.py).
"""

from __future__ import annotations

from engine.core.funding import SAMPLES_MAX
from engine.core.prices import UNHEARD, fresh_price, mark_of
from engine.core.state import Books
from engine.core.views import TICKS, Scratch, Views
from kernels.crc32c import crc_word
from kernels.frames import Template, TickKind
from kernels.funding import HOUR_NS, next_basis
from kernels.funding_premium import premium_of_source
from kernels.funding_rate import add_premium
from kernels.jit import kernel, routine
from kernels.layouts import FEED_SLOTS, MARKET_REDUCE_ONLY, SLOT_ASK, SLOT_BID, SLOT_MID
from kernels.oracle import SKEW_NS
from kernels.oracle_rules import admits, age_in_force
from kernels.profiles import ON_ORACLE, TWAP_DIFF
from kernels.types import at, wide

_TICK = int(Template.TICK)
_SECOND = int(TickKind.SECOND)
FAR_NS = 1 << 61
"""Times and windows from here on are not taken together: no sum of two of them wraps."""


@kernel
def fresh_until(books: Books, slot: int, now_ns: int) -> int:
    """Up to when `fresh_price` of an observation answers as it does now."""
    publish_ns = books.feeds[slot]["publish_ns"]
    age_ns = now_ns - publish_ns
    if publish_ns > 0 and age_ns < -SKEW_NS:
        return publish_ns - SKEW_NS - 1
    limit_ns = books.meta[0]["observation_age_ns"]
    return publish_ns + limit_ns if publish_ns > 0 and age_ns <= limit_ns else FAR_NS


@kernel
def calm_until(books: Books, now_ns: int) -> int:
    """Up to when every market goes on as it is, second by second; before now_ns if one does not."""
    meta = books.meta[0]
    until_ns = FAR_NS
    if meta["open_liquidations"] != 0 or meta["observation_age_ns"] >= FAR_NS:
        return 0
    for m in range(meta["markets"]):
        market, stands_ns = books.markets[m], books.stands[m]
        if market["active"] == 0 or stands_ns == UNHEARD:
            continue
        told = market["state"] & MARKET_REDUCE_ONLY
        if now_ns > stands_ns or told != 0 or market["sample_s"] != 1:
            return 0
        if market["seconds_valid"] + TICKS > SAMPLES_MAX:
            return 0
        base = m * FEED_SLOTS
        until_ns = min(until_ns, stands_ns)
        for slot in range(base + SLOT_MID, base + SLOT_ASK + 1):
            until_ns = min(until_ns, fresh_until(books, slot, now_ns))
    return until_ns


@kernel
def run_of_ticks(books: Books, views: Views, first: int, stop: int, until_ns: int) -> int:
    """Frame behind the last of the seconds from frame `first` on, none past until_ns: each its source's next, of
    the hour and the parameters that the one before belongs to."""
    meta = books.meta[0]
    source, last_ns = wide(views.tick[first]["source"]), meta["now_ns"]
    seq, end_ns = books.sources[source]["last_seq"], min(until_ns + 1, (meta["funding_hour"] + 1) * HOUR_NS)
    if meta["pending"] == 1:
        end_ns = min(end_ns, meta["pending_not_before_ns"])
    i = first
    while i < min(stop, first + TICKS):
        tick = views.tick[i]
        now_ns = tick["now_ns"]
        if wide(tick["template"]) != _TICK or wide(tick["source"]) != source or tick["seq"] != seq + 1:
            break
        if wide(tick["kind"]) != _SECOND or now_ns <= last_ns or now_ns >= end_ns:
            break
        if tick["prev_ns"] != last_ns or tick["interval_ns"] != now_ns - last_ns:
            break
        seq += 1
        last_ns = now_ns
        i += 1
    return i


@kernel
def pass_seconds(books: Books, scratch: Scratch, m: int, first_ns: int, last_ns: int, count: int) -> None:
    """`engine.core.funding.sample_market` for `count` seconds of a calm market, from the one at first_ns to that at
    last_ns. What the witness takes of each, mark and sum of premiums, goes to `scratch.marks`."""
    market, oracle, marks = books.markets[m], books.oracles[m], scratch.marks
    oracle["age_ns"] = age_in_force(oracle, market["leverage_max"], last_ns)
    market["seconds_seen"] += count
    mark, total, base = market["mark"], market["premium_sum_e12"], m * FEED_SLOTS
    k, step = at(2 * m), at(2 * books.meta[0]["markets"])
    if books.stands[m] == UNHEARD:
        for _ in range(count):
            marks[k], marks[k + at(1)] = mark, total
            k += step
        return
    oracle["reference_ns"] = last_ns
    mid = fresh_price(books, base + SLOT_MID, first_ns)
    bid = fresh_price(books, base + SLOT_BID, first_ns)
    ask = fresh_price(books, base + SLOT_ASK, first_ns)
    price, basis, known = market["oracle"], market["basis_e6"], market["basis_known"]
    source, limit_e12 = market["source"], market["premium_limit_e12"]
    counts = admits(oracle["funding_on"], market["status"])
    weight, valid = market["weight_valid"], market["seconds_valid"]
    sample = (mid - price) * 1_000_000
    for _ in range(count):
        if mid == 0:
            basis, known, mark = 0, 0, price
        else:
            basis = next_basis(basis, sample) if known == 1 else sample
            known, mark = 1, mark_of(price, basis, bid, ask)
        if counts == 1 and source == TWAP_DIFF:
            total, weight, valid = total + mark - price, weight + price, valid + 1
        elif counts == 1:
            premium, ok = premium_of_source(source, mark, mid, bid, ask, price, limit_e12)
            if ok == 1:
                total, weight = add_premium(market, total, weight, premium, 1, 1)
                valid += 1
        marks[k], marks[k + at(1)] = mark, total
        k += step
    market["basis_e6"], market["basis_known"], market["mark"] = basis, known, mark
    market["premium_sum_e12"], market["weight_valid"], market["seconds_valid"] = total, weight, valid
    market["pay_price"] = price if market["pay_on"] == ON_ORACLE else mark


@kernel
def roll_witness(books: Books, scratch: Scratch, count: int) -> None:
    """The witness over what each second left of each market and over the result of each tick, which is none."""
    markets = books.meta[0]["markets"]
    witness, k = books.witness[0], at(0)
    for _ in range(count):
        for m in range(markets):
            if books.markets[m]["active"] != 0:
                witness = crc_word(crc_word(witness, scratch.marks[k]), scratch.marks[k + at(1)])
                witness = crc_word(witness, books.markets[m]["index_e6"])
            k += at(2)
        witness = crc_word(witness, 0)
    books.witness[0] = witness


@kernel
def write_results(books: Books, views: Views, scratch: Scratch, first: int, behind: int, row: int) -> None:
    """Results of ticks first..behind-1 at `row` on. `engine.core.funding.closes_batch` says which begin a batch;
    here the end of the window is kept, and divided for only where one is over."""
    meta = books.meta[0]
    window_ns, last_ns = meta["batch_window_ns"], meta["now_ns"]
    edge_ns = last_ns - last_ns % window_ns + window_ns if window_ns > 0 else FAR_NS
    for i in range(first, behind):
        now_ns, result = views.tick[i]["now_ns"], scratch.results[row + i - first]
        result["refusal"], result["legs"], result["boundary"] = 0, 0, 0
        if now_ns >= edge_ns:
            result["boundary"] = 1
            edge_ns = now_ns - now_ns % window_ns + window_ns


@routine
def tick_run(books: Books, views: Views, scratch: Scratch, first: int, stop: int, row: int) -> int:
    """Apply seconds from frame `first` on while all markets are calm; results at `row` on. The frame behind them:
    `first` itself where this one is not of that kind."""
    meta = books.meta[0]
    first_ns = views.tick[first]["now_ns"]
    if first_ns <= meta["now_ns"] or first_ns >= FAR_NS or meta["batch_window_ns"] >= FAR_NS:
        return first
    until_ns = calm_until(books, first_ns)
    if until_ns < first_ns:
        return first
    behind = run_of_ticks(books, views, first, stop, until_ns)
    count = behind - first
    if count == 0:
        return first
    last_ns = views.tick[behind - 1]["now_ns"]
    for m in range(meta["markets"]):
        if books.markets[m]["active"] != 0:
            pass_seconds(books, scratch, m, first_ns, last_ns, count)
    roll_witness(books, scratch, count)
    write_results(books, views, scratch, first, behind, row)
    books.sources[wide(views.tick[first]["source"])]["last_seq"] += count
    meta["ordinal"] += count
    meta["now_ns"] = last_ns
    meta["second_ns"] = last_ns
    return behind
