"""What a start makes of a journal: a torn tail is cut exactly, damage is named and left as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

from engine.common.errors import JournalDamaged, JournalLocked, SchemaUnknown, SyncFailed, WitnessMismatch
from engine.common.settings import Settings
from engine.core.apply import Machine
from engine.follower import Follower
from engine.gateway.process import recover
from engine.journal.head import HeadPage
from engine.journal.reader import check_schema, check_witness
from engine.journal.recovery import JournalLock, Tail, harden_tail, judge_tail
from engine.journal.segment import list_segments, segment_path
from kernels.admission import new_gate
from kernels.crc32c import chain_frames, seal_frames, words_of
from kernels.frames import FRAME, FRAME_BYTES, GROUP, Template
from tests.engine.journal.material import (
    SEGMENT_BYTES,
    append,
    contents,
    flow,
    folded,
    judged,
    open_writer,
    read_all,
)

FRAMES = flow(steps=16)
ROOT = Path(__file__).resolve().parents[3]


def _only_segment(directory: Path) -> Path:
    (segment,) = list_segments(directory)
    return segment.path


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
    path = _only_segment(directory)
    raw = path.read_bytes()
    for size in range(last * FRAME_BYTES, (last + 4) * FRAME_BYTES):
        path.write_bytes(raw[:size])
        frames, tail = judged(directory)
        assert isinstance(tail, Tail), size
        assert frames.tobytes() == FRAMES[:5].tobytes()
        assert tail.cursor.position == last


def test_every_flipped_byte_of_the_last_group_is_cut(small: tuple[Path, int]) -> None:
    directory, last = small
    path = _only_segment(directory)
    raw = path.read_bytes()
    for at in range(last * FRAME_BYTES, (last + 4) * FRAME_BYTES):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << at % 8)]) + raw[at + 1 :])
        frames, tail = judged(directory)
        assert isinstance(tail, Tail), at
        assert frames.tobytes() == FRAMES[:5].tobytes()
        assert tail.cursor.position == last and tail.torn_bytes == 4 * FRAME_BYTES


def test_bytes_behind_the_last_group_are_cut(small: tuple[Path, int]) -> None:
    directory, last = small
    path = _only_segment(directory)
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
    path = _only_segment(directory)
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
    path = _only_segment(journal)
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


def test_the_tail_is_rewritten_and_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(open_writer(tmp_path), FRAMES, [5, 3])
    path = _only_segment(tmp_path)
    raw = path.read_bytes()
    path.write_bytes(raw[: 8 * FRAME_BYTES] + b"\xff" + raw[8 * FRAME_BYTES + 1 :])
    _, tail = judged(tmp_path)
    assert isinstance(tail, Tail) and tail.cursor.position == 7
    calls: list[tuple[str, int, int]] = []
    pwrite, fdatasync = os.pwrite, os.fdatasync

    def seen_pwrite(fd: int, data: bytes, offset: int) -> int:
        calls.append((os.readlink(f"/proc/self/fd/{fd}"), offset, len(data)))
        return pwrite(fd, data, offset)

    def seen_sync(fd: int) -> None:
        calls.append((os.readlink(f"/proc/self/fd/{fd}"), -1, 0))
        fdatasync(fd)

    monkeypatch.setattr(os, "pwrite", seen_pwrite)
    monkeypatch.setattr(os, "fdatasync", seen_sync)
    harden_tail(tmp_path, tail)
    keep = 7 * FRAME_BYTES
    assert calls == [
        (str(path), FRAME_BYTES, keep - FRAME_BYTES),  # the last group; the segment's own header is older
        (str(path), keep, SEGMENT_BYTES - keep),
        (str(path), -1, 0),
    ]


def test_what_lies_before_the_last_group_is_not_written_again(tmp_path: Path) -> None:
    """It was on disk when that group's header was written; what is torn is at most one group."""
    append(open_writer(tmp_path), FRAMES, [5, 3, 100, 2])
    path = _only_segment(tmp_path)
    raw = bytearray(path.read_bytes())
    keep = (1 + 6 + 4 + 101 + 3) * FRAME_BYTES
    raw[keep + 64 * 9 : keep + 64 * 10] = b"\xff" * 64  # behind the largest group that its engine makes: kept
    path.write_bytes(raw)
    _, tail = judged(tmp_path)
    assert isinstance(tail, Tail) and tail.cursor.position * FRAME_BYTES == keep
    harden_tail(tmp_path, tail._replace(torn_bytes=0), group_bytes=9 * FRAME_BYTES)
    assert path.read_bytes() == bytes(raw)
    harden_tail(tmp_path, tail, group_bytes=FRAME_BYTES)
    assert path.read_bytes() == bytes(raw[:keep]).ljust(len(raw), b"\0"), "what was seen torn always goes"


def test_of_an_engine_that_just_died_only_one_group_is_looked_at(tmp_path: Path) -> None:
    """Its head page says what was durable: headers far behind need not be looked for."""
    append(open_writer(tmp_path), FRAMES, [5, 3])
    cursor = read_all(tmp_path)[1]
    path = _only_segment(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[:] = raw.ljust(4 << 20, b"\0")
    raw[-1] = 1
    path.write_bytes(raw)
    assert judge_tail(tmp_path, cursor).torn_bytes == len(raw) - cursor.position * FRAME_BYTES
    assert judge_tail(tmp_path, cursor, group_bytes=9 * FRAME_BYTES).torn_bytes == 0
    head = HeadPage(tmp_path / "head", create=True)
    for durable, damaged in [(cursor.position, False), (cursor.position + 1, True)]:
        head.row["durable"] = durable
        if damaged:
            with pytest.raises(JournalDamaged, match=f"before durable position {durable}"):
                judge_tail(tmp_path, cursor, group_bytes=9 * FRAME_BYTES)
        else:
            judge_tail(tmp_path, cursor, group_bytes=9 * FRAME_BYTES)


def test_a_tail_that_cannot_be_synced_ends_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(open_writer(tmp_path), FRAMES, [5])
    _, tail = judged(tmp_path)
    assert isinstance(tail, Tail)

    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(SyncFailed):
        harden_tail(tmp_path, tail)


def test_the_second_engine_is_refused(tmp_path: Path) -> None:
    lock = JournalLock(tmp_path)
    with pytest.raises(JournalLocked, match="another engine"):
        JournalLock(tmp_path)
    code = (
        "import sys; from pathlib import Path; from engine.journal.recovery import JournalLock\n"
        "from engine.common.errors import JournalLocked\n"
        "try: JournalLock(Path(sys.argv[1]))\n"
        "except JournalLocked: sys.exit(9)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == 9
    lock.release()
    JournalLock(tmp_path).release()


def _alter_a_fill(path: Path) -> int:
    """Change the size of one fill in the middle of a segment and seal everything anew; returns its slot."""
    slots = np.fromfile(path, FRAME)
    words = words_of(slots)
    fills = np.flatnonzero(slots["template"] == Template.FILL)
    at = int(fills[len(fills) // 2])
    slots["word3"][at] += 1
    seal_frames(words, at, at + 1)
    chain = 0
    for row in np.flatnonzero(slots["template"] == Template.GROUP):
        header = slots[row : row + 1].view(GROUP)
        count = int(header["count"][0])
        chain = int(chain_frames(words, row + 1, row + 1 + count, chain))
        header["chain"] = chain
        seal_frames(words, row, row + 1)
    slots.tofile(path)
    return at


def _newer(path: Path, slot: int, field: str, value: int) -> None:
    """Write one slot as a newer version would have: intact, and not ours."""
    slots = np.fromfile(path, FRAME)
    slots[field][slot] = value
    seal_frames(words_of(slots), slot, slot + 1)
    slots.tofile(path)


def test_a_group_of_a_newer_schema_is_refused_and_not_cut(small: tuple[Path, int]) -> None:
    directory, last = small
    _newer(_only_segment(directory), last, "version", 2)
    before = _only_segment(directory).read_bytes()
    with pytest.raises(SchemaUnknown, match="newer GoDark"):
        judged(directory)
    assert _only_segment(directory).read_bytes() == before


@pytest.mark.parametrize(("field", "value"), [("template", 20), ("version", 2)])
def test_an_unknown_frame_in_a_good_group_is_refused(field: str, value: int) -> None:
    frames = FRAMES[:5].copy()
    frames[field][3] = value
    with pytest.raises(SchemaUnknown, match="newer GoDark"):
        check_schema(frames, "00000001-0000000000000000.seg")
    check_schema(FRAMES[:5], "00000001-0000000000000000.seg")


def test_an_altered_fill_under_good_crcs_is_found_by_the_witness(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    machine = Machine(capacity=1024)
    append(open_writer(journal), FRAMES[:900], repeat(50), machine)
    recover(Settings(data_dir=tmp_path), Machine(), new_gate())
    follower = Follower(journal, live=False, capacity=50)
    while follower.poll() is not None:
        continue
    assert follower.machine.state.digest() == machine.state.digest()

    _alter_a_fill(_only_segment(journal))
    assert isinstance(judged(journal)[1], Tail), "the CRCs were to be good"
    follower = Follower(journal, live=False, capacity=50)
    with pytest.raises(WitnessMismatch, match="differ from the engine's"):
        while follower.poll() is not None:
            continue


def test_a_start_finds_an_altered_fill_whatever_the_size_of_its_reads(tmp_path: Path) -> None:
    append(open_writer(tmp_path / "journal"), FRAMES[:900], repeat(50), Machine(capacity=1024))
    _alter_a_fill(_only_segment(tmp_path / "journal"))
    with pytest.raises(WitnessMismatch):
        recover(Settings(data_dir=tmp_path), Machine(), new_gate())


def test_check_witness() -> None:
    check_witness(-1, 5, 0)
    check_witness(5, 5, 0)
    with pytest.raises(WitnessMismatch) as caught:
        check_witness(6, 5, 77)
    assert caught.value.context == {"position": 77, "own": 5, "engine": 6}


def test_recovered_books_equal_the_fold(tmp_path: Path) -> None:
    machine = Machine(capacity=1024)
    append(open_writer(tmp_path / "journal"), FRAMES, repeat(77), machine)
    own, gate = Machine(), new_gate()
    tail = recover(Settings(data_dir=tmp_path), own, gate)
    assert own.state.digest() == machine.state.digest() == folded(FRAMES).state.digest()
    assert tail.epoch == 1 and tail.torn_bytes == 0
    for source in range(16):
        seqs = FRAMES["seq"][FRAMES["source"] == source]
        assert gate.last_seq[source] == (seqs.max() if len(seqs) else 0)
