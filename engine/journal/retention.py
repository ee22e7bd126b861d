"""What of a journal is kept: its snapshots, its segments, and who may still need which.

A segment goes when it lies wholly before two verified snapshots and before every hold. A hold is a follower's own
word, kept on disk, on the first position that it would need again: the relayer's says from where it would have to
fold to know its batches that are not final. Segments are unlinked, so that whoever has one open reads it to its end.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from pathlib import Path

from engine.common.errors import JournalError
from engine.common.processes import start_ticks
from engine.journal.segment import Segment, list_segments, sync_directory
from engine.journal.snapshot import SNAPSHOT_DIR, list_snapshots

HOLD_DIR = "holds"


def hold(directory: Path, name: str, position: int) -> None:
    """Record durably that `name` needs the journal from `position` on. It replaces the word given before."""
    folder = directory / HOLD_DIR
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    part, path = folder / f"{name}.part", folder / f"{name}.hold"
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, f"{position}\n".encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    part.rename(path)
    sync_directory(folder)


def holds(directory: Path) -> dict[str, int]:
    """Every hold by name. JournalError: one cannot be read; nothing may be removed then."""
    found = {}
    for path in (directory / HOLD_DIR).glob("*.hold"):
        text = path.read_text("ascii", errors="replace").strip()
        if not text.isdecimal():
            raise JournalError(f"{path}: not a position; restart whoever wrote it", path=str(path))
        found[path.stem] = int(text)
    return found


def keep_from(directory: Path, snapshots: list[int], holders: Iterable[str]) -> int:
    """The first position that must stay: 0 unless two snapshots and the word of all `holders` are there.

    snapshots: positions of verified ones, oldest first.
    """
    known = holds(directory)
    if len(snapshots) < 2 or any(name not in known for name in holders):
        return 0
    return min([snapshots[-2], *known.values()])


def unlink_segments(directory: Path, position: int) -> list[Segment]:
    """Unlink the segments that end before `position`; never the last one. Returns them, oldest first.

    The slot before `position` stays: a start from a snapshot looks at it, see `check_anchor`.
    """
    segments = list_segments(directory)
    ended = itertools.takewhile(lambda pair: pair[1].first_position < position, itertools.pairwise(segments))
    gone = [segment for segment, _ in ended]
    for segment in gone:
        segment.path.unlink(missing_ok=True)
    if gone:
        sync_directory(directory)
    return gone


def unlink_snapshots(directory: Path, kept: int) -> list[Path]:
    """Unlink all snapshots but the newest `kept`, and what writers that have ended left. Returns the former."""
    gone = list_snapshots(directory)[:-kept]
    parts = (directory / SNAPSHOT_DIR).glob("*.*.part")
    unfinished = [path for path in parts if start_ticks(int(path.name.split(".")[1])) < 0]
    for path in [*gone, *unfinished]:
        path.unlink(missing_ok=True)
    if gone or unfinished:
        sync_directory(directory / SNAPSHOT_DIR)
    return gone
