"""What of a journal is kept: its snapshots, its segments, and who may still need which.

A segment goes when it lies wholly before two verified snapshots that every holder can use. A hold is a follower's
own word, kept on disk, on the first position whose frames it would need again: the relayer's says where its batches
that are not final begin. It can use snapshots at or before that place, so the newest two of those stay, and the
journal from the older one on. Segments are unlinked, so that whoever has one open reads it to its end.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from pathlib import Path

from engine.common.errors import JournalError
from engine.common.processes import start_ticks
from engine.journal.segment import Segment, disk_error, list_segments, sync_directory
from engine.journal.snapshot import SNAPSHOT_DIR, list_snapshots, position_of

HOLD_DIR = "holds"


def hold(directory: Path, name: str, position: int) -> None:
    """Record durably that `name` needs the journal from `position` on. It replaces the word given before.

    JournalFull, SyncFailed: it could not be written; the word given before stands.
    """
    folder = directory / HOLD_DIR
    part, path = folder / f"{name}.part", folder / f"{name}.hold"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(fd, f"{position}\n".encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        part.rename(path)
        sync_directory(folder)
    except OSError as error:
        raise disk_error(f"{path}: cannot be written", error) from error


def holds(directory: Path) -> dict[str, int]:
    """Every hold by name. JournalError: one cannot be read; nothing may be removed then."""
    found = {}
    for path in (directory / HOLD_DIR).glob("*.hold"):
        text = path.read_text("ascii", errors="replace").strip()
        if not text.isdecimal():
            raise JournalError(f"{path}: not a position; restart whoever wrote it", path=str(path))
        found[path.stem] = int(text)
    return found


def pinned(snapshots: list[int], known: Iterable[int]) -> list[int]:
    """The snapshots that must stay for the sake of these holds: the newest two that each can use.

    snapshots: positions of verified ones, oldest first. Returns positions, oldest first.
    """
    return sorted({s for position in known for s in [s for s in snapshots if s <= position][-2:]})


def keep_from(directory: Path, snapshots: list[int], holders: Iterable[str]) -> int:
    """The first position that must stay: 0 unless all `holders` have given their word, and whoever starts, holder
    or engine, has two snapshots to choose from.

    snapshots: positions of verified ones, oldest first.
    """
    known = holds(directory)
    if len(snapshots) < 2 or any(name not in known for name in holders):
        return 0
    needed = [snapshots[-2]]
    for position in known.values():
        usable = [s for s in snapshots if s <= position]
        needed.append(usable[-2] if len(usable) > 1 else 0)
    return min(needed)


def unlink_segments(directory: Path, position: int) -> list[Segment]:
    """Unlink the segments that end before `position`; never the last one. Returns them, oldest first.

    The slot before `position` stays: a start from a snapshot looks at it, see `check_anchor`.
    """
    segments = list_segments(directory)
    ended = itertools.takewhile(lambda pair: pair[1].first_position < position, itertools.pairwise(segments))
    gone = [segment for segment, _ in ended]
    _unlink(directory, [segment.path for segment in gone])
    return gone


def _unlink(folder: Path, paths: list[Path]) -> None:
    """Unlink, oldest first, and make that durable. JournalError: some of them may be left."""
    try:
        for path in paths:
            path.unlink(missing_ok=True)
        if paths:
            sync_directory(folder)
    except OSError as error:
        raise JournalError(f"{folder}: cannot be cleared: {error.strerror}", path=str(folder)) from error


def unlink_snapshots(directory: Path, kept: int, pins: Iterable[int] = ()) -> list[Path]:
    """Unlink all snapshots but the newest `kept` and those at `pins`, and what writers that have ended left.

    Returns the former.
    """
    pinned_at = set(pins)
    gone = [path for path in list_snapshots(directory)[:-kept] if position_of(path) not in pinned_at]
    parts = (directory / SNAPSHOT_DIR).glob("*.*.part")
    unfinished = [path for path in parts if start_ticks(int(path.name.split(".")[1])) < 0]
    _unlink(directory / SNAPSHOT_DIR, [*gone, *unfinished])
    return gone
