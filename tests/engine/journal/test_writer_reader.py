"""What is written is read, for any grouping, over segments and epochs, and never past what is durable."""

from __future__ import annotations

import os
from itertools import cycle, repeat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.common.errors import JournalDamaged, JournalError, JournalFull, SyncFailed
from engine.core.apply import Machine
from engine.follower import Follower
from engine.journal import reader as reader_module
from engine.journal import writer as writer_module
from engine.journal.head import HeadPage
from engine.journal.keeper import top_up
from engine.journal.reader import Cursor, JournalReader
from engine.journal.recovery import harden_tail
from engine.journal.segment import list_segments
from engine.journal.writer import FIRST_BYTES, SPARE_DIR, JournalWriter, publish
from kernels.frames import FRAME, FRAME_BYTES, GROUP, Template
from tests.engine.journal.material import (
    EMPTY,
    SEGMENT_BYTES,
    START_NS,
    append,
    flow,
    folded,
    judged,
    open_writer,
    read_all,
)

FRAMES = flow()
SLOTS = SEGMENT_BYTES // FRAME_BYTES


@settings(max_examples=25)
@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=40), capacity=st.integers(300, 700))
def test_any_grouping_reads_back_the_same_frames(
    sizes: list[int], capacity: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("j")
    writer = open_writer(directory)
    written = append(writer, FRAMES, sizes)
    read, cursor = read_all(directory, capacity)
    assert read.tobytes() == FRAMES[:written].tobytes()
    assert cursor == Cursor(writer.position, 1, writer.chain)
    writer.close()


def test_segments_roll_and_no_group_crosses_one(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    frames = np.tile(FRAMES, 5)
    append(writer, frames, repeat(200))
    segments = list_segments(tmp_path)
    assert len(segments) == -(-len(frames) // (200 * ((SLOTS - 1) // 201)))
    assert all(s.path.stat().st_size == SEGMENT_BYTES and s.epoch == 1 for s in segments)
    for segment in segments:
        first = np.fromfile(segment.path, GROUP, 1)[0]
        assert (first["count"], first["epoch"], first["durable_upto"]) == (0, 1, segment.first_position)
        slots = np.fromfile(segment.path, FRAME)
        used = np.flatnonzero(slots["template"])
        assert used[-1] == len(used) - 1, "a used slot follows an empty one"
        assert (len(used) - 1) % 201 in (0, (len(frames) % 200 + 1) % 201)
    assert read_all(tmp_path)[0].tobytes() == frames.tobytes()


def test_header_names_its_frames(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    append(writer, FRAMES, [3, 4])
    slots = np.fromfile(list_segments(tmp_path)[0].path, GROUP)
    third = slots[5]
    assert (third["template"], third["first_position"], third["durable_upto"]) == (Template.GROUP, 6, 5)
    assert (third["count"], third["epoch"], third["chain"]) == (4, 1, writer.chain)


def test_header_carries_the_witness_before_its_group(tmp_path: Path) -> None:
    writer, machine = open_writer(tmp_path), Machine(capacity=1024)
    append(writer, FRAMES, repeat(100), machine)
    slots = np.fromfile(list_segments(tmp_path)[0].path, GROUP)
    headers = slots[slots["template"] == Template.GROUP]
    done = 0
    for header in headers:
        assert int(header["witness"]) == folded(FRAMES[:done]).witness
        done += int(header["count"])
    assert done == len(FRAMES)


def test_a_start_opens_a_new_epoch_in_a_new_segment(tmp_path: Path) -> None:
    done = 0
    for epoch in range(1, 5):
        frames, tail = judged(tmp_path)
        assert len(frames) == done and not isinstance(tail, JournalDamaged)
        harden_tail(tmp_path, tail)
        writer = open_writer(tmp_path, tail)
        assert writer.epoch == epoch
        done += append(writer, FRAMES[done:], [50, 60])
        writer.close()
    assert [s.epoch for s in list_segments(tmp_path)] == [1, 2, 3, 4]
    assert read_all(tmp_path)[0].tobytes() == FRAMES[: 4 * 110].tobytes()


def test_reader_stops_at_chunk_boundaries_and_its_cursor_goes_on(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    append(writer, FRAMES, cycle([7, 64, 1, 33]))
    cursor, parts = Cursor(), []
    while True:
        reader = JournalReader(tmp_path, capacity=64, cursor=cursor)
        frames = reader.read().frames.copy()
        cursor = reader.cursor
        reader.close()
        if not len(frames):
            break
        assert len(frames) <= 64
        parts.append(frames)
    assert np.concatenate(parts).tobytes() == FRAMES.tobytes()
    assert cursor == Cursor(writer.position, 1, writer.chain)


def test_reader_too_small_for_a_group_says_so(tmp_path: Path) -> None:
    append(open_writer(tmp_path), FRAMES, [400])
    for capacity in (100, 300):
        with pytest.raises(JournalError, match="more frames"):
            JournalReader(tmp_path, capacity=capacity).read()


def test_cursor_with_the_wrong_chain_is_refused(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    append(writer, FRAMES, [10, 10])
    reader = JournalReader(tmp_path, cursor=Cursor(12, 1, 12345))
    with pytest.raises(JournalDamaged):
        reader.read(writer.position)


def test_live_follower_reads_only_what_is_durable(tmp_path: Path) -> None:
    writer, machine = open_writer(tmp_path), Machine(capacity=1024)
    head = HeadPage(tmp_path / "head", create=True)
    publish(head, writer, 0)
    follower = Follower(tmp_path)
    assert follower.poll() is None
    done = 0
    for size in [100, 1, 250, 200, 150]:
        append(writer, FRAMES[done:], [size], machine)
        assert follower.poll() is None, "read what was not yet published"
        publish(head, writer, done + size)
        followed = follower.poll()
        assert followed is not None
        assert followed.frames.tobytes() == FRAMES[done : done + size].tobytes()
        assert followed.ordinal == done + 1
        assert len(followed.legs) == int(followed.results["legs"].sum())
        assert follower.machine.state.digest() == machine.state.digest()
        done += size
    assert follower.position == follower.durable == writer.position
    follower.close()


def test_live_follower_crosses_segments_and_epochs(tmp_path: Path) -> None:
    frames = np.tile(FRAMES, 5)  # later rounds are refused by their sequence: still frames
    head = HeadPage(tmp_path / "head", create=True)
    writer, machine = open_writer(tmp_path), Machine(capacity=1024)
    publish(head, writer, 0)
    follower = Follower(tmp_path)
    done = 0
    for restart in range(3):
        for _ in range(12):
            done += append(writer, frames[done:], [90], machine)
            publish(head, writer, done)
            while follower.poll() is not None:
                continue
            assert follower.machine.state.digest() == machine.state.digest()
        writer.close()
        _, tail = judged(tmp_path)
        assert not isinstance(tail, JournalDamaged)
        harden_tail(tmp_path, tail)
        writer = open_writer(tmp_path, tail, witness=machine.witness)
        publish(head, writer, done)
        assert writer.epoch == restart + 2
    assert follower.poll() is None and follower.position == writer.position
    assert len(list_segments(tmp_path)) > 4


def test_live_follower_says_damage_before_durable(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    head = HeadPage(tmp_path / "head", create=True)
    append(writer, FRAMES, [20, 20])
    publish(head, writer, 40)
    path = list_segments(tmp_path)[0].path
    raw = bytearray(path.read_bytes())
    raw[30 * FRAME_BYTES] ^= 1
    path.write_bytes(raw)
    follower = Follower(tmp_path)
    followed = follower.poll()
    assert followed is not None and len(followed.frames) == 20
    with pytest.raises(JournalDamaged) as caught:
        follower.poll()
    assert caught.value.context == {"segment": path.name, "offset": 22 * FRAME_BYTES}


def test_follower_without_an_engine(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="no engine has run"):
        Follower(tmp_path)


def test_prezeroed_segments_are_taken_first(tmp_path: Path) -> None:
    assert top_up(tmp_path, SEGMENT_BYTES) == 2
    spare = tmp_path / SPARE_DIR
    nodes = [p.stat().st_ino for p in sorted(spare.iterdir())]
    writer = open_writer(tmp_path)
    append(writer, np.tile(FRAMES, 4), repeat(400))
    taken = [s.path.stat().st_ino for s in list_segments(tmp_path)]
    assert taken[:2] == nodes and not list(spare.iterdir()) and len(taken) > 2


def test_full_disk_changes_nothing_and_may_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = open_writer(tmp_path)
    append(writer, FRAMES, [500, 200])
    before, place = read_all(tmp_path)[0].tobytes(), (writer.position, writer.chain)
    real = writer_module.write_zeros

    def full(path: Path, size: int) -> None:
        raise JournalFull(f"{path}: no room")

    monkeypatch.setattr(writer_module, "write_zeros", full)
    writer.frames[:500] = FRAMES[:500]
    with pytest.raises(JournalFull):
        writer.commit(500, 1, 0)
    assert (writer.position, writer.chain) == place and read_all(tmp_path)[0].tobytes() == before
    writer.commit(100, 1, 0)  # a small group still fits the open segment
    monkeypatch.setattr(writer_module, "write_zeros", real)
    writer.frames[:500] = FRAMES[:500]
    writer.commit(500, 1, 0)
    assert read_all(tmp_path)[0].tobytes() == before + FRAMES[:100].tobytes() + FRAMES[:500].tobytes()


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_failed_write_or_sync_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    writer = open_writer(tmp_path)

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(SyncFailed, match="Input/output error"):
        append(writer, FRAMES, [5])


def test_failed_sync_of_a_new_segments_name_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = open_writer(tmp_path)
    append(writer, FRAMES, [500, 200])

    def fail(directory: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(writer_module, "sync_directory", fail)
    with pytest.raises(SyncFailed):
        append(writer, FRAMES, [500])


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:1000], offset))
    writer = open_writer(tmp_path)
    append(writer, FRAMES, [300])
    assert read_all(tmp_path)[0].tobytes() == FRAMES[:300].tobytes()


def test_a_group_is_never_larger_than_a_segment(tmp_path: Path) -> None:
    writer = open_writer(tmp_path, group_max=8192)
    assert len(writer.frames) == SLOTS - 2
    frames = np.tile(FRAMES, 5)
    append(writer, frames, repeat(len(writer.frames)))
    assert {s.path.stat().st_size for s in list_segments(tmp_path)} == {SEGMENT_BYTES}
    assert read_all(tmp_path)[0].tobytes() == frames.tobytes()


def test_names_that_are_no_segments_are_refused(tmp_path: Path) -> None:
    (tmp_path / "00000001-0000000000000000.seg").touch()
    (tmp_path / "1.seg").touch()
    with pytest.raises(JournalError, match="not a segment name"):
        list_segments(tmp_path)


def test_epochs_that_go_back_are_refused(tmp_path: Path) -> None:
    (tmp_path / "00000002-0000000000000000.seg").touch()
    (tmp_path / "00000001-0000000000000005.seg").touch()
    with pytest.raises(JournalError, match="epoch 1 follows epoch 2"):
        list_segments(tmp_path)


def test_a_group_on_its_way_is_not_synced_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = open_writer(tmp_path)
    synced: list[int] = []
    real = os.fdatasync

    def seen(fd: int) -> None:
        synced.append(fd)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", seen)
    writer.frames[:3] = FRAMES[:3]
    writer.write(3, 5, 0)
    assert not synced
    writer.sync()
    assert len(synced) == 1 and 0 < writer.last_sync_ns <= writer.sync_ns
    assert read_all(tmp_path)[0].tobytes() == FRAMES[:3].tobytes()
    writer.close()


def test_a_group_larger_than_a_usual_read_comes_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "AT_ONCE", 8)
    writer = open_writer(tmp_path)
    append(writer, FRAMES, cycle([1, 100, 7, 9, 8, 1, 1]))
    writer.close()
    reader = JournalReader(tmp_path, capacity=100)
    sizes, parts = [], []
    while len(chunk := reader.read()[0]):
        sizes.append(len(chunk))
        parts.append(chunk.tobytes())
    reader.close()
    assert b"".join(parts) == FRAMES.tobytes() and max(sizes) >= 100 and min(sizes) <= 8


def test_without_a_spare_a_segment_begins_small_and_doubles_until_one_is_ready(tmp_path: Path) -> None:
    size = 8 << 20
    writer = JournalWriter(
        tmp_path, EMPTY, segment_bytes=size, group_frames_max=8192, time_ns=START_NS, witness=0
    )
    frames = np.resize(FRAMES, 8192)

    def fill(groups: int) -> list[int]:
        for _ in range(groups):
            writer.frames[:] = frames
            writer.commit(8192, START_NS, 0)
        return [segment.slots * FRAME_BYTES for segment in list_segments(tmp_path)]

    assert fill(4) == [FIRST_BYTES, 2 * FIRST_BYTES]
    assert fill(14) == [FIRST_BYTES << k for k in range(4)], "and no larger than any other"
    top_up(tmp_path, size, 1)
    assert fill(30)[4:] == [size, size]
    writer.close()
    reader = JournalReader(tmp_path, capacity=8192)
    for _ in range(48):
        assert reader.read().frames.tobytes() == frames.tobytes()
    reader.close()


@pytest.mark.parametrize("group", [1, 8192, 65536])
def test_the_smallest_segment_takes_the_largest_group(tmp_path: Path, group: int) -> None:
    writer = JournalWriter(
        tmp_path, EMPTY, segment_bytes=64 << 20, group_frames_max=group, time_ns=START_NS, witness=0
    )
    writer.commit(len(writer.frames), START_NS, 0)
    writer.close()
    [segment] = list_segments(tmp_path)
    assert len(writer.frames) == group and segment.path.stat().st_size < 5 << 20
