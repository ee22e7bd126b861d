"""Snapshots: what is read back is what was written, or it is refused by name; nothing half written has a name."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.common.errors import JournalFull, SchemaUnknown, SnapshotUnusable
from engine.core.apply import Machine
from engine.core.state import digest_of
from engine.core.views import views_of
from engine.journal import snapshot as s
from engine.journal.reader import Cursor
from kernels.admission import HISTORY, UNKNOWN, Gate, admit, new_gate, remember
from kernels.crc32c import crc32c, seal_frames, words_of
from kernels.frames import FRAME, Fault, Source
from tests.engine.core.fixed_run import fixed_frames
from tests.engine.journal.material import flow, folded

FRAMES = flow(steps=16)
CURSOR = Cursor(4711, 3, 0xABCDEF01)
ROOT = Path(__file__).resolve().parents[3]


def gate_of(frames: np.ndarray) -> Gate:
    """The gate that has seen these frames."""
    gate = new_gate()
    remember(gate, words_of(frames), frames, 0, len(frames))
    return gate


def written(directory: Path, frames: np.ndarray = FRAMES, cursor: Cursor = CURSOR) -> Path:
    """A snapshot of the fold of `frames`."""
    return s.write_snapshot(directory, folded(frames), gate_of(frames), cursor)


@pytest.mark.parametrize("count", [0, 1, 40, 300, len(FRAMES)])
def test_what_was_written_is_read_back_and_goes_on_the_same(tmp_path: Path, count: int) -> None:
    whole = folded(FRAMES)
    first = folded(FRAMES[:count])
    path = s.write_snapshot(tmp_path, first, gate_of(FRAMES[:count]), CURSOR)
    loaded = s.load_snapshot(path)
    assert loaded.cursor == CURSOR
    assert loaded.state.digest() == first.state.digest()
    machine = Machine(loaded.state, capacity=len(FRAMES))
    assert machine.witness == first.witness
    machine.apply(views_of(FRAMES[count:].copy()), 0, len(FRAMES) - count)
    assert (machine.state.digest(), machine.witness) == (whole.state.digest(), whole.witness)
    assert path.name == "0000000000004711.snap" and s.list_snapshots(tmp_path) == [path]
    s.verify_snapshot(path)


def test_a_cut_anywhere_in_a_run_of_every_kind_of_frame_never_shows(tmp_path: Path) -> None:
    """Whatever is not in a snapshot (tables, lists, caches) must come back the same, or the fold would differ."""
    frames = np.frombuffer(b"".join(fixed_frames(3000)), FRAME).copy()
    whole = folded(frames)
    views = views_of(frames)
    machine = Machine(capacity=len(frames))
    for start in range(0, len(frames), 131):
        stop = min(start + 131, len(frames))
        machine.apply(views, start, stop)
        path = s.write_snapshot(tmp_path, machine, new_gate(), CURSOR)
        loaded = s.load_snapshot(path)
        assert loaded.state.digest() == machine.state.digest(), stop
        machine = Machine(loaded.state, capacity=len(frames))
    assert (machine.state.digest(), machine.witness) == (whole.state.digest(), whole.witness)


def test_the_digest_in_the_header_is_the_states(tmp_path: Path) -> None:
    raw = written(tmp_path).read_bytes()
    header = np.frombuffer(raw, s.HEADER, 1)[0]
    assert header["digest"].tobytes() == folded(FRAMES).state.digest()
    assert int(header["ordinal"]) == len(FRAMES) and int(header["crc"]) == crc32c(raw[: s.HEADER_BYTES - 8])
    for entry in header["table"][: int(header["arrays"])]:
        start, size = int(entry["offset"]), int(entry["rows"]) * int(entry["row_bytes"])
        assert start % 4096 == 0
        assert crc32c(raw[start : start + size]) == int(entry["crc"]), entry["name"]


def test_books_that_have_grown_come_back_whole(tmp_path: Path) -> None:
    machine = folded(FRAMES)
    machine.state.reserve(10_000)
    books = machine.books
    for n in range(int(books.meta[0]["accounts"]), 9_000):
        books.keys[n]["key0"] = n
        books.accounts[n]["free_e6"] = 3 * n
    books.meta[0]["accounts"] = 9_000
    machine.state.reindex()
    loaded = s.load_snapshot(s.write_snapshot(tmp_path, machine, new_gate(), CURSOR))
    assert loaded.state.digest() == machine.state.digest()
    assert len(loaded.state.books.account_table) >= 2 * 9_000


def test_the_gate_still_tells_a_duplicate_from_a_conflict(tmp_path: Path) -> None:
    gate = new_gate()
    s.restore_gate(gate, s.load_snapshot(written(tmp_path)))
    told = gate_of(FRAMES)
    assert np.array_equal(gate.last_seq, told.last_seq) and np.array_equal(gate.crcs, told.crcs)
    attached, out = np.ones(16, np.int64), np.zeros((4, 8), np.int64)
    resent = FRAMES[-3:].copy()
    assert admit(gate, words_of(resent), resent, 0, 3, attached, out, 0) == (3, 0, 0)
    words_of(resent)[1, 3] += 1
    seal_frames(words_of(resent), 1, 2)
    assert admit(gate, words_of(resent), resent, 0, 3, attached, out, 0) == (1, 0, int(Fault.CONFLICT))


def test_a_long_history_wraps_and_comes_back(tmp_path: Path) -> None:
    machine, gate = folded(FRAMES), new_gate()
    machine.books.sources["last_seq"][Source.MATCHING] = HISTORY + 9
    machine.books.sources["last_seq"][Source.ADMIN] = HISTORY - 1
    gate.last_seq[:] = machine.books.sources["last_seq"][:16]
    gate.crcs[Source.MATCHING] = np.arange(HISTORY)
    gate.crcs[Source.ADMIN, 1:] = np.arange(1, HISTORY)
    own = new_gate()
    s.restore_gate(own, s.load_snapshot(s.write_snapshot(tmp_path, machine, gate, CURSOR)))
    assert np.array_equal(own.crcs[Source.MATCHING], gate.crcs[Source.MATCHING])
    assert np.array_equal(own.crcs[Source.ADMIN], gate.crcs[Source.ADMIN])
    assert own.crcs[Source.ADMIN, 0] == UNKNOWN


def _flipped(path: Path, raw: bytes, at: int, digest: bytes) -> bool:
    """Load with one bit changed; True if it was refused. What is not refused must be exact."""
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), bytes([raw[at] ^ (1 << at % 8)]), at)
        try:
            loaded = s.load_snapshot(path)
        except (SnapshotUnusable, SchemaUnknown):
            return True
        finally:
            os.pwrite(file.fileno(), raw[at : at + 1], at)
    assert loaded.state.digest() == digest, at
    assert loaded.cursor == CURSOR
    return False


def _used(raw: bytes) -> list[range]:
    """The bytes of a snapshot that mean something."""
    header = np.frombuffer(raw, s.HEADER, 1)[0]
    table = header["table"][: int(header["arrays"])]
    arrays = [range(int(t["offset"]), int(t["offset"]) + int(t["rows"]) * int(t["row_bytes"])) for t in table]
    return [range(s.HEADER_BYTES), *arrays]


def test_every_byte_of_the_header_and_some_of_each_array(tmp_path: Path) -> None:
    path = written(tmp_path, FRAMES[:60])
    raw, digest = path.read_bytes(), folded(FRAMES[:60]).state.digest()
    header, *arrays = _used(raw)
    for at in header:
        assert _flipped(path, raw, at, digest), at
    for span in arrays:
        for at in {*span[:: max(1, len(span) // 9)], *span[-1:]}:
            assert _flipped(path, raw, at, digest), at
    between = [a.stop for a, b in itertools.pairwise(arrays) if a.stop < b.start]
    assert between and not any(_flipped(path, raw, at, digest) for at in between), "padding means nothing"


@pytest.mark.slow
def test_every_byte(tmp_path: Path) -> None:
    path = written(tmp_path, FRAMES[:60])
    raw, digest = path.read_bytes(), folded(FRAMES[:60]).state.digest()
    meaning = {at for span in _used(raw) for at in span}
    for at in range(len(raw)):
        assert _flipped(path, raw, at, digest) == (at in meaning), at


def test_every_length_but_its_own_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, FRAMES[:60])
    raw = path.read_bytes()
    for size in [*range(0, len(raw), 211), len(raw) - 1]:
        path.write_bytes(raw[:size])
        with pytest.raises(SnapshotUnusable, match=r"4711\.snap"):
            s.load_snapshot(path)
        with pytest.raises(SnapshotUnusable):
            s.verify_snapshot(path)
    path.write_bytes(raw + b"\0")
    with pytest.raises(SnapshotUnusable, match="size"):
        s.load_snapshot(path)


def test_another_position_in_the_name_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    moved = path.rename(s.snapshot_path(tmp_path, 4712))
    with pytest.raises(SnapshotUnusable, match="name"):
        s.load_snapshot(moved)


def test_a_byte_that_an_array_lost_on_the_disk_is_found_by_verifying(tmp_path: Path) -> None:
    path = written(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[_used(bytes(raw))[5].start + 3] ^= 1
    path.write_bytes(raw)
    with pytest.raises(SnapshotUnusable, match="damaged"):
        s.verify_snapshot(path)


def _altered(path: Path, alter: Callable[[np.void], None]) -> None:
    """Change the header as another build would have written it: sealed."""
    raw = bytearray(path.read_bytes())
    header = np.frombuffer(raw, s.HEADER, 1)
    alter(header[0])
    header["crc"] = crc32c(bytes(raw[: s.HEADER_BYTES - 8]))
    path.write_bytes(raw)


@pytest.mark.parametrize(("field", "value"), [("format", s.FORMAT + 1), ("rules", 99)])
def test_a_newer_one_is_refused_by_name(tmp_path: Path, field: str, value: int) -> None:
    path = written(tmp_path)
    _altered(path, lambda header: header.__setitem__(field, value))
    with pytest.raises(SchemaUnknown, match="newer GoDark"):
        s.load_snapshot(path)


def _entry(header: np.void, name: bytes) -> np.void:
    return header["table"][int(np.flatnonzero(header["table"]["name"] == name)[0])]


def test_an_array_of_another_layout_or_unknown_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    raw = path.read_bytes()
    _altered(path, lambda header: _entry(header, b"markets").__setitem__("layout", 5))
    with pytest.raises(SnapshotUnusable, match="array markets has the layout of another build"):
        s.load_snapshot(path)
    path.write_bytes(raw)
    _altered(path, lambda header: _entry(header, b"staged").__setitem__("name", b"auctions"))
    with pytest.raises(SchemaUnknown, match="array auctions"):
        s.load_snapshot(path)


def test_an_array_that_an_older_build_did_not_have_starts_empty(tmp_path: Path) -> None:
    machine = folded(FRAMES)
    older = [section for section in machine.state.sections() if section.name != "tiers"]
    path = written(tmp_path)

    def drop_tiers(header: np.void) -> None:
        table = header["table"].copy()
        kept = table[table["name"] != b"tiers"]
        header["table"] = 0
        header["table"][: len(kept)] = kept
        header["arrays"] -= 1
        header["digest"] = np.frombuffer(digest_of(older), np.uint8)

    _altered(path, drop_tiers)
    state = s.load_snapshot(path).state
    assert not state.books.tiers.view(np.int64).any()
    assert state.books.positions[: state.number("positions")].tobytes() == older[4].rows.tobytes()


def test_broken_off_at_any_slice_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def count() -> bool:
        nonlocal asked
        asked += 1
        return False

    path = s.write_snapshot(tmp_path, folded(FRAMES), gate_of(FRAMES), CURSOR, broken_off=count)
    path.unlink()
    assert asked > 20
    for at in range(asked):
        left = iter([False] * at + [True])
        with pytest.raises(s.Interrupted):
            s.write_snapshot(
                tmp_path, folded(FRAMES), gate_of(FRAMES), CURSOR, broken_off=lambda left=left: next(left)
            )
        assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("call", ["pwrite", "fdatasync", "fsync", "ftruncate"])
def test_a_full_or_failing_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(JournalFull, match="No space left"):
        written(tmp_path)
    monkeypatch.undo()
    assert list((tmp_path / s.SNAPSHOT_DIR).iterdir()) == []
    written(tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
from engine.core.apply import Machine
from engine.journal.reader import Cursor
from engine.journal.snapshot import write_snapshot
from kernels.admission import new_gate
left = int(sys.argv[2])
def ask():
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return False
write_snapshot(Path(sys.argv[1]), Machine(capacity=1), new_gate(), Cursor(5000, 1, 0), broken_off=ask)
"""


def test_a_writer_killed_in_the_middle_leaves_no_snapshot(tmp_path: Path) -> None:
    older = written(tmp_path)
    command = [sys.executable, "-c", KILLED, str(tmp_path), "6"]
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == -signal.SIGKILL
    assert [p.suffix for p in sorted(older.parent.iterdir())] == [".snap", ".part"]
    assert s.list_snapshots(tmp_path) == [older]
    assert s.load_snapshot(older).state.digest() == folded(FRAMES).state.digest()
