"""What is kept: segments past two snapshots and every hold, never the open one; snapshots the newest few."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.common.errors import JournalError
from engine.journal.retention import (
    HOLD_DIR,
    hold,
    holds,
    keep_from,
    pinned,
    unlink_segments,
    unlink_snapshots,
)
from engine.journal.segment import list_segments, segment_path
from engine.journal.snapshot import SNAPSHOT_DIR, list_snapshots, position_of, snapshot_path


def segments(directory: Path, *places: tuple[int, int]) -> None:
    """Empty files of these (epoch, first position)."""
    for epoch, first in places:
        segment_path(directory, epoch, first).touch()


def left(directory: Path) -> list[tuple[int, int]]:
    return [(s.epoch, s.first_position) for s in list_segments(directory)]


def test_nothing_goes_before_two_snapshots_and_every_holders_word(tmp_path: Path) -> None:
    assert keep_from(tmp_path, [100, 200], ["relayer"]) == 0
    hold(tmp_path, "relayer", 150)
    assert keep_from(tmp_path, [], ["relayer"]) == keep_from(tmp_path, [100], ["relayer"]) == 0
    assert keep_from(tmp_path, [100, 200, 300], ["relayer"]) == 0, (
        "it has one snapshot to start from, not two"
    )
    hold(tmp_path, "relayer", 200)
    assert keep_from(tmp_path, [100, 200], ["relayer"]) == 100
    assert keep_from(tmp_path, [100, 200, 300], ["relayer"]) == 100
    hold(tmp_path, "relayer", 10**9)
    assert keep_from(tmp_path, [100, 200, 300], ["relayer"]) == 200
    assert keep_from(tmp_path, [100, 200, 300], ["relayer", "archive"]) == 0
    hold(tmp_path, "relayer", 200)
    assert keep_from(tmp_path, [100, 200, 300], []) == 100, "a word once given counts, asked for or not"


@given(st.lists(st.tuples(st.sampled_from(["snapshot", "relayer", "archive", "clear"]), st.integers(1, 90))))
def test_whoever_gave_its_word_finds_two_snapshots_and_all_that_follows_them(
    steps: list[tuple[str, int]],
) -> None:
    """Snapshots at the journal's growing end, holds that only grow, clearing in between: as in a running group."""
    with tempfile.TemporaryDirectory() as name:
        directory, end, first_holds = Path(name), 1, {"relayer": 0, "archive": 0}
        (directory / SNAPSHOT_DIR).mkdir()
        segments(directory, *((1, at) for at in range(0, 4000, 37)))
        for who, position in first_holds.items():
            hold(directory, who, position)
        for what, number in steps:
            if what == "snapshot":
                end += number
                snapshot_path(directory, end).touch()
            elif what == "clear":
                good = [position_of(path) for path in list_snapshots(directory)]
                gone = unlink_snapshots(directory, 2, pinned(good, holds(directory).values()))
                good = sorted(set(good) - set(map(position_of, gone)))
                unlink_segments(directory, keep_from(directory, good, first_holds))
            else:
                first_holds[what] = min(end, first_holds[what] + 3 * number)
                hold(directory, what, first_holds[what])
            kept = list_segments(directory)[0].first_position
            for position in [*holds(directory).values(), end]:
                usable = [s for s in map(position_of, list_snapshots(directory)) if s <= position]
                # The slot before a snapshot is looked at as well: it ties the journal to it.
                assert kept == 0 or (len(usable) > 1 and kept < usable[-2])


def test_a_hold_moves_and_outlives_its_process(tmp_path: Path) -> None:
    hold(tmp_path, "relayer", 0)
    hold(tmp_path, "relayer", 77)
    hold(tmp_path, "archive", 5)
    assert holds(tmp_path) == {"relayer": 77, "archive": 5}
    assert {p.suffix for p in (tmp_path / HOLD_DIR).iterdir()} == {".hold"}


@pytest.mark.parametrize("text", ["", "-4\n", "many\n", "\xff"])
def test_a_word_that_cannot_be_read_stops_all_removing(tmp_path: Path, text: str) -> None:
    hold(tmp_path, "relayer", 3)
    (tmp_path / HOLD_DIR / "relayer.hold").write_text(text, "latin-1")
    with pytest.raises(JournalError, match=r"relayer\.hold"):
        keep_from(tmp_path, [100, 200], [])


@pytest.mark.parametrize(
    ("position", "kept"),
    [(0, 4), (10, 4), (11, 3), (20, 3), (21, 2), (30, 2), (31, 1), (10**9, 1)],
)
def test_segments_wholly_before_a_position_go_and_the_last_never(
    tmp_path: Path, position: int, kept: int
) -> None:
    places = [(1, 0), (1, 10), (2, 20), (3, 30)]
    segments(tmp_path, *places)
    gone = unlink_segments(tmp_path, position)
    assert left(tmp_path) == places[4 - kept :]
    assert [(s.epoch, s.first_position) for s in gone] == places[: 4 - kept]


def test_what_is_left_begins_without_a_hole(tmp_path: Path) -> None:
    """Two epochs at one position: the empty one does not stay while what follows it goes."""
    segments(tmp_path, (1, 0), (1, 10), (2, 10), (3, 10), (3, 20))
    unlink_segments(tmp_path, 15)
    assert left(tmp_path) == [(3, 10), (3, 20)]


def test_the_newest_snapshots_stay_and_half_ones_go(tmp_path: Path) -> None:
    assert unlink_snapshots(tmp_path, 2) == []
    (tmp_path / SNAPSHOT_DIR).mkdir()
    for position in (5, 70, 600, 8000):
        snapshot_path(tmp_path, position).touch()
    (tmp_path / SNAPSHOT_DIR / f"0000000000009000.{2**22 + 1}.part").touch()
    written = tmp_path / SNAPSHOT_DIR / f"0000000000009000.{os.getpid()}.part"
    written.touch()
    assert [p.stem for p in unlink_snapshots(tmp_path, 2)] == [f"{5:016d}", f"{70:016d}"]
    assert list_snapshots(tmp_path) == [snapshot_path(tmp_path, 600), snapshot_path(tmp_path, 8000)]
    assert len(list((tmp_path / SNAPSHOT_DIR).iterdir())) == 3 and written.exists(), "its writer lives"


def test_a_snapshot_that_a_holder_can_use_stays(tmp_path: Path) -> None:
    (tmp_path / SNAPSHOT_DIR).mkdir()
    places = [5, 70, 600, 8000, 9000]
    for position in places:
        snapshot_path(tmp_path, position).touch()
    assert pinned(places, [100, 650]) == [5, 70, 600]
    assert pinned(places, [4]) == pinned(places, []) == []
    assert [p.stem for p in unlink_snapshots(tmp_path, 2, pinned(places, [650]))] == [f"{5:016d}"]
