"""Cross accounts, leverage and tiers against the twin: over random streams, and at the ends of int64."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from engine.core import cross
from engine.core.apply import Machine
from engine.core.params import Row
from kernels.frames import ParamKey, Refusal, SettingKind, Source, Template, TransferKind
from kernels.layouts import ACCOUNT_CROSS, LIMIT, PRICE_MAX, PRICE_MIN
from relayer.verify import model_need
from relayer.verify.model import Model
from relayer.verify.model_margin import Tier
from relayer.verify.model_money import why_not_drawn
from relayer.verify.model_state import Position
from tests.engine.core.builders import PRICE, SCALES, frame, genesis, views
from tests.engine.core.strategies import PaidHour, Step
from tests.engine.core.twins import Twins
from tests.kernels.entries import run
from tests.kernels.twins import Scale

USDC = 10**6
TIERS = [
    Tier(3, 3 * 10**11, 2 * 10**11, 0),
    Tier(10, 10**11, 5 * 10**10, 100_000 * USDC),
    Tier(25, 4 * 10**10, 2 * 10**10, 60_000 * USDC),
    Tier(100, 10**10, 5 * 10**9, 20_000 * USDC),
]
LOTS = (1, 100_000, 1)
"""Lots of each market that a fill counts in: 30,000 USDC, 30,000 USDC and 300 M USDC at the first price."""


@functools.cache
def opening() -> list[bytes]:
    """`genesis` with four tiers, each market up to 100 times, and accounts 1 to 3 in cross mode in two markets."""
    script = genesis(accounts=4, deposit_e6=20_000 * USDC)
    rows = []
    for k, tier in enumerate(TIERS):
        rows.append(Row(ParamKey.MARGIN_TIER_RATES, k, tier.initial_e12, tier.maintenance_e12))
        rows.append(Row(ParamKey.MARGIN_TIER_LIMITS, k, tier.max_leverage, tier.max_notional_e6))
    script.params(rows + [Row(ParamKey.MARKET_LEVERAGE, m, 10, 100) for m in range(3)], change=2)
    script.seconds(1)
    for account in (1, 2, 3):
        for market in (0, 1):
            script.setting(account, SettingKind.MARGIN_MODE, 1, market=market if account < 3 else 2 * market)
    return script.frames


@dataclass(frozen=True)
class Trade:
    """A fill in units of `LOTS`, at the mark or near it."""

    market: int
    maker: int
    taker: int
    units: int
    off: int

    def build(self, twins: Twins) -> list[bytes]:
        """The fill."""
        price = int(twins.market(self.market)["mark"]) + self.off
        fill = {"maker": self.maker, "taker": self.taker, "price": price}
        size = self.units * LOTS[self.market]
        seq = twins.next_seq(Source.MATCHING)
        return [frame(Template.FILL, seq, market=self.market, size=size, **fill)]


@dataclass(frozen=True)
class Draw:
    """Takes `part`/4 and `more` of what an account may draw out of its free balance."""

    kind: TransferKind
    account: int
    market: int
    part: int
    more: int

    def build(self, twins: Twins) -> list[bytes]:
        """The transfer."""
        ledger = twins.model.ledger
        locked = model_need.locked_e6(ledger, self.account)
        reach = max(0, ledger.accounts[self.account].free_e6 - (locked or 0))
        payload = {"account": self.account, "quote_e6": max(1, reach * self.part // 4 + self.more)}
        return Step(Template.TRANSFER, payload, self.market, int(self.kind), number=0).build(twins)


@dataclass(frozen=True)
class Price:
    """Every feed of a market says so many thousandths of the first price, and a second passes."""

    market: int
    thousandths: int

    def build(self, twins: Twins) -> list[bytes]:
        """Observations and their tick."""
        seq, m = twins.next_seq(Source.FEEDS), self.market
        now = twins.model.ledger.meta.now_ns
        seen = {
            "price": PRICE * self.thousandths // 1000,
            "publish_ns": now,
            "expo": SCALES[m][1] - SCALES[m][0],
        }
        frames = [frame(Template.OBSERVATION, seq + k, market=m, feed=k, **seen) for k in range(3 - m)]
        return frames + Step(Template.TICK, {"kind": 1}, ns=10**9).build(twins)


account = st.integers(1, 4)
market = st.integers(0, 2)
trades = st.builds(
    Trade,
    st.sampled_from([0, 0, 0, 1, 1, 1, 2]),
    account,
    account,
    st.sampled_from([1, -1, 1, -1, 2, -3, 5]),
    st.sampled_from([0, 0, 0, 50_000, -50_000]),
)
drawn = st.builds(
    Draw,
    st.sampled_from([TransferKind.WITHDRAWAL, TransferKind.TO_POSITION, TransferKind.TO_POSITION]),
    account,
    market,
    st.sampled_from([1, 2, 4]),
    st.sampled_from([0, 1]),
)
released = st.builds(
    Draw, st.just(TransferKind.FROM_POSITION), account, market, st.just(0), st.sampled_from([1, 10**6, 10**9])
)
chosen = st.builds(
    lambda account, market, kind, value: Step(
        Template.SETTING, {"account": account, "kind": int(kind), "value": value}, market, number=0
    ),
    account,
    st.sampled_from([0, 1, 0, 1, 2]),
    st.sampled_from([SettingKind.LEVERAGE] * 4 + [SettingKind.MARGIN_MODE]),
    st.sampled_from([1, 2, 3, 4, 9, 10, 11, 25, 26, 50, 100]).map(int),
).map(
    lambda s: (
        s if s.payload["kind"] == 1 else replace(s, payload=s.payload | {"value": s.payload["value"] % 2})
    )
)
prices = st.builds(Price, market, st.sampled_from([900, 970, 1000, 1020, 1100, 1500]))
hours = st.builds(PaidHour, st.integers(-(10**14), 10**14), st.just(PRICE), st.just([]))
steps = st.one_of(trades, trades, trades, chosen, chosen, drawn, released, prices, hours)


def listed(twins: Twins) -> None:
    """Lists and flags of cross positions are what the positions say."""
    books = twins.machine.books
    wanted: dict[int, set[int]] = {}
    for slot in range(twins.machine.state.number("positions")):
        if books.positions[slot]["mode"]:
            wanted.setdefault(int(books.positions[slot]["account"]), set()).add(slot)
    for number in range(twins.machine.state.number("accounts")):
        at, found = int(books.cross_first[number]), []
        while at:
            found.append(at - 1)
            at = int(books.cross_next[at - 1])
        assert set(found) == wanted.get(number, set()) and len(found) == len(set(found))
        assert bool(books.accounts[number]["flags"] & ACCOUNT_CROSS) == bool(found)


@settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(steps, min_size=15, max_size=40))
def test_margin_does_the_same_to_machine_and_model(taken: list) -> None:
    twins = Twins(opening())
    for step in taken:
        for raw in step.build(twins):
            outcome = twins.apply(raw)
            name = type(step).__name__
            event(f"{name} {Refusal(outcome.refusal).name} {len(outcome.legs)}")
            if isinstance(step, Draw) and step.kind != TransferKind.FROM_POSITION and not outcome.refusal:
                locked = model_need.locked_e6(twins.model.ledger, step.account)
                assert locked is not None and twins.free(step.account) >= locked
        if not isinstance(step, PaidHour):
            listed(twins)


money = st.one_of(
    st.sampled_from([0, 1, -1, LIMIT, -LIMIT, LIMIT - 1]),
    st.integers(-(10**13), 10**13),
    st.integers(-LIMIT, LIMIT),
)


@st.composite
def sides(draw: st.DrawFn) -> list[tuple[int, int, int, int, int, int]]:
    """(size, cash, idx, rem, leverage, mark) of a cross position in each of the three markets."""
    out = []
    for price_exp, _ in SCALES:
        most = Scale(price_exp).size_max
        size = draw(st.one_of(st.sampled_from([0, 1, most, -most]), st.integers(-1000, 1000)))
        mark = draw(st.sampled_from([PRICE, PRICE, PRICE_MIN, PRICE_MAX, 0]))
        rem = draw(st.integers(0, 10**price_exp - 1))
        leverage = draw(st.sampled_from([0, 1, 10, 25, 100]))
        out.append((size, draw(money), draw(st.one_of(st.just(0), money)), rem, leverage, mark))
    return out


@functools.cache
def whole() -> tuple[Machine, Model]:
    """A machine and a model after `opening`, whose account 1 the next test rewrites: cross in all markets."""
    machine, model = Machine(), Model()
    frames = list(opening())
    first = Twins(frames).next_seq(Source.API)
    nonce = Twins(frames).model.ledger.accounts[1].nonce + 1
    frames.append(
        frame(
            Template.SETTING,
            first,
            account=1,
            market=2,
            kind=int(SettingKind.MARGIN_MODE),
            value=1,
            nonce=nonce,
        )
    )
    machine.apply(views(frames), 0, len(frames))
    for raw in frames:
        model.apply(raw)
    return machine, model


@given(
    sides(), money, st.integers(1, LIMIT), st.integers(-(2**60), 2**60), st.sampled_from([PRICE, PRICE_MAX])
)
def test_a_cross_side_anywhere_in_bounds_is_exact(
    given_sides: list[tuple[int, int, int, int, int, int]], free: int, quote: int, more: int, price: int
) -> None:
    machine, model = whole()
    books, ledger = machine.books, model.ledger
    books.accounts[1]["free_e6"] = free
    ledger.accounts[1].free_e6 = free
    for m, (size, cash, idx, rem, leverage, mark) in enumerate(given_sides):
        slot = ledger.slots[1, m]
        row = books.positions[slot]
        row["size"], row["cash"], row["idx"], row["rem"], row["leverage"] = size, cash, idx, rem, leverage
        books.markets[m]["mark"] = mark
        ledger.positions[slot] = Position(1, m, size, cash, idx, rem, cross=True, leverage=leverage)
        ledger.tables.markets[m].mark = mark
    locked = model_need.locked_e6(ledger, 1)
    everything = cross.EVERYTHING_E6
    wanted = (everything, 0) if locked is None else (min(locked, everything), 1)
    assert run(cross.locked_e6, books, 1) == wanted
    assert run(cross.locked_of, books, 1) == wanted[0]
    assert run(cross.draw_refusal, books, 1, quote) == why_not_drawn(ledger, 1, quote)
    short = model_need.shortfall(ledger, 1)
    unmet = Refusal.MARK_UNKNOWN if short is None else Refusal.INSUFFICIENT_FREE
    met = short is not None and short + more <= 0
    assert run(cross.bears_more, books, 1, more) == (Refusal.NONE if met else unmet)
    for m in (-1, 0, 2):
        mark = model.ledger.tables.markets[m].mark if m >= 0 else 0
        told = run(cross.equity_of_cross, books, 1, m, price)
        assert told == model_need.account_equity(ledger, 1, m, mark or price)


def test_growing_lists_forget_nobody() -> None:
    script = genesis(accounts=0)
    for n in range(1, 1501):
        script.account(n, deposit_e6=10**6)
        script.setting(n, SettingKind.MARGIN_MODE, 1, market=n % 3)
        script.setting(n, SettingKind.MARGIN_MODE, 1)
        script.fill(n, max(1, n - 1), 1, PRICE, market=1)
    twins = Twins(script.frames)
    assert len(twins.machine.books.accounts) > 1024 and np.any(twins.machine.books.cross_first[1024:])
    listed(twins)
    twins.machine.state.reserve(20_000)
    listed(twins)
