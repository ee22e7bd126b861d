"""Ticks taken together leave the books, the witness and the results that they leave one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.core.apply import Machine
from engine.core.funding import SAMPLES_MAX
from engine.core.params import Row, oracle_rule
from engine.core.views import TICKS, views_of
from kernels.frames import FRAME, TICK, ObservationKind, ParamKey, Refusal, TickKind
from kernels.layouts import MARKET_REDUCE_ONLY
from tests.engine.core.builders import HOUR_NS, PRICE, SCALES, SECOND_NS, WEIGHTS, Script, array_of, genesis
from tests.engine.core.twins import differences

BOOK = (ObservationKind.MID, ObservationKind.IMPACT_BID, ObservationKind.IMPACT_ASK)
MARKETS = len(SCALES)

heard = st.tuples(
    st.just("heard"),
    st.integers(0, MARKETS - 1),
    st.sampled_from([0, 1, -400, 90_000]),
    st.sampled_from([0, 0, -3 * SECOND_NS, SECOND_NS // 2, 3 * SECOND_NS]),
)
quoted = st.tuples(
    st.just("quoted"),
    st.integers(0, MARKETS - 1),
    st.sampled_from([0, 30_000, -700_001, 4_000_000]),
    st.sampled_from([0, 0, -8 * SECOND_NS, SECOND_NS, 5 * SECOND_NS]),
)
passed = st.tuples(
    st.just("passed"), st.integers(1, 2 * TICKS + 3), st.sampled_from([1, 1, 1, 3]), st.just(0)
)
odd = st.tuples(
    st.just("odd"),
    st.sampled_from(["risk", "open", "prev", "interval", "seq", "kind", "back"]),
    st.just(0),
    st.just(0),
)
ruled = st.tuples(st.just("ruled"), st.sampled_from([0, 7]), st.just(0), st.just(0))
steps = st.lists(st.one_of(heard, heard, quoted, quoted, passed, passed, odd, ruled), min_size=1, max_size=20)


def everybody(script: Script, price: int = PRICE) -> None:
    """A price from every provider of every market."""
    for m, weights in enumerate(WEIGHTS):
        for feed in range(len(weights)):
            script.observe(price, market=m, feed=feed, expo=SCALES[m][1] - SCALES[m][0])


def book(script: Script, m: int, off: int = 0, later_ns: int = 0) -> None:
    """Mid and impact prices of a market, off the index price by so much."""
    for k, kind in enumerate(BOOK):
        expo = SCALES[m][1] - SCALES[m][0]
        at_ns = max(1, script.now_ns + later_ns)
        script.observe(PRICE + off + 100 * (k == 2), market=m, kind=kind, expo=expo, publish_ns=at_ns)


def unsound(script: Script, what: str) -> None:
    """A tick that is no plain second."""
    before = script.now_ns
    if what in ("risk", "open"):
        script.tick(before + SECOND_NS // 10, TickKind.RISK if what == "risk" else TickKind.OPEN)
        return
    script.tick(before + (-SECOND_NS if what == "back" else SECOND_NS))
    row = np.frombuffer(bytearray(script.frames.pop()), TICK)
    if what != "back":
        row[{"prev": "prev_ns", "interval": "interval_ns", "seq": "seq", "kind": "kind"}[what]] += 5
    script.frames.append(row.tobytes())
    script.now_ns = before


def scripted(start_ns: int, window_ns: int, wanted: list[tuple[str, object, int, int]]) -> NDArray[np.void]:
    """Things heard and quoted, seconds without a word, ticks of other kinds, and new rules."""
    script, change = genesis(start_ns=start_ns), 2
    script.params([Row(ParamKey.BATCH_WINDOW_NS, 0, window_ns)], change=change)
    script.seconds(1)
    everybody(script)
    script.fill(1, 2, 5, PRICE)
    for what, which, a, b in wanted:
        if what == "passed":
            assert isinstance(which, int)
            for _ in range(which):
                script.tick(script.now_ns + a * SECOND_NS)
        elif what == "heard":
            for feed in range(len(WEIGHTS[int(str(which))])):
                m = int(str(which))
                expo, at_ns = SCALES[m][1] - SCALES[m][0], script.now_ns + b
                script.observe(PRICE + a, market=m, feed=feed, expo=expo, publish_ns=at_ns)
        elif what == "quoted":
            book(script, int(str(which)), a, b)
        elif what == "odd":
            unsound(script, str(which))
        else:
            change += 1
            later_ns = script.now_ns + int(str(which)) * SECOND_NS
            script.params([oracle_rule(0, "band_ppm", 900 + change)], change=change, not_before_ns=later_ns)
    script.seconds(3)
    return array_of(script.frames).view(FRAME)


def applied(frames: NDArray[np.void], at_once: int) -> tuple[Machine, bytes]:
    """(machine, every result) of frames applied so many a call: of one there is no run of ticks."""
    machine, results = Machine(capacity=at_once), b""
    views = views_of(frames)
    for start in range(0, len(frames), at_once):
        results += machine.apply(views, start, min(start + at_once, len(frames))).results.tobytes()
    return machine, results


def assert_same(frames: NDArray[np.void]) -> Machine:
    one, results = applied(frames, 1)
    for at_once in (len(frames), 7):
        many, of_many = applied(frames, at_once)
        assert differences(one.state.sections(), many.state.sections()) == []
        assert one.witness == many.witness and results == of_many
        for name in ("stands", "votes", "reasons"):
            assert getattr(one.books, name).tobytes() == getattr(many.books, name).tobytes()
    return one


starts = st.sampled_from([1000 * HOUR_NS, 1001 * HOUR_NS - 40 * SECOND_NS, 1000 * HOUR_NS + SECOND_NS // 4])


@settings(max_examples=60)
@given(starts, st.sampled_from([SECOND_NS, 7 * SECOND_NS, 60 * SECOND_NS]), steps)
def test_together_as_one_by_one(
    start_ns: int, window_ns: int, wanted: list[tuple[str, object, int, int]]
) -> None:
    assert_same(scripted(start_ns, window_ns, wanted))


def test_seconds_with_books_over_an_hours_end() -> None:
    script = genesis(start_ns=1001 * HOUR_NS - 45 * SECOND_NS)
    for turn in range(6):
        everybody(script, PRICE + 1000 * turn)
        for m in range(MARKETS):
            book(script, m, off=(-1) ** turn * 20_000 * m)
        script.seconds(20)
    machine = assert_same(array_of(script.frames).view(FRAME))
    assert machine.state.number("refused") == 0
    assert int(machine.books.markets[0]["epoch"]) == 2  # the opening was one


def test_what_a_run_must_leave_to_others_it_leaves() -> None:
    """A market that may only reduce, one sampled seldom, an interval that is full, an open liquidation."""
    script = genesis()
    everybody(script)
    script.seconds(1)
    before = array_of(script.frames).view(FRAME)
    script.frames.clear()
    everybody(script)
    script.seconds(2)
    after = array_of(script.frames).view(FRAME)
    changes = (
        ("markets", "state", MARKET_REDUCE_ONLY),
        ("markets", "sample_s", 60),
        ("markets", "seconds_valid", SAMPLES_MAX - 1),
        ("meta", "open_liquidations", 1),
    )
    for array, field, value in changes:
        machines = []
        for at_once in (1, len(after)):
            machine, _ = applied(before, len(before))
            getattr(machine.books, array)[0][field] = value
            views = views_of(after)
            for start in range(0, len(after), at_once):
                machine.apply(views, start, start + at_once)
            machines.append(machine)
        assert differences(machines[0].state.sections(), machines[1].state.sections()) == [], field
        assert machines[0].witness == machines[1].witness, field


def test_a_tick_behind_a_run_is_refused_by_name() -> None:
    script = genesis()
    everybody(script)
    script.seconds(4)
    unsound(script, "prev")
    frames = array_of(script.frames).view(FRAME)
    assert_same(frames)
    machine = Machine()
    refusals = machine.apply(views_of(frames), 0, len(frames)).results["refusal"]
    assert refusals[-5:].tolist() == [0, 0, 0, 0, Refusal.CLOCK_OUT_OF_ORDER]


def test_seconds_without_a_word_are_taken_together() -> None:
    """Otherwise everything above would show nothing: with its marks the run of ticks says that it was there."""
    script = genesis()
    everybody(script)
    script.seconds(3)
    frames = array_of(script.frames).view(FRAME)
    machine = Machine()
    boundaries = machine.apply(views_of(frames), 0, len(frames)).results["boundary"]
    assert boundaries[-3:].tolist() == [1, 1, 1]
    assert machine._scratch.marks[0] == int(machine.books.markets[0]["mark"]) == PRICE
    alone, _ = applied(frames, 1)
    assert not alone._scratch.marks.any()
