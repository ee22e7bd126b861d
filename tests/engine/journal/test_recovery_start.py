"""What a start does besides judging: the tail written and synced again, one engine at a time, results checked."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

from engine.common.errors import JournalDamaged, JournalLocked, SyncFailed, WitnessMismatch
from engine.common.settings import Settings
from engine.core.apply import Machine
from engine.follower import Follower
from engine.gateway.process import recover
from engine.journal.head import HeadPage
from engine.journal.reader import check_witness
from engine.journal.recovery import JournalLock, Tail, harden_tail, judge_tail
from kernels.admission import new_gate
from kernels.crc32c import chain_frames, seal_frames, words_of
from kernels.frames import FRAME, FRAME_BYTES, GROUP, Template
from tests.engine.journal.material import (
    SEGMENT_BYTES,
    append,
    flow,
    folded,
    judged,
    only_segment,
    open_writer,
    read_all,
)

FRAMES = flow(steps=16)
ROOT = Path(__file__).resolve().parents[3]


def test_the_tail_is_rewritten_and_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(open_writer(tmp_path), FRAMES, [5, 3])
    path = only_segment(tmp_path)
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
    path = only_segment(tmp_path)
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
    path = only_segment(tmp_path)
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


def test_an_altered_fill_under_good_crcs_is_found_by_the_witness(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    machine = Machine(capacity=1024)
    append(open_writer(journal), FRAMES[:900], repeat(50), machine)
    recover(Settings(data_dir=tmp_path), Machine(), new_gate())
    follower = Follower(journal, live=False, capacity=50)
    while follower.poll() is not None:
        continue
    assert follower.machine.state.digest() == machine.state.digest()

    _alter_a_fill(only_segment(journal))
    assert isinstance(judged(journal)[1], Tail), "the CRCs were to be good"
    follower = Follower(journal, live=False, capacity=50)
    with pytest.raises(WitnessMismatch, match="differ from the engine's"):
        while follower.poll() is not None:
            continue


def test_a_start_finds_an_altered_fill_whatever_the_size_of_its_reads(tmp_path: Path) -> None:
    append(open_writer(tmp_path / "journal"), FRAMES[:900], repeat(50), Machine(capacity=1024))
    _alter_a_fill(only_segment(tmp_path / "journal"))
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
