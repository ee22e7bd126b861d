"""Journals in small segments with snapshots along the way, and what a standby does to them."""

from __future__ import annotations

from pathlib import Path

from engine.core.apply import Machine
from engine.core.views import views_of
from engine.journal.head import HeadPage
from engine.journal.reader import Cursor
from engine.journal.retention import holds, keep_from, pinned, unlink_segments, unlink_snapshots
from engine.journal.segment import list_segments
from engine.journal.snapshot import list_snapshots, position_of, write_snapshot
from engine.journal.writer import JournalWriter, publish
from kernels.admission import new_gate, remember
from kernels.crc32c import words_of
from tests.engine.journal.material import EMPTY, START_NS, Frames

SEGMENT_BYTES = 8192


def journal_with_snapshots(directory: Path, frames: Frames, *, every: int, group: int = 40) -> Path:
    """A journal at rest in segments of 128 slots, with a snapshot behind every so many groups."""
    directory.mkdir(parents=True, exist_ok=True)
    machine, gate = Machine(capacity=1024), new_gate()
    writer = JournalWriter(
        directory, EMPTY, segment_bytes=SEGMENT_BYTES, group_frames_max=group, time_ns=START_NS, witness=0
    )
    for number, at in enumerate(range(0, len(frames), group), 1):
        part = frames[at : at + group]
        writer.frames[: len(part)] = part
        writer.commit(len(part), START_NS, machine.witness)
        machine.apply(views_of(writer.frames), 0, len(part))
        remember(gate, words_of(writer.frames), writer.frames, 0, len(part))
        if number % every == 0:
            write_snapshot(directory, machine, gate, Cursor(writer.position, writer.epoch, writer.chain))
    publish(HeadPage(directory / "head", create=True), writer, len(frames))
    writer.close()
    return directory


def let_go(directory: Path, kept: int = 2) -> int:
    """What a standby unlinks with the holds as they are; the first position that is left."""
    good = [position_of(path) for path in list_snapshots(directory)]
    unlink_snapshots(directory, kept, pinned(good, holds(directory).values()))
    good = [position_of(path) for path in list_snapshots(directory)]
    unlink_segments(directory, keep_from(directory, good, ["relayer"]))
    return list_segments(directory)[0].first_position
