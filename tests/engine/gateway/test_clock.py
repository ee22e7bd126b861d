"""The engine's clock against wall clocks that lie: steps, jumps, pauses, a day forth and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.gateway.clock import (
    BELIEVED_NS,
    JUMP_NS,
    PAUSE_NS,
    RISK_NS,
    SECOND_NS,
    SteadyTime,
    Tick,
    next_tick,
    wait_ns,
)
from kernels.frames import TickKind

START_NS = 1_700_000_000 * SECOND_NS
HOUR_NS = 3600 * SECOND_NS
DAY_NS = 24 * HOUR_NS
MS = 1_000_000


def test_it_follows_a_wall_clock_that_runs_like_the_other() -> None:
    steady = SteadyTime(START_NS, 5)
    assert steady.read(START_NS + 70 * MS, 5 + 70 * MS) == START_NS + 70 * MS
    assert steady.off_ns == 0


@pytest.mark.parametrize("off", [300 * MS, -300 * MS])
def test_a_small_correction_is_taken_up_gradually(off: int) -> None:
    steady = SteadyTime(START_NS, 0)
    first = steady.read(START_NS + SECOND_NS + off, SECOND_NS)
    assert abs(first - (START_NS + SECOND_NS)) == MS
    for second in range(2, 400):
        steady.read(START_NS + second * SECOND_NS + off, second * SECOND_NS)
    assert steady.off_ns == 0


def test_a_day_forward_is_believed_only_after_a_while() -> None:
    steady = SteadyTime(START_NS, 0)
    step = 100 * MS
    for k in range(1, BELIEVED_NS // step + 1):
        assert steady.read(START_NS + k * step + DAY_NS, k * step) == START_NS + k * step
    k = BELIEVED_NS // step + 1
    assert steady.read(START_NS + k * step + DAY_NS, k * step) == START_NS + k * step + DAY_NS


def test_a_jump_that_is_taken_back_leaves_no_trace() -> None:
    steady = SteadyTime(START_NS, 0)
    for k in range(1, 1000):
        jumped = DAY_NS if k % 90 else 0
        now = k * 100 * MS
        assert steady.read(START_NS + now + jumped, now) == START_NS + now


def test_a_day_back_is_never_followed() -> None:
    steady = SteadyTime(START_NS, 0)
    for k in range(1, 300):
        assert steady.read(START_NS + k * SECOND_NS - DAY_NS, k * SECOND_NS) == START_NS + k * SECOND_NS
    assert steady.off_ns == -DAY_NS


@given(st.lists(st.tuples(st.integers(0, 20 * SECOND_NS), st.integers(-2 * DAY_NS, 2 * DAY_NS)), max_size=60))
def test_no_wall_clock_makes_time_go_back_or_each_interval_count_twice(steps: list[tuple[int, int]]) -> None:
    steady, mono, books, running = SteadyTime(START_NS, 0), 0, START_NS, False
    before = START_NS
    covered = paused = 0
    for passed, off in steps:
        mono += passed
        at = steady.read(START_NS + mono + off, mono)
        assert at >= before
        before = at
        while (tick := next_tick(at, books, running)) is not None:
            assert tick.now_ns > books and tick.now_ns <= at and tick.now_ns % RISK_NS == 0
            if tick.kind == TickKind.OPEN:
                paused += tick.now_ns - books
            else:
                assert tick.interval_ns == tick.now_ns - books and tick.now_ns - books <= PAUSE_NS
                assert (tick.kind == TickKind.SECOND) == (tick.now_ns % SECOND_NS == 0)
                covered += tick.interval_ns
            books, running = tick.now_ns, True
    assert covered + paused == books - START_NS


def test_seconds_come_on_time_and_nine_risk_ticks_between() -> None:
    books, running, kinds = START_NS, True, []
    for ms in range(0, 2001, 20):
        while (tick := next_tick(START_NS + ms * MS, books, running)) is not None:
            kinds.append((tick.kind, (tick.now_ns - START_NS) // MS))
            books = tick.now_ns
    nine = [(TickKind.RISK, ms) for ms in range(100, 1000, 100)]
    later = [(TickKind.RISK, ms) for ms in range(1100, 2000, 100)]
    assert kinds == [*nine, (TickKind.SECOND, 1000), *later, (TickKind.SECOND, 2000)]


def test_a_late_loop_makes_the_second_first_then_the_newest_risk_tick() -> None:
    first = next_tick(START_NS + 3340 * MS, START_NS + 900 * MS, True)
    assert first == Tick(START_NS + 3000 * MS, TickKind.SECOND, 2100 * MS)
    second = next_tick(START_NS + 3340 * MS, first.now_ns, True)
    assert second == Tick(START_NS + 3300 * MS, TickKind.RISK, 300 * MS)
    assert next_tick(START_NS + 3340 * MS, second.now_ns, True) is None


def test_the_first_and_what_follows_a_pause_is_open_at_a_whole_second() -> None:
    assert next_tick(START_NS + 700 * MS, 0, False) == Tick(START_NS, TickKind.OPEN, 0)
    assert next_tick(START_NS + 700 * MS, START_NS, False) is None
    late = START_NS + PAUSE_NS + SECOND_NS
    assert next_tick(late, START_NS, True) == Tick(late, TickKind.OPEN, 0)
    assert next_tick(late - SECOND_NS, START_NS, True) == Tick(late - SECOND_NS, TickKind.SECOND, PAUSE_NS)


def test_books_ahead_of_the_clock_wait() -> None:
    assert next_tick(START_NS, START_NS + DAY_NS, False) is None
    assert next_tick(START_NS, START_NS + DAY_NS, True) is None


def test_the_next_step_is_at_a_whole_multiple() -> None:
    assert wait_ns(START_NS + 1, 100 * MS) == 100 * MS - 1 and wait_ns(START_NS, 100 * MS) == 100 * MS
    assert JUMP_NS < PAUSE_NS
