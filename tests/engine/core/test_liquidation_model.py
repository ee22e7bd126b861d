"""Liquidation in the compiled fold against its naive twin: books near their margin, prices that move, candidates at
any moment, right ones and hostile ones. After every frame both are equal and every identity is zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from engine.core.params import Row
from kernels import frames as f
from kernels.frames import ParamKey, SettingKind, Source, Template, TickKind
from kernels.layouts import LIMIT
from relayer.verify.model_frames import decode, head_of
from tests.engine.core.builders import PRICE, SCALES, SECOND_NS, WEIGHTS, Script, frame, genesis
from tests.engine.core.strategies import Step, candidates, settings_, transfers
from tests.engine.core.twins import Twins

TENTH_NS = SECOND_NS // 10
WITHDRAWN_E6 = {3: 19 * 10**12, 4: 19 * 10**12}
SIZES = ((1, 30), (10_000, 300_000), (1,))
"""Lots filled in each of the three markets: worth 30,000 and 900,000 USDC at the first price, 3,000 and 90,000,
300,000,000."""


def books_near_margin() -> Script:
    """Five accounts at 10x, 20x and 50x, 3 and 4 cross, some of them large; fills of up to 3 % off the mark pass."""
    script = genesis(accounts=5, deposit_e6=50 * 10**12)
    rows = [Row(ParamKey.MARKET_BAND, m, 200_000) for m in range(3)]
    rows += [Row(ParamKey.MARKET_MOVE, 0, 10**9), Row(ParamKey.LIQUIDATION, 0, 2_500_000, 10**10)]
    script.params(rows, change=2)
    script.seconds(1)
    for m in range(3):
        for account in (3, 4):
            script.setting(account, SettingKind.MARGIN_MODE, 1, market=m)
        for account, leverage in ((1, 50), (2, 20), (4, 50), (5, 50)):
            script.setting(account, SettingKind.LEVERAGE, leverage, market=m)
        for size in SIZES[m]:
            script.fill(1, 2, size, PRICE, market=m)
            script.fill(3, 5, size, PRICE, market=m)
            script.fill(4, 3, 2 * size, PRICE, market=m)
    # What cross accounts do not need of their balance is taken out, so that they come near their margin too.
    for account in (3, 4):
        script.move(f.TransferKind.WITHDRAWAL, account, WITHDRAWN_E6[account])
    return script


BOOKS = books_near_margin()


@dataclass(frozen=True)
class Move:
    """Every provider of a market says a price, so many millionths off the first, and a tick follows."""

    market: int
    ppm: int
    kind: TickKind
    conf: int

    def build(self, twins: Twins) -> list[bytes]:
        """Observations published now, and the tick."""
        now, m = twins.model.ledger.meta.now_ns, self.market
        expo, seq = SCALES[m][1] - SCALES[m][0], twins.next_seq(Source.FEEDS)
        price = PRICE + PRICE * self.ppm // 10**6
        said = {"price": price, "expo": expo, "conf": self.conf, "publish_ns": now}
        frames = [
            frame(Template.OBSERVATION, seq + k, market=m, feed=k, **said) for k in range(len(WEIGHTS[m]))
        ]
        step = SECOND_NS if self.kind == TickKind.SECOND else TENTH_NS
        at = {"now_ns": now + step, "prev_ns": now, "interval_ns": step, "kind": int(self.kind)}
        return [*frames, frame(Template.TICK, twins.next_seq(Source.CLOCK), **at)]


@dataclass(frozen=True)
class Sweep:
    """A candidate for every position there is, as if risk saw all of them in danger, and maybe to deleverage."""

    kind: int
    counterparty: int

    def build(self, twins: Twins) -> list[bytes]:
        """Candidates in the order of positions."""
        first = twins.next_seq(Source.RISK)
        rows = twins.model.ledger.positions
        return [
            frame(
                Template.CANDIDATE, first + k, market=p.market, account=p.account, kind=self.kind,
                counterparty=self.counterparty,
            )
            for k, p in enumerate(rows)
        ]  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """The matching engine fills a share of every open reduce-only order, at its limit or at the mark."""

    share: int
    maker: int
    at_limit: bool

    def build(self, twins: Twins) -> list[bytes]:
        """One fill for each liquidation that has an order; the liquidated side takes."""
        ledger, out = twins.model.ledger, []
        for row in ledger.liquidations:
            if row.orders == 0 or row.account == self.maker:
                continue
            # Insurance never trades more than it holds.
            share = min(self.share, 100) if row.account == 0 else self.share
            size = row.size * share // 100 or row.size
            price = row.price if self.at_limit else ledger.tables.markets[row.market].mark
            fill = {"maker": self.maker, "taker": row.account, "size": size, "price": price}
            seq = twins.next_seq(Source.MATCHING) + len(out)
            out.append(frame(Template.FILL, seq, market=row.market, **fill))
        return out


@dataclass(frozen=True)
class Insured:
    """A fill of insurance: a share of what it holds, more than all, or the other way; of one lot where it is flat."""

    market: int
    share: int
    other: int
    makes: bool

    def build(self, twins: Twins) -> list[bytes]:
        """The fill, at the mark."""
        ledger, m = twins.model.ledger, self.market
        position = ledger.position(0, m)
        size = -(position.size if position else 0) * self.share // 100 or 1
        sides = {"maker": 0, "taker": self.other} if self.makes else {"maker": self.other, "taker": 0}
        fill = {**sides, "size": -size if self.makes else size, "price": ledger.tables.markets[m].mark}
        return [frame(Template.FILL, twins.next_seq(Source.MATCHING), market=m, **fill)]


markets = st.integers(0, 2)
insured = st.builds(
    Insured, markets, st.sampled_from([100, 60, 30, 9, 1, 100, 60, 101, -1]), st.integers(0, 5), st.booleans()
)
moves = st.builds(
    Move,
    markets,
    st.sampled_from([0, 10_000, -10_000, -15_000, 20_000, -25_000, 40_000, -60_000, 90_000]),
    st.sampled_from([TickKind.SECOND, TickKind.RISK, TickKind.RISK]),
    st.sampled_from([0, 0, 900, 3 * 10**6]),
)
sweeps = st.builds(Sweep, st.sampled_from([1, 1, 1, 2]), st.integers(0, 5))
answers = st.builds(Answer, st.sampled_from([100, 50, 7, 250]), st.integers(1, 5), st.booleans())
later = st.sampled_from([TENTH_NS, TENTH_NS, 4 * TENTH_NS, SECOND_NS, 11 * SECOND_NS])
ticks = st.builds(
    Step,
    st.just(Template.TICK),
    st.fixed_dictionaries({"kind": st.sampled_from([1, 2, 2])}),
    ns=later,
)
opens = st.builds(
    Step,
    st.just(Template.FILL),
    st.fixed_dictionaries(
        {
            "maker": st.integers(1, 5),
            "taker": st.integers(1, 5),
            "price": st.just(PRICE),
            "size": st.sampled_from([1, -1, 40, -20, 50_000, 3 * 10**6]),
        }
    ),
    market=markets,
)
riches = st.builds(
    Step,
    st.just(Template.TRANSFER),
    st.fixed_dictionaries(
        {"account": st.just(0), "quote_e6": st.sampled_from([1, 10**6, 10**9, 10**12, LIMIT // 2])}
    ),
    flags=st.just(int(f.TransferKind.DEPOSIT)),
    number=st.just(0),
)
acts = st.integers(0, 21).flatmap(
    lambda n: (
        moves if n < 5 else
        sweeps if n < 10 else
        ticks if n < 12 else
        answers if n < 15 else
        insured if n < 17 else
        (candidates, opens, riches, transfers, settings_)[n - 17]
    )
)  # fmt: skip
QUIET = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def run(drawn: list[Any]) -> Twins:
    """The acts on both twins, compared after every frame; insurance is never below zero."""
    twins = Twins(BOOKS.frames)
    for act in drawn:
        for raw in act.build(twins):
            outputs = twins.model.ledger.outputs
            outcome = twins.apply(raw)
            template = head_of(raw)[0]
            assert twins.free(0) >= 0
            if template == Template.FILL and 0 in (
                decode(Template.FILL, raw).maker,
                decode(Template.FILL, raw).taker,
            ):
                event(f"insurance trades {f.Refusal(outcome.refusal).name}")
            if template == Template.CANDIDATE:
                made = twins.model.ledger.outputs - outputs
                event(
                    f"candidate {f.Refusal(outcome.refusal).name}, {len(outcome.legs)} legs, {made} outputs"
                )
                assert not (outcome.refusal and made) or head_of(raw)[2] != Source.RISK
    return twins


@QUIET
@given(st.lists(acts, min_size=5, max_size=30))
def test_liquidations_do_the_same_to_machine_and_model(drawn: list[Any]) -> None:
    twins = run(drawn)
    for raw in twins.model.ledger.outbox:
        if head_of(raw)[0] == Template.LIQUIDATION_ORDER:
            event(f"told {f.LiquidationKind(decode(Template.LIQUIDATION_ORDER, raw).kind).name}")


crash = st.lists(st.one_of(sweeps, ticks, answers, insured, moves, riches), min_size=3, max_size=15)


@QUIET
@given(markets, st.sampled_from([-15_000, 15_000, -40_000, 60_000, -90_000]), crash)
def test_a_crash_does_the_same_to_machine_and_model(market: int, ppm: int, drawn: list[Any]) -> None:
    fall = Move(market, ppm, TickKind.RISK, 0)
    twins = run([fall, Sweep(1, 0), Step(Template.TICK, {"kind": 2}, ns=TENTH_NS), Sweep(1, 0), *drawn])
    event(f"liquidations {min(3, twins.model.ledger.meta.liquidations)}")
