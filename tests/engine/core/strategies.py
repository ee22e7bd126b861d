"""Hypothesis strategies for frames of every template, from the plausible to the hostile.

A drawn step names its numbers relative to the state (`Next`), so that long runs stay in play; `build` makes
the frame when the step is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from engine.core.params import Row, oracle_rule, stage
from kernels import frames as f
from kernels import oracle_rules
from kernels.frames import ParamKey, Source, Template
from kernels.layouts import KNOBS, LIMIT, PRICE_MAX, PRICE_MIN
from kernels.profiles import BOUNDS
from relayer.verify.model_prices import MarketPrices
from tests.engine.core.builders import HOUR_NS, PRICE, SECOND_NS, SOURCES, frame, key_of
from tests.engine.core.twins import Twins

INT64 = [0, 1, -1, 2**63 - 1, -(2**63), LIMIT, -LIMIT, LIMIT + 1, 2**53]
INT32 = [0, -1, 2**31 - 1, -(2**31)]


def clipped(value: int) -> int:
    """The nearest int64."""
    return max(-(2**63), min(2**63 - 1, value))


@dataclass(frozen=True)
class Step:
    """A frame to be, its numbers still relative: `seq` to the source's next, `number` to the account's next
    event or nonce, `ns` to the clock. An absent `number` or `ns` leaves the payload as drawn."""

    template: Template
    payload: dict[str, int] = field(default_factory=dict)
    market: int = 0
    flags: int = 0
    seq: int = 0
    source: int | None = None
    number: int | None = None
    ns: int | None = None

    def build(self, twins: Twins) -> list[bytes]:
        """The frame, numbered for the state that the twins are in."""
        payload = dict(self.payload)
        ledger = twins.model.ledger
        if self.number is not None:
            at = payload["account"]
            owner = ledger.accounts[at] if 0 <= at < len(ledger.accounts) else ledger.accounts[0]
            deposit = self.template == Template.TRANSFER and self.flags == f.TransferKind.DEPOSIT
            name = "nonce" if self.template == Template.SETTING else "event_no"
            payload[name] = (owner.event_no if deposit else owner.nonce) + 1 + self.number
        if self.ns is not None and self.template == Template.OBSERVATION:
            payload["publish_ns"] = ledger.meta.now_ns + self.ns
        if self.ns is not None and self.template == Template.TICK:
            last = ledger.meta.now_ns
            payload["now_ns"] = (last // HOUR_NS + 1) * HOUR_NS if self.ns == 0 else last + self.ns
            payload["prev_ns"], payload["interval_ns"] = last, payload["now_ns"] - last
        source = SOURCES.get(self.template, Source.MATCHING) if self.source is None else self.source
        seq = clipped(twins.next_seq(source) + self.seq)
        payload = {name: clipped(value) for name, value in payload.items()}
        return [frame(self.template, seq, source=source, market=self.market, flags=self.flags, **payload)]


@dataclass(frozen=True)
class Change:
    """A staged change and its commit row, which may lie about count, change or digest."""

    rows: list[Row]
    change: int
    not_before: int
    lie: str

    def build(self, twins: Twins) -> list[bytes]:
        """All frames of the change."""
        start = twins.next_seq(Source.ADMIN)
        due = clipped(twins.model.ledger.meta.now_ns + self.not_before)
        frames = stage(self.rows, change=self.change, not_before_ns=due, first_seq=start)
        if self.lie:
            frames[-1][self.lie] ^= 1
        return [row.tobytes() for row in frames]


@dataclass(frozen=True)
class Hour:
    """Not a frame: pretend that an hour's samples were these, in both twins, so that the next hour pays."""

    premium_sum_e12: int
    seconds_valid: int
    pay_price: int

    def build(self, twins: Twins) -> list[bytes]:
        """Writes the samples; no frame."""
        names = ("premium_sum_e12", "seconds_valid", "pay_price")
        for number in range(twins.model.ledger.tables.count):
            row = twins.machine.books.markets[number]
            for name in names:
                row[name] = getattr(self, name)
            twins.model.adopt_prices(number, MarketPrices(*(int(row[n]) for n in MarketPrices._fields)))
        return []


def mostly(usual: st.SearchStrategy[Any], rare: list[Any]) -> st.SearchStrategy[Any]:
    """The usual, and now and then something from `rare`."""
    return st.integers(0, 9).flatmap(lambda n: usual if n else st.sampled_from(rare))


accounts = mostly(st.integers(1, 5), [0, 6, *INT32])
markets = mostly(st.integers(0, 2), [-1, 3, 255, -(2**15), 2**15 - 1])
prices = mostly(
    st.sampled_from([PRICE, PRICE + 1, PRICE * 101 // 100, PRICE // 2, 2 * PRICE]),
    [PRICE_MIN, PRICE_MAX, PRICE_MIN - 1, PRICE_MAX + 1, 333_333_333, *INT64],
)
sizes = mostly(
    st.integers(-3000, 3000),
    [10**6, -(10**6), 128_102_389, -128_102_389, 128_102_390, 10**11, -(10**11), 2**37, *INT64],
)
quotes = mostly(st.integers(1, 10**9), [10**12, 10**15, LIMIT, LIMIT + 1, 0, -1, *INT64])
numbers = mostly(st.just(0), [1, -1])
sequences = mostly(mostly(st.just(0), [1, -1]), [0, 1, -1, 2**63 - 1, -(2**63)])
sources = mostly(st.none(), [*range(9), 200])
words = st.sampled_from(INT64)


def step(template: Template, payload: dict[str, st.SearchStrategy[int]], **rest: Any) -> Any:
    """Strategy of a Step with these payload fields."""
    return st.builds(
        Step,
        st.just(template),
        st.fixed_dictionaries(payload),
        market=markets,
        seq=sequences,
        source=sources,
        **rest,
    )


fills = step(Template.FILL, {"maker": accounts, "taker": accounts, "price": prices, "size": sizes})
transfers = step(
    Template.TRANSFER,
    {"account": mostly(st.integers(0, 5), [6, *INT32]), "quote_e6": quotes, "event_no": words},
    flags=mostly(st.integers(1, 4), [0, 5, 255]),
    number=mostly(numbers, [None]),
)
settings_ = step(
    Template.SETTING,
    {
        "account": accounts,
        "kind": mostly(st.integers(1, 2), [0, 3, *INT32]),
        "value": mostly(st.sampled_from([0, 1, 5, 10, 20, 21, 50]), [51, 100, 101, *INT64]),
        "nonce": words,
    },
    number=mostly(numbers, [None]),
)
observations = step(
    Template.OBSERVATION,
    {
        "price": prices,
        "conf": mostly(st.integers(0, 10**6), [PRICE, -1, -4, *INT64]),
        "feed": mostly(st.integers(0, 2), [3, 12, 13, *INT32]),
        "expo": mostly(st.sampled_from([0, -4, 9, 8, -9]), [1, -1, 5, 18, -18, 19, -(2**15), 2**15 - 1]),
        "kind": mostly(st.integers(0, 3), [4, -1, 2**15 - 1]),
        "publish_ns": words,
    },
    ns=mostly(st.sampled_from([0, -SECOND_NS, 1, -11 * SECOND_NS, -10 * SECOND_NS]), [None]),
)
ticks = step(
    Template.TICK,
    {
        "kind": mostly(st.sampled_from([1, 1, 1, 2, 2, 0]), [3, -1]),
        "now_ns": words,
        "prev_ns": words,
        "interval_ns": words,
    },
    ns=mostly(
        st.sampled_from([SECOND_NS, SECOND_NS, SECOND_NS // 10, 0, 3 * SECOND_NS, 3 * HOUR_NS]), [None, -1]
    ),
)
new_accounts = st.integers(0, 12).flatmap(
    lambda n: step(
        Template.ACCOUNT,
        {
            **{name: st.just(value) for name, value in key_of(n).items()},
            "tier": mostly(st.integers(0, 1), [2, 16, -1, 2**31 - 1]),
        },
    )
)
outcomes = step(
    Template.OUTCOME,
    {"batch": mostly(st.integers(0, 3), INT64), "stage": mostly(st.integers(1, 3), [0, 4, -1])},
)
corrections = step(
    Template.CORRECTION,
    {
        "kind": mostly(st.integers(1, 4), [0, 5, *INT32]),
        "refused_source": mostly(st.just(1), [0, 2, *INT32]),
        "refused_seq": mostly(st.integers(1, 8), INT64),
    },
)
upgrades = step(Template.UPGRADE, {"rules": st.sampled_from([0, 1, 2, -1])})
strangers = st.sampled_from(
    [Template.CANDIDATE, Template.PART, Template.REFUSAL, Template.ACK, Template.STATUS]
).flatmap(lambda template: step(template, {}))

_NUMBERS = [1, 5, 10, 20, 50, 100, 1000, 10**6, 10**9, 10**10, 10**12, 10**12 + 1]
param_rows = st.builds(
    Row,
    st.sampled_from([key for key in ParamKey if key not in (ParamKey.COMMIT, ParamKey.FEED)]),
    mostly(st.integers(0, 4), [-1, 15, 16, 255, 256, 2**15 - 1]),
    mostly(st.sampled_from(_NUMBERS), INT64),
    mostly(st.sampled_from([*_NUMBERS, -1, -10]), INT64),
)
# No two or three of these weights hold half of any three votes.
feed_rows = st.builds(
    Row,
    st.just(ParamKey.FEED),
    mostly(st.integers(0, 3), [-1, 256]),
    mostly(st.integers(0, 4), [12, 13, -1, *INT64]),
    mostly(st.sampled_from([2, 3, 0]), [-1, 10**6 + 1]),
)
rule_rows = st.one_of(
    st.builds(Row, st.just(ParamKey.MARKET_PROFILE), st.integers(0, 3), st.integers(-1, 6), st.just(0)),
    st.sampled_from([(name, bound) for name in KNOBS[1:] for bound in BOUNDS[name]]).flatmap(
        lambda knob: st.builds(
            Row,
            st.just(ParamKey.MARKET_KNOB),
            st.integers(0, 3),
            st.just(KNOBS.index(knob[0])),
            st.just(knob[1]),
        )
    ),
)
oracle_rows = st.sampled_from(
    [
        (name, bound + beside)
        for name, bounds in oracle_rules.BOUNDS.items()
        for bound in bounds
        for beside in (0, 1, -1)
    ]
).flatmap(lambda rule: st.builds(oracle_rule, st.integers(0, 3), st.just(rule[0]), st.just(rule[1])))
new_market = st.sampled_from([(3, 0), (4, 9), (7, 2), (6, 6)]).map(
    lambda e: [
        Row(ParamKey.MARKET_SCALE, 3, *e),
        Row(ParamKey.MARKET_LEVERAGE, 3, 5, 20),
        Row(ParamKey.MARKET_FUNDING, 3, 10**9, 10**11),
        Row(ParamKey.MARKET_BAND, 3, 10**4),
        Row(ParamKey.FEED, 3, 0, 2),
        oracle_rule(3, "alone", 1),
    ]
)
changes = st.builds(
    Change,
    st.one_of(st.lists(st.one_of(param_rows, feed_rows, rule_rows, oracle_rows), max_size=3), new_market),
    st.integers(1, 3),
    mostly(st.just(0), [SECOND_NS, HOUR_NS, -(10**18)]),
    mostly(st.just(""), ["of", "change", "value", "value2"]),
)
loose_rows = step(
    Template.PARAM,
    {
        "change": st.integers(0, 2),
        "key": mostly(st.sampled_from([int(key) for key in ParamKey]), [5, -1, 2**15 - 1]),
        "row": mostly(st.integers(0, 3), [-1, 2**15 - 1]),
        "value": words,
        "value2": words,
        "of": st.integers(0, 2),
    },
)
hours = st.builds(
    Hour,
    st.sampled_from([0, 3600 * 10**9, -(10**15), 10**17, -(10**17), 18 * 10**13, -18 * 10**13 - 1]),
    st.sampled_from([1199, 1200, 3600]),
    st.sampled_from([PRICE, PRICE_MIN, PRICE_MAX]),
)
steps = st.integers(0, 39).flatmap(
    lambda n: (
        fills if n < 14 else
        ticks if n < 20 else
        transfers if n < 24 else
        observations if n < 28 else
        settings_ if n < 31 else
        hours if n < 33 else
        changes if n < 34 else
        loose_rows if n < 35 else
        (new_accounts, outcomes, corrections, upgrades, strangers)[n - 35]
    )
)  # fmt: skip


@dataclass(frozen=True)
class PaidHour:
    """An hour that pays at this premium and price, then fills: (market, maker, taker, size)."""

    premium_sum_e12: int
    pay_price: int
    fills: list[tuple[int, int, int, int]]

    def build(self, twins: Twins) -> list[bytes]:
        """The tick of the hour and the fills after it."""
        Hour(self.premium_sum_e12, 3600, self.pay_price).build(twins)
        frames = Step(Template.TICK, {"kind": 1}, ns=0).build(twins)
        seq = twins.next_seq(Source.MATCHING)
        for k, (market, maker, taker, size) in enumerate(self.fills):
            fill = {"maker": maker, "taker": taker, "size": size, "price": PRICE}
            frames.append(frame(Template.FILL, seq + k, market=market, **fill))
        return frames


_account = st.integers(1, 4)
paid_hours = st.builds(
    PaidHour,
    st.integers(-(18 * 10**13), 18 * 10**13),
    st.integers(PRICE_MIN, PRICE_MAX),
    st.lists(
        st.tuples(st.integers(0, 2), _account, _account, st.sampled_from([1, -1, 7, -13, 500])), max_size=5
    ),
)
