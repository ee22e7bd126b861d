"""Frames and small journals for the tests of journal and gateway."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import JournalDamaged
from engine.core.apply import Machine
from engine.core.views import views_of
from engine.journal.reader import Cursor, JournalReader
from engine.journal.recovery import Tail, judge_tail
from engine.journal.segment import list_segments
from engine.journal.writer import JournalWriter
from engine.venue.simulator import Simulator
from kernels.frames import FRAME

SECOND_NS = 10**9
START_NS = 1_700_000_000 * SECOND_NS
SEGMENT_BYTES = 1 << 16
EMPTY = Tail(Cursor(), 0, 0)

Frames = NDArray[np.void]


def flow(steps: int = 6, fills: int = 100, seed: int = 3) -> Frames:
    """Genesis, accounts, deposits, then `steps` seconds of `fills` fills each with observations and a tick."""
    venue = Simulator(seed, markets=2, accounts=8)
    parts = [venue.genesis(START_NS), venue.tick(START_NS), venue.register()]
    for second in range(1, steps + 1):
        now_ns = START_NS + second * SECOND_NS
        parts += [venue.step(now_ns, fills), venue.tick(now_ns)]
    return np.concatenate(parts).view(FRAME)


def open_writer(
    directory: Path, tail: Tail = EMPTY, *, group_max: int = 512, witness: int = 0
) -> JournalWriter:
    """A writer that opens the next epoch behind `tail` in segments of 64 KiB."""
    directory.mkdir(parents=True, exist_ok=True)
    return JournalWriter(
        directory,
        tail,
        segment_bytes=SEGMENT_BYTES,
        group_frames_max=group_max,
        time_ns=START_NS,
        witness=witness,
    )


def append(
    writer: JournalWriter, frames: Frames, sizes: Iterable[int], machine: Machine | None = None
) -> int:
    """Commit `frames` in groups of these sizes, and fold them into `machine`. Returns how many were written."""
    at = 0
    for size in sizes:
        part = frames[at : at + size]
        if not len(part):
            break
        writer.frames[: len(part)] = part
        writer.commit(len(part), START_NS, machine.witness if machine else 0)
        if machine:
            machine.apply(views_of(writer.frames), 0, len(part))
        at += len(part)
    return at


def read_all(directory: Path, capacity: int = 1024) -> tuple[Frames, Cursor]:
    """Every frame of a journal at rest, and the cursor behind them."""
    reader = JournalReader(directory, capacity=capacity)
    parts = []
    try:
        while len(frames := reader.read().frames):
            parts.append(frames.copy())
        return (np.concatenate(parts) if parts else np.zeros(0, FRAME)), reader.cursor
    finally:
        reader.close()


def judged(directory: Path) -> tuple[Frames, Tail | JournalDamaged]:
    """What a start would fold, and its verdict on what lies behind."""
    frames, cursor = read_all(directory)
    try:
        return frames, judge_tail(directory, cursor)
    except JournalDamaged as error:
        return frames, error


def folded(frames: Frames) -> Machine:
    """A machine that has applied `frames`."""
    machine = Machine(capacity=max(len(frames), 1))
    machine.apply(views_of(frames.copy()), 0, len(frames))
    return machine


def contents(directory: Path) -> dict[str, bytes]:
    """Bytes of every file of a journal, by name."""
    return {p.name: p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def only_segment(directory: Path) -> Path:
    """The file of a journal that has but one."""
    (segment,) = list_segments(directory)
    return segment.path
