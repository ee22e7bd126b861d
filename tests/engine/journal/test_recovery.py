"""What a start makes of a journal: a torn tail is cut exactly, damage is named and left as it is."""

from __future__ import annotations

from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

from engine.common.errors import JournalDamaged, SchemaUnknown
from engine.common.settings import Settings
from engine.core.apply import Machine
from engine.gateway.process import recover
from engine.journal.reader import check_schema
from engine.journal.recovery import Tail, harden_tail
from engine.journal.segment import list_segments, segment_path
from kernels.admission import new_gate
from kernels.crc32c import seal_frames, words_of
from kernels.frames import FRAME, FRAME_BYTES, Template
from tests.engine.journal.material import (
    SEGMENT_BYTES,
    append,
    contents,
    flow,
    judged,
    only_segment,
    open_writer,
    read_all,
)

FRAMES = flow(steps=16)


def _start(directory: Path) -> Tail:
    """Fold, judge, harden, as the engine does; leaves a new epoch open behind."""
    _, tail = judged(directory)
    assert isinstance(tail, Tail), tail
    harden_tail(directory, tail)
    open_writer(directory, tail).close()
    return tail


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, int]:
    """A journal of groups of 5 and 3 frames in one segment, and the slot where the last begins."""
    writer = open_writer(tmp_path)
    append(writer, FRAMES, [5, 3])
    writer.close()
    return tmp_path, 1 + 6


def test_every_truncation_of_the_last_group_is_cut(small: tuple[Path, int]) -> None:
    directory, last = small
    path = only_segment(directory)
    raw = path.read_bytes()
    for size in range(last * FRAME_BYTES, (last + 4) * FRAME_BYTES):
        path.write_bytes(raw[:size])
        frames, tail = judged(directory)
        assert isinstance(tail, Tail), size
        assert frames.tobytes() == FRAMES[:5].tobytes()
        assert tail.cursor.position == last


def test_every_flipped_byte_of_the_last_group_is_cut(small: tuple[Path, int]) -> None:
    directory, last = small
    path = only_segment(directory)
    raw = path.read_bytes()
    for at in range(last * FRAME_BYTES, (last + 4) * FRAME_BYTES):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << at % 8)]) + raw[at + 1 :])
        frames, tail = judged(directory)
        assert isinstance(tail, Tail), at
        assert frames.tobytes() == FRAMES[:5].tobytes()
        assert tail.cursor.position == last and tail.torn_bytes == 4 * FRAME_BYTES


def test_bytes_behind_the_last_group_are_cut(small: tuple[Path, int]) -> None:
    directory, last = small
    path = only_segment(directory)
    raw = bytearray(path.read_bytes())
    end = (last + 4) * FRAME_BYTES
    raw[end : end + 100] = b"\xff" * 100
    path.write_bytes(raw)
    frames, tail = judged(directory)
    assert isinstance(tail, Tail) and tail.torn_bytes == 2 * FRAME_BYTES
    assert len(frames) == 8 and tail.cursor.position == last + 4


@pytest.mark.parametrize("how", ["truncated", "flipped"])
def test_a_start_goes_on_behind_the_exact_prefix(small: tuple[Path, int], how: str) -> None:
    directory, last = small
    path = only_segment(directory)
    raw = path.read_bytes()
    at = last * FRAME_BYTES + 130
    path.write_bytes(raw[:at] if how == "truncated" else raw[:at] + b"\xee" + raw[at + 1 :])
    _, tail = judged(directory)
    assert isinstance(tail, Tail)
    harden_tail(directory, tail)
    assert path.read_bytes() == (raw[: last * FRAME_BYTES]).ljust(path.stat().st_size, b"\0")
    writer = open_writer(directory, tail)
    append(writer, FRAMES[5:], repeat(100))
    assert read_all(directory)[0].tobytes() == FRAMES.tobytes()
    assert judged(directory)[1] == Tail(read_all(directory)[1], 2, 0)


def _places(directory: Path) -> list[tuple[Path, int]]:
    """Bytes before the last group of a journal: two headers and a frame whole, and every 613th of the rest."""
    segments = list_segments(directory)
    places = []
    for segment in segments:
        slots = np.fromfile(segment.path, FRAME)
        used = int(np.flatnonzero(slots["template"])[-1]) + 1
        if segment == segments[-1]:
            used = int(np.flatnonzero(slots["template"] == Template.GROUP)[-1])
        dense = range(3 * FRAME_BYTES if segment == segments[0] else 0)
        places += [
            (segment.path, at) for at in sorted({*dense, *range(0, used * FRAME_BYTES, 613), used * 64 - 1})
        ]
    return places


def test_every_earlier_byte_is_damage_and_nothing_is_touched(tmp_path: Path) -> None:
    append(open_writer(tmp_path, group_max=250), FRAMES, repeat(250))
    assert len(list_segments(tmp_path)) == 2
    headers = {}
    for segment in list_segments(tmp_path):
        slots = np.fromfile(segment.path, FRAME)
        headers[segment.path] = np.flatnonzero(slots["template"] == Template.GROUP)
    places = _places(tmp_path)
    assert len(places) > 350
    for path, at in places:
        raw = path.read_bytes()
        path.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << at % 8)]) + raw[at + 1 :])
        before = contents(tmp_path)
        _, verdict = judged(tmp_path)
        assert contents(tmp_path) == before
        path.write_bytes(raw)
        group = headers[path][headers[path] <= at // FRAME_BYTES][-1]
        assert isinstance(verdict, JournalDamaged), (path.name, at)
        assert verdict.context == {"segment": path.name, "offset": int(group) * FRAME_BYTES}
        assert path.name in verdict.line() and str(int(group) * FRAME_BYTES) in verdict.line()
    assert isinstance(judged(tmp_path)[1], Tail)


def test_an_engine_refuses_a_damaged_journal_and_leaves_it(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    append(open_writer(journal), FRAMES, [50, 50, 50])
    path = only_segment(journal)
    raw = bytearray(path.read_bytes())
    raw[70 * FRAME_BYTES + 9] ^= 4
    path.write_bytes(raw)
    before = contents(journal)
    with pytest.raises(JournalDamaged, match=f"{path.name}.* {52 * FRAME_BYTES}"):
        recover(Settings(data_dir=tmp_path), Machine(), new_gate())
    assert contents(journal) == before


def test_a_flip_in_an_older_epoch_is_damage(tmp_path: Path) -> None:
    append(open_writer(tmp_path), FRAMES, [5])
    _start(tmp_path)
    path = list_segments(tmp_path)[0].path
    raw = bytearray(path.read_bytes())
    raw[4 * FRAME_BYTES] ^= 1
    path.write_bytes(raw)
    _, verdict = judged(tmp_path)
    assert isinstance(verdict, JournalDamaged) and verdict.context["offset"] == FRAME_BYTES


def test_a_missing_segment_in_the_middle_is_damage(tmp_path: Path) -> None:
    append(open_writer(tmp_path), np.tile(FRAMES, 2), repeat(250))
    segments = list_segments(tmp_path)
    assert len(segments) > 3
    segments[1].path.unlink()
    frames, verdict = judged(tmp_path)
    assert isinstance(verdict, JournalDamaged) and verdict.context["segment"] == segments[0].path.name
    assert len(frames) == 1000


def test_a_missing_first_segment_is_damage(tmp_path: Path) -> None:
    append(open_writer(tmp_path), FRAMES, repeat(250))
    list_segments(tmp_path)[0].path.unlink()
    frames, verdict = judged(tmp_path)
    assert len(frames) == 0 and isinstance(verdict, JournalDamaged)


def test_a_segment_cut_to_nothing_is_damage(tmp_path: Path) -> None:
    append(open_writer(tmp_path), np.tile(FRAMES, 2), repeat(250))
    path = list_segments(tmp_path)[1].path
    path.write_bytes(b"")
    _, verdict = judged(tmp_path)
    assert isinstance(verdict, JournalDamaged)
    assert verdict.context == {"segment": path.name, "offset": 0}


def test_an_empty_last_segment_is_no_damage(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    append(writer, FRAMES, [5])
    segment_path(tmp_path, 1, writer.position).touch()
    tail = _start(tmp_path)
    assert tail.cursor.position == writer.position and len(read_all(tmp_path)[0]) == 5


def test_a_segment_whose_header_was_never_written(tmp_path: Path) -> None:
    """A crash between the spare's rename and the header: nothing is lost, the next epoch lies over it."""
    writer = open_writer(tmp_path)
    append(writer, FRAMES, [5])
    for epoch in (1, 2, 3):
        segment_path(tmp_path, epoch, writer.position).write_bytes(bytes(SEGMENT_BYTES))
    tail = _start(tmp_path)
    assert tail == Tail(tail.cursor, 3, 0) and tail.cursor.position == writer.position
    assert [s.epoch for s in list_segments(tmp_path)] == [1, 1, 2, 3, 4]
    _, tail = judged(tmp_path)
    assert isinstance(tail, Tail)
    append(open_writer(tmp_path, tail), FRAMES[5:], [10])
    assert read_all(tmp_path)[0].tobytes() == FRAMES[:15].tobytes()


def test_two_epochs_at_one_position(tmp_path: Path) -> None:
    """An epoch whose only group was torn leaves its segment; the next starts at the same position."""
    writer = open_writer(tmp_path)
    append(writer, FRAMES, [5])
    tail = _start(tmp_path)  # epoch 2
    second = list_segments(tmp_path)[1]
    raw = bytearray(second.path.read_bytes())
    raw[3] ^= 1  # the header of epoch 2 was torn
    second.path.write_bytes(raw)
    again = _start(tmp_path)
    assert again.cursor.position == tail.cursor.position and again.torn_bytes == FRAME_BYTES
    assert [(s.epoch, s.first_position) for s in list_segments(tmp_path)] == [
        (1, 0),
        (2, tail.cursor.position),
        (3, tail.cursor.position),
    ]
    _, tail = judged(tmp_path)
    assert isinstance(tail, Tail)
    append(open_writer(tmp_path, tail), FRAMES[5:], [10])
    assert read_all(tmp_path)[0].tobytes() == FRAMES[:15].tobytes()


def _newer(path: Path, slot: int, field: str, value: int) -> None:
    """Write one slot as a newer version would have: intact, and not ours."""
    slots = np.fromfile(path, FRAME)
    slots[field][slot] = value
    seal_frames(words_of(slots), slot, slot + 1)
    slots.tofile(path)


def test_a_group_of_a_newer_schema_is_refused_and_not_cut(small: tuple[Path, int]) -> None:
    directory, last = small
    _newer(only_segment(directory), last, "version", 2)
    before = only_segment(directory).read_bytes()
    with pytest.raises(SchemaUnknown, match="newer GoDark"):
        judged(directory)
    assert only_segment(directory).read_bytes() == before


@pytest.mark.parametrize(("field", "value"), [("template", 20), ("version", 2)])
def test_an_unknown_frame_in_a_good_group_is_refused(field: str, value: int) -> None:
    frames = FRAMES[:5].copy()
    frames[field][3] = value
    with pytest.raises(SchemaUnknown, match="newer GoDark"):
        check_schema(frames, "00000001-0000000000000000.seg")
    check_schema(FRAMES[:5], "00000001-0000000000000000.seg")
