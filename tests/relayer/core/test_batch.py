"""Batches: a pure function of the journal, closed where FRAMES.md says, without gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.params import Row
from kernels.frames import FILL, FRAME, ParamKey, Template
from kernels.layouts import LEG, RESULT
from relayer.core import batch as module
from tests.engine.core.builders import HOUR_NS, PRICE, genesis
from tests.relayer.core.journeys import EVENTS, Event, batches_of, cut_plainly, fill_count, plain, script_of

FILL_1: Event = ("fill", 1, 2, 1, 0)
FILL_2: Event = ("fill", 3, 1, -2, 1)
SECOND: Event = ("second", 1, 1, 1, 0)
WITHIN: Event = ("within", 1, 1, 1, 0)
HOUR: Event = ("hour", 1, 1, 1, 0)


@given(EVENTS, st.lists(st.integers(1, 30), max_size=20), st.integers(1, 6))
def test_any_chunking_gives_the_batches_of_the_plain_way(
    events: list[Event], sizes: list[int], fills_max: int
) -> None:
    frames = script_of(events).frames
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FILLS_MAX", fills_max)
        made = [plain(b) for b in batches_of(frames, sizes)]
        assert made == [plain(b) for b in batches_of(frames, [])]
    assert made == cut_plainly(frames, fills_max)


@given(EVENTS)
def test_ranges_have_no_gap_and_no_batch_is_empty(events: list[Event]) -> None:
    frames = script_of(events).frames
    next_first, number = 1, 1
    for batch in batches_of(frames, [1] * len(frames)):
        assert (batch.number, batch.first) == (number, next_first)
        assert batch.first <= batch.last <= len(frames)
        assert len(batch.deltas)
        next_first, number = batch.last + 1, number + 1


def test_a_batch_closes_before_the_first_tick_past_the_window() -> None:
    start = len(genesis().frames)
    script = script_of([FILL_1, WITHIN, WITHIN, FILL_2, WITHIN, WITHIN])
    one, *rest = batches_of(script.frames, [])
    assert not rest
    # Four quarters of a second: the fourth tick stands on the next second.
    assert (one.first, one.last, fill_count(one)) == (1, start + 5, 2)


def test_no_batch_lies_across_a_funding_tick_though_its_window_would() -> None:
    script = genesis()
    script.params([Row(ParamKey.BATCH_WINDOW_NS, 0, 2 * HOUR_NS)], change=2)
    script.seconds(1)
    script.fill(1, 2, 1, PRICE)
    script.seconds(5)
    before = len(script.frames)
    script.tick((script.now_ns // HOUR_NS + 1) * HOUR_NS)
    script.fill(1, 2, 1, PRICE)
    script.seconds(1)
    [batch] = batches_of(script.frames, [3, 9, 4])
    assert (batch.last, fill_count(batch)) == (before, 1)


def test_empty_windows_make_no_batch_and_leave_no_gap() -> None:
    script = script_of([FILL_1, SECOND, SECOND, SECOND, ("unknown", 1, 2, 1, 0), SECOND, FILL_2])
    one, two = batches_of(script.frames, [])
    assert (one.number, two.number) == (1, 2)
    assert two.first == one.last + 1
    assert (fill_count(one), fill_count(two)) == (1, 1)


def test_full_batches_close_behind_their_last_fill(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.FILLS_MAX == 65_536
    monkeypatch.setattr(module, "FILLS_MAX", 3)
    start = len(genesis().frames)
    script = script_of([FILL_1] * 7)
    for sizes in ([], [1] * len(script.frames), [start + 2, 2, 1]):
        batches = batches_of(script.frames, sizes)
        assert [(b.last, fill_count(b)) for b in batches] == [(start + 3, 3), (start + 6, 3), (start + 7, 1)]


def test_the_real_bound_at_one_fill_more() -> None:
    frames = np.zeros(65_537, FILL)
    frames["template"] = Template.FILL
    results, made = np.zeros(65_537, RESULT), np.zeros(2 * 65_537, LEG)
    results["legs"] = 2
    made["account"] = np.arange(2 * 65_537) % 2
    batcher = module.Batcher()
    [batch] = list(batcher.feed(frames.view(FRAME), 11, results, made))
    assert (fill_count(batch), batch.last, batcher.open_fills) == (65_536, 11 + 65_535, 1)


def test_a_position_names_the_batch_before_and_keeps_a_row_of_zeros() -> None:
    back_and_forth: list[Event] = [("fill", 1, 2, 2, 0), ("fill", 1, 2, -2, 0)]
    script = script_of([FILL_1, SECOND, FILL_2, SECOND, *back_and_forth, SECOND, FILL_1])
    one, two, three, four = (plain(b) for b in batches_of(script.frames, []))
    assert [row[6] for row in one["deltas"] + two["deltas"]] == [0, 0, 0, 0]
    assert [(row[0], row[2], row[6]) for row in three["deltas"]] == [(1, 0, 1), (2, 0, 1)]
    assert [row[6] for row in four["deltas"]] == [3, 3]


def test_a_move_of_collateral_alone_makes_a_batch_without_fills() -> None:
    script = script_of([FILL_1, SECOND, ("move", 1, 1, 1, 0)])
    _, moved = batches_of(script.frames, [])
    assert fill_count(moved) == 0
    assert plain(moved)["deltas"] == [(1, 0, 0, 0, 1_000, 0, 1)]


def test_deltas_add_up_to_nothing_in_size() -> None:
    script = script_of([FILL_1, FILL_2, ("fill", 4, 5, 3, 0), SECOND, FILL_1])
    for batch in batches_of(script.frames, []):
        for market in set(batch.deltas["market"].tolist()):
            assert batch.deltas["dsize"][batch.deltas["market"] == market].sum() == 0
