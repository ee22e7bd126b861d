"""A price that stands is not decided anew, and nobody can tell: books, votes and reasons are those of every round
in full."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.core.apply import Machine
from engine.core.params import oracle_rule
from engine.core.prices import UNHEARD
from engine.core.views import views_of
from kernels.frames import FRAME, ObservationKind, TickKind
from kernels.layouts import FEED_SLOTS, STATUS_OK
from tests.engine.core.builders import HOUR_NS, PRICE, SECOND_NS, Script, array_of, genesis, genesis_rows
from tests.engine.core.twins import differences

MARKET = 0
TENTH_NS = SECOND_NS // 10

said = st.tuples(
    st.just("said"),
    st.integers(0, 2),
    st.sampled_from([0, 1, -400, 90_000, 20_000_000, 40_000_000, -60_000_000]),
    st.sampled_from([0, 0, 0, -SECOND_NS, -4 * SECOND_NS, SECOND_NS // 2, 3 * SECOND_NS, 20 * SECOND_NS]),
)
passed = st.tuples(
    st.just("passed"),
    st.integers(1, 12),
    st.sampled_from([TickKind.SECOND] * 3 + [TickKind.RISK]),
    st.just(0),
)
opened = st.tuples(st.just("opened"), st.integers(1, 30), st.just(0), st.just(0))
ruled = st.tuples(st.just("ruled"), st.sampled_from([50, 1_000, 100_000]), st.just(0), st.just(0))
steps = st.lists(st.one_of(said, said, said, passed, passed, passed, opened, ruled), min_size=1, max_size=25)


def without_a_price() -> Script:
    """The tables of `genesis`, and nobody who has said anything."""
    script = Script()
    script.params(genesis_rows())
    script.tick(1000 * HOUR_NS, TickKind.OPEN)
    return script


def scripted(script: Script, wanted: list[tuple[str, int, int, int]]) -> NDArray[np.void]:
    """Providers of one market say things, time passes with nobody saying anything, the clock opens, rules change."""
    change = 1
    for what, a, b, c in wanted:
        if what == "said":
            for feed in {a, 2} if c == 0 else {a}:
                script.observe(PRICE + b, market=MARKET, feed=feed, publish_ns=script.now_ns + c)
        elif what == "passed":
            step = TENTH_NS if b == TickKind.RISK else SECOND_NS
            for _ in range(a):
                script.tick(script.now_ns + step, TickKind(b))
        elif what == "opened":
            script.tick(script.now_ns + a * SECOND_NS, TickKind.OPEN)
        else:
            change += 1
            script.params([oracle_rule(MARKET, "band_ppm", a)], change=change)
    script.seconds(2)
    return array_of(script.frames).view(FRAME)


def folded(frames: NDArray[np.void], in_full: bool) -> tuple[Machine, int, list[bytes]]:
    """(machine, ticks at which a price stood, what was seen of votes and reasons after each frame)."""
    machine, stood, seen = Machine(capacity=1), 0, []
    views = views_of(frames)
    for at in range(len(frames)):
        if in_full:
            machine.books.stands[:] = 0
        stood += int(machine.books.stands[MARKET] != 0)
        machine.apply(views, at, at + 1)
        heard = slice(MARKET * FEED_SLOTS, (MARKET + 1) * FEED_SLOTS)
        seen.append(machine.books.votes[heard].tobytes() + machine.books.reasons[heard].tobytes())
    return machine, stood, seen


@settings(max_examples=80)
@given(st.booleans(), steps)
def test_nobody_can_tell(priced: bool, wanted: list[tuple[str, int, int, int]]) -> None:
    frames = scripted(genesis() if priced else without_a_price(), wanted)
    short, _, seen = folded(frames, in_full=False)
    full, _, seen_in_full = folded(frames, in_full=True)
    assert differences(short.state.sections(), full.state.sections()) == []
    assert (short.witness, seen) == (full.witness, seen_in_full)


def quiet(script: Script, seconds: int) -> list[int]:
    """Until when the price stands, after each of so many seconds without a word. Counted from then, in seconds."""
    machine = Machine()
    out = []
    frames = array_of(script.frames).view(FRAME)
    machine.apply(views_of(frames), 0, len(frames))
    for _ in range(seconds):
        script.frames.clear()
        script.seconds(1)
        tick = array_of(script.frames).view(FRAME)
        machine.apply(views_of(tick), 0, 1)
        out.append((int(machine.books.stands[MARKET]) - script.now_ns) // SECOND_NS)
    return out


def everybody(script: Script, price: int) -> None:
    for feed in range(3):
        script.observe(price, market=MARKET, feed=feed)


def test_a_price_stands_until_its_oldest_vote_is_too_old() -> None:
    script = genesis()
    everybody(script, PRICE)
    limit = quiet(script, 1)[0] + 1
    assert limit == 3, "what its leverage allows"
    script = genesis()
    everybody(script, PRICE)
    left = quiet(script, limit + 2)
    assert left[:limit] == list(range(limit - 1, -1, -1))
    assert max(left[limit:]) < 0


def test_a_market_without_a_word_has_no_price_until_the_first() -> None:
    """Also where all that was ever said is too old; not where it will count later."""
    unheard = int(
        folded(array_of(without_a_price().frames).view(FRAME), in_full=False)[0].books.stands[MARKET]
    )
    assert unheard == 0, "an opening decides nothing"
    for publish_s, expected in ((None, UNHEARD), (-3600, UNHEARD), (7, 0)):
        script = without_a_price()
        if publish_s is not None:
            script.observe(PRICE, market=MARKET, publish_ns=script.now_ns + publish_s * SECOND_NS)
        script.seconds(2)
        frames = array_of(script.frames).view(FRAME)
        machine, stood, _ = folded(frames, in_full=False)
        assert int(machine.books.stands[MARKET]) == expected
        assert stood == (1 if expected else 0)


def test_a_word_of_a_provider_ends_it_and_one_of_the_book_does_not() -> None:
    script = genesis()
    everybody(script, PRICE)
    script.seconds(1)
    machine = Machine()
    frames = array_of(script.frames).view(FRAME)
    machine.apply(views_of(frames), 0, len(frames))
    assert int(machine.books.markets[MARKET]["status"]) == STATUS_OK
    for kind, stands in ((ObservationKind.MID, True), (ObservationKind.ORACLE, False)):
        script.frames.clear()
        script.observe(PRICE, market=MARKET, kind=kind)
        said_so = array_of(script.frames).view(FRAME)
        machine.apply(views_of(said_so), 0, 1)
        assert (int(machine.books.stands[MARKET]) > 0) is stands
