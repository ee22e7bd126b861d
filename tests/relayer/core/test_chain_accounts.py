"""Chain accounts fed with net deltas end equal to the books: size, cash, index, remainder and every total.

Random batches over random hours: opens, adds, closes, flips, self-trades, moves of collateral, changes of
mode, and losses that insurance covers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.apply import Machine
from engine.core.params import Row
from kernels.frames import (
    CandidateKind,
    ObservationKind,
    ParamKey,
    SettingKind,
    Template,
    TickKind,
    TransferKind,
)
from kernels.layouts import KNOBS, LEG_DELEVERAGE, LEG_TAKEOVER
from kernels.profiles import SKIP
from relayer.core.batch import Batch, Batcher
from tests.engine.core.builders import (
    HOUR_NS,
    PRICE,
    SCALES,
    SECOND_NS,
    WEIGHTS,
    Script,
    array_of,
    genesis,
    views,
)
from tests.relayer.core.chain_accounts import Chain, Delta, OutOfOrder, Position, Unbalanced

MARKETS = range(len(SCALES))
D = {m: 10**price_exp for m, (price_exp, _) in enumerate(SCALES)}
KINDS = (
    "fill",
    "fill",
    "fill",
    "fill",
    "far",
    "self",
    "close",
    "flip",
    "in",
    "out",
    "cross",
    "second",
    "hour",
    "hour",
    "crash",
    "risk",
    "risk",
    "reduce",
    "spread",
)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.integers(1, 5),
        st.integers(1, 5),
        st.integers(-50, 50).filter(bool) | st.sampled_from([10**6, -(10**7)]),
        st.sampled_from(MARKETS),
        st.integers(-9, 9),
    ),
    min_size=5,
    max_size=60,
)


class Settled(NamedTuple):
    """A batch, and the epoch that each market was in."""

    batch: Batch
    epochs: dict[int, int]


class Books:
    """The engine's books, a frame at a time, and a chain that hears only of batches and indices."""

    def __init__(self, script: Script) -> None:
        self.script, self.machine, self.batcher = script, Machine(capacity=1), Batcher()
        self.chain = Chain(D)
        self.settled: list[Settled] = []
        self.covered = 0
        self.kinds: set[int] = set()
        self.charged = 0
        self._done = 0

    def catch_up(self) -> None:
        """Fold what the script has grown by."""
        for raw in self.script.frames[self._done :]:
            epochs = {m: int(self.market(m)["epoch"]) for m in MARKETS}
            for m in MARKETS:
                self.chain.learn(m, epochs[m], int(self.market(m)["index_e6"]))
            applied = self.machine.apply(views([raw]), 0, 1)
            self._done += 1
            covers = applied.legs["cover"]
            self.covered += int(covers[covers > 0].sum())
            self.charged -= int(covers[covers < 0].sum())
            self.kinds |= set(applied.legs["kind"].tolist())
            for batch in self.batcher.feed(array_of([raw]), self._done, applied.results, applied.legs):
                self.settled.append(Settled(batch, epochs))

    def market(self, number: int) -> Any:
        return self.machine.books.markets[number]

    def positions(self) -> dict[tuple[int, int], Any]:
        rows = self.machine.books.positions[: self.machine.state.number("positions")]
        return {(int(row["account"]), int(row["market"])): row for row in rows}

    def size(self, account: int, market: int) -> int:
        row = self.positions().get((account, market))
        return 0 if row is None else int(row["size"])


def opened() -> Books:
    """Three markets whose funding is due from a single sample on, one of which does not round; insurance."""
    script = genesis()
    knobs = {"valid_min": 0, "missing": SKIP}
    rows = [
        Row(ParamKey.MARKET_KNOB, m, KNOBS.index(name), value)
        for m in MARKETS
        for name, value in knobs.items()
    ]
    script.params(rows, change=2)
    script.deposit(0, 3 * 10**8)
    script.seconds(2)
    return Books(script)


def price_now(script: Script, market: int, percent: int) -> int:
    """Oracles and the middle of the book say a price, apart from each other so that funding is due."""
    price = PRICE + PRICE // 100 * percent
    expo = SCALES[market][1] - SCALES[market][0]
    for k in range(len(WEIGHTS[market])):
        script.observe(price, market=market, feed=k, expo=expo, conf=900)
    script.observe(price + price // 300, market=market, kind=ObservationKind.MID, expo=expo)
    return price


def step(books: Books, event: tuple[str, int, int, int, int, int]) -> None:
    """One event, as `KINDS` names it."""
    what, maker, taker, size, market, percent = event
    script = books.script
    if what in ("fill", "self", "far"):
        price = PRICE + PRICE // 100 * percent * (8 if what == "far" else 1)
        script.fill(maker, maker if what == "self" else taker, size, price, market=market)
    elif what in ("close", "flip"):
        held = books.size(taker, market)
        if held:
            script.fill(maker, taker, -held if what == "close" else -2 * held, PRICE, market=market)
    elif what in ("in", "out"):
        kind = TransferKind.TO_POSITION if what == "in" else TransferKind.FROM_POSITION
        script.move(kind, maker, 1_000_000 * taker, market=market)
    elif what in ("risk", "spread"):
        liquidate(books, maker, market, what == "spread")
    elif what == "reduce":
        answer_orders(books, maker)
    elif what == "crash":
        price_now(script, market, percent)
        script.tick(script.now_ns + SECOND_NS // 2, TickKind.RISK)
    elif what == "cross":
        script.setting(maker, SettingKind.MARGIN_MODE, taker % 2, market=market)
    else:
        price_now(script, market, percent)
        script.seconds(1)
        if what == "hour":
            script.tick((script.now_ns // HOUR_NS + 1) * HOUR_NS)
    books.catch_up()


def liquidate(books: Books, counterparty: int, market: int, spread: bool) -> None:
    """A candidate for every position in a market, whether it lacks margin or not; maybe one to deleverage it."""
    script = books.script
    for account, m in books.positions():
        if m != market:
            continue
        for kind in (CandidateKind.LIQUIDATE, CandidateKind.DELEVERAGE)[: 2 if spread else 1]:
            fields = {"account": account, "kind": kind, "counterparty": counterparty}
            script.add(Template.CANDIDATE, market=market, **fields)


def answer_orders(books: Books, maker: int) -> None:
    """Half of every reduce-only order is filled at the mark."""
    rows = books.machine.books.liquidations[: books.machine.state.number("open_liquidations")]
    for row in rows:
        size, m = int(row["size"]), int(row["market"])
        if size and int(row["account"]) != maker:
            half = size // 2 or size
            books.script.fill(maker, int(row["account"]), half, int(books.market(m)["mark"]), market=m)


def finish(books: Books) -> None:
    """Close the open batch."""
    books.script.tick(books.script.now_ns + 3 * SECOND_NS)
    books.catch_up()
    assert books.batcher.open_fills == 0


def rows_of(batch: Batch) -> list[Delta]:
    return [Delta(*(int(value) for value in row)) for row in batch.deltas]


def settle_all(chain: Chain, settled: list[Settled]) -> None:
    for batch, epochs in settled:
        chain.settle(batch.number, rows_of(batch), dict(batch.fees), epochs)


def assert_equal(chain: Chain, books: Books) -> None:
    """To the unit: every position that was ever touched, and the sums of every market."""
    touched = books.positions()
    for key, held in chain.positions.items():
        row = touched[key]
        assert (held.size, held.cash, held.idx, held.rem) == tuple(
            int(row[name]) for name in ("size", "cash", "idx", "rem")
        ), key
    for key, row in touched.items():
        if key not in chain.positions:
            assert [int(row[name]) for name in ("size", "cash", "rem")] == [0, 0, 0]
    for m, total in chain.totals.items():
        row = books.market(m)
        size_idx = (int(row["sum_size_idx_hi"]) << 64) + (int(row["sum_size_idx_lo"]) & (2**64 - 1))
        ours = tuple(int(row[name]) for name in ("sum_size", "sum_cash", "sum_rem", "moved_in"))
        assert (total.size, total.cash, total.rem, total.moved_in) == ours
        assert total.size_idx == size_idx


@given(EVENTS)
@settings(max_examples=40)
def test_a_chain_fed_with_net_deltas_ends_equal_to_the_books(
    events: list[tuple[str, int, int, int, int, int]],
) -> None:
    books = opened()
    for event in events:
        step(books, event)
    finish(books)
    settle_all(books.chain, books.settled)
    assert_equal(books.chain, books)


def busy() -> Books:
    """A fixed run with everything in it: three markets, three hours, flips, closes, covers."""
    books = opened()
    for hour in range(3):
        for m in MARKETS:
            events = [("fill", 1, 2, 40 + hour, m, 0), ("fill", 3, 2, -7, m, 1), ("self", 4, 4, 9, m, 0)]
            events += [("in", 1, 3, 1, m, 0), ("flip", 3, 2, 1, m, 0), ("cross", 5, 1, 1, m, 0)]
            events += [("second", 1, 1, 1, m, 2), ("far", 5, 1, 10**6, m, 5), ("far", 5, 1, -(10**6), m, -5)]
            for event in events:
                step(books, event)
        step(books, ("hour", 1, 1, 1, hour % 3, 3))
        for m in MARKETS:
            step(books, ("close", 3, 2, 1, m, 0))
    finish(books)
    return books


def test_takeovers_fees_and_deleveraging_are_ordinary_deltas() -> None:
    """Positions at 20x, a crash by steps, orders half filled, insurance, then who stands on the other side."""
    books = opened()
    script = books.script
    for account in (2, 3):
        script.setting(account, SettingKind.LEVERAGE, 20)
    script.deposit(2, 10**13)
    script.deposit(3, 10**13)
    script.deposit(1, 10**14)
    script.params([Row(ParamKey.MARKET_BAND, 0, 500_000)], change=3)
    script.seconds(1)
    for account in (2, 3):
        script.fill(1, account, 500, PRICE)
    books.catch_up()
    for percent in (-3, -3, -4):
        step(books, ("crash", 1, 1, 1, 0, percent))
        step(books, ("risk", 1, 1, 1, 0, 0))
        step(books, ("reduce", 1, 1, 1, 0, 0))
    step(books, ("crash", 1, 1, 1, 0, -8))
    step(books, ("risk", 1, 1, 1, 0, 0))
    script.setting(4, SettingKind.LEVERAGE, 20)
    script.deposit(4, 10**13)
    script.fill(1, 4, 500, PRICE * 92 // 100)
    step(books, ("crash", 1, 1, 1, 0, -16))
    step(books, ("risk", 1, 1, 1, 0, 0))
    step(books, ("spread", 1, 1, 1, 0, 0))
    step(books, ("hour", 1, 1, 1, 0, -9))
    finish(books)
    assert {LEG_TAKEOVER, LEG_DELEVERAGE} <= books.kinds
    assert books.charged > 0, "liquidation fees were paid"
    assert (books.size(2, 0), books.size(3, 0), books.size(4, 0)) == (0, 0, 0)
    settle_all(books.chain, books.settled)
    assert_equal(books.chain, books)


def test_the_fixed_run_has_what_it_is_for() -> None:
    books = busy()
    settle_all(books.chain, books.settled)
    assert_equal(books.chain, books)
    assert len(books.settled) > 6
    assert books.covered > 0, "insurance covered a loss"
    assert any(index for index in books.chain.ring.values()), "funding was paid"
    assert any(held.rem for held in books.chain.positions.values()), "something is carried"
    epochs = {tuple(epochs.items()) for _, epochs in books.settled}
    assert len(epochs) > 2, "batches of several hours"


def disorders(settled: list[Settled]) -> Iterator[list[Settled]]:
    """Each batch twice; each pair of neighbours that share a position the other way round; the first left out."""
    for at, one in enumerate(settled):
        yield [*settled[: at + 1], one]
        rest = settled[at + 1 :]
        if rest:
            shared = {row[:2] for row in rows_of(one.batch)} & {row[:2] for row in rows_of(rest[0].batch)}
            if shared:
                yield [*settled[:at], rest[0], one]
    yield settled[1:]


def test_batches_out_of_order_are_refused() -> None:
    books = busy()
    tried = list(disorders(books.settled))
    assert len(tried) > len(books.settled) + 3
    for order in tried:
        chain = Chain(D, dict(books.chain.ring))
        with pytest.raises(OutOfOrder):
            settle_all(chain, order)


def test_batches_that_share_no_position_may_run_in_either_order() -> None:
    books = opened()
    step(books, ("fill", 1, 2, 5, 0, 0))
    step(books, ("second", 1, 1, 1, 0, 0))
    step(books, ("fill", 3, 4, 5, 1, 0))
    finish(books)
    assert len(books.settled) == 2
    settle_all(books.chain, books.settled[::-1])
    assert_equal(books.chain, books)


def test_a_live_index_or_a_unit_more_is_seen() -> None:
    """What MONEY.md warns of: settling at the index of now instead of the batch's epoch diverges."""
    books = busy()
    newest = {m: max(e for n, e in books.chain.ring if n == m) for m in MARKETS}
    live = Chain(D, dict(books.chain.ring))
    settle_all(live, [Settled(batch, newest) for batch, _ in books.settled])
    with pytest.raises(AssertionError):
        assert_equal(live, books)
    for field in ("dsize", "dcash", "transfer", "cover"):
        chain, (batch, epochs) = Chain(D, dict(books.chain.ring)), books.settled[0]
        first, *rest = rows_of(batch)
        one_more = first._replace(**{field: getattr(first, field) + 1})
        if field in ("dsize", "dcash"):
            with pytest.raises(Unbalanced):
                chain.settle(batch.number, [one_more, *rest], dict(batch.fees), epochs)
            continue
        # Money moved in from outside is seen only against the books, which know where it came from.
        chain.settle(batch.number, [one_more, *rest], dict(batch.fees), epochs)
        settle_all(chain, books.settled[1:])
        with pytest.raises(AssertionError):
            assert_equal(chain, books)


def test_an_index_of_an_epoch_cannot_change() -> None:
    chain = Chain(D)
    chain.learn(0, 1, 5)
    with pytest.raises(Unbalanced):
        chain.learn(0, 1, 6)
    assert chain.positions.get((1, 0), Position()) == Position()
