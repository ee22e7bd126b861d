"""Every byte of a small journal flipped, and every length a file of it can be cut to: the exact prefix comes out,
or a refusal that names segment and offset. Nothing acknowledged disappears without a word.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from engine.common.errors import JournalDamaged
from engine.journal.head import HeadPage
from engine.journal.reader import Cursor, JournalReader
from engine.journal.recovery import judge_tail
from engine.journal.segment import list_segments
from engine.journal.writer import JournalWriter, publish
from kernels.frames import FRAME, FRAME_BYTES, Template
from tests.engine.journal.material import EMPTY, START_NS, Frames, append, flow

KIB = 1024
FRAMES = flow(steps=20)
SIZES = (5, 3, 1, 9, 14, 2, 7)


class Small(NamedTuple):
    """A journal of two epochs. acked: position up to which it was acknowledged, as its head page says.
    groups: of each segment the slots where its groups begin, headers of segments among them.
    """

    directory: Path
    frames: Frames
    acked: int
    groups: dict[Path, list[int]]


def _verdict(directory: Path) -> tuple[Frames, int] | JournalDamaged:
    """Frames that a start would fold and the position behind them, or why there is no start."""
    reader = JournalReader(directory, capacity=2048)
    parts = []
    try:
        while len(frames := reader.read().frames):
            parts.append(frames.copy())
        tail = judge_tail(directory, reader.cursor)
    except JournalDamaged as error:
        return error
    finally:
        reader.close()
    return (np.concatenate(parts) if parts else np.zeros(0, FRAME)), tail.cursor.position


def _write(directory: Path, bytes_in_all: int) -> Small:
    """A journal of three segments: half of one by a first epoch, the others by a second, a few slots left blank.

    Frames are real ones; what they do to books is not looked at here, so that witnesses are 0.
    """
    directory.mkdir()
    slots = bytes_in_all // 3 // FRAME_BYTES
    at, tail = 0, EMPTY
    for segments in (1, 3):
        writer = JournalWriter(
            directory,
            tail,
            segment_bytes=slots * FRAME_BYTES,
            group_frames_max=16,
            time_ns=START_NS,
            witness=0,
        )
        end = slots // 2 if segments == 1 else writer.position + 2 * slots - 25
        while writer.position < end:
            at += append(writer, FRAMES[at:], [SIZES[at % len(SIZES)]])
        assert len(list_segments(directory)) == segments
        publish(HeadPage(directory / "head", create=True), writer, at)
        writer.close()
        tail = judge_tail(directory, Cursor(writer.position, 0, writer.chain))._replace(epoch=1)
    groups = {}
    for segment in list_segments(directory):
        template = np.fromfile(segment.path, FRAME)["template"]
        used = np.flatnonzero(template)[-1] + 1
        groups[segment.path] = [*np.flatnonzero(template == Template.GROUP).tolist(), int(used)]
    return Small(directory, FRAMES[:at], writer.position, groups)


@pytest.fixture
def journal(place: Path, request: pytest.FixtureRequest) -> Small:
    """A journal of 16 KiB, or of as many as the test asks for."""
    made = _write(place / "journal", getattr(request, "param", 16) * KIB)
    verdict = _verdict(made.directory)
    assert not isinstance(verdict, JournalDamaged)
    assert verdict[0].tobytes() == made.frames.tobytes() and verdict[1] == made.acked
    return made


def _expect(journal: Small, path: Path, at: int, what: str) -> None:
    """Judge a journal of which byte `at` of `path` is the first that is not as it was written."""
    verdict = _verdict(journal.directory)
    *starts, used = journal.groups[path]
    if at >= used * FRAME_BYTES:
        assert not isinstance(verdict, JournalDamaged), (what, path.name, at)
        assert verdict[0].tobytes() == journal.frames.tobytes(), (what, path.name, at)
        return
    assert isinstance(verdict, JournalDamaged), (what, path.name, at)
    offset = max(start for start in starts if start <= at // FRAME_BYTES) * FRAME_BYTES
    assert verdict.context == {"segment": path.name, "offset": offset}, (what, at)


def _flip_all(journal: Small, bits: range) -> None:
    for path in journal.groups:
        raw = path.read_bytes()
        with path.open("r+b", buffering=0) as file:
            for at in range(len(raw)):
                for bit in bits:
                    file.seek(at)
                    file.write(bytes([raw[at] ^ 1 << (at + bit) % 8]))
                    _expect(journal, path, at, "flipped")
                file.seek(at)
                file.write(raw[at : at + 1])


def _cut_all(journal: Small, step: int) -> None:
    """Cut each file to every `step`-th length, the last one to every length."""
    for path in journal.groups:
        raw = path.read_bytes()
        last = path == list(journal.groups)[-1]
        with path.open("r+b", buffering=0) as file:
            for size in range(len(raw) - 1, -1, -1 if last else -step):
                file.truncate(size)
                _expect(journal, path, size, "cut")
        path.write_bytes(raw)


def test_a_flip_of_any_byte(journal: Small) -> None:
    _flip_all(journal, range(1))


def test_a_cut_at_any_length(journal: Small) -> None:
    _cut_all(journal, 31)


def test_a_lost_file(journal: Small) -> None:
    for path in journal.groups:
        raw = path.read_bytes()
        path.unlink()
        assert isinstance(_verdict(journal.directory), JournalDamaged)
        path.write_bytes(raw)
    for path in journal.groups:
        path.unlink()
    verdict = _verdict(journal.directory)
    assert isinstance(verdict, JournalDamaged) and "no segment is left" in verdict.line()


def test_a_flip_in_the_head_page_loses_nothing(journal: Small) -> None:
    """It may refuse a sound journal, but never takes a part for the whole, and never ends in a traceback."""
    head = journal.directory / "head"
    raw = head.read_bytes()
    refused = 0
    for at in range(160):
        for bit in range(8):
            head.write_bytes(raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :])
            verdict = _verdict(journal.directory)
            refused += isinstance(verdict, JournalDamaged)
            assert isinstance(verdict, JournalDamaged) or verdict[0].tobytes() == journal.frames.tobytes()
    assert 0 < refused < 64
    for size in range(0, len(raw), 257):
        head.write_bytes(raw[:size])
        verdict = _verdict(journal.directory)
        assert not isinstance(verdict, JournalDamaged) and verdict[0].tobytes() == journal.frames.tobytes()


@pytest.mark.slow
def test_a_flip_of_any_bit(journal: Small) -> None:
    _flip_all(journal, range(8))


@pytest.mark.slow
@pytest.mark.parametrize("journal", [128], indirect=True)
def test_a_flip_of_any_byte_of_a_larger_one(journal: Small) -> None:
    _flip_all(journal, range(1))


@pytest.mark.slow
@pytest.mark.parametrize("journal", [16, 128], indirect=True)
def test_a_cut_at_every_length(journal: Small) -> None:
    _cut_all(journal, 1)
