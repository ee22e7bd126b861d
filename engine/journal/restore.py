"""Where a fold begins: the newest good snapshot that its journal continues, or the journal's start."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from engine.common.errors import JournalDamaged, JournalGone, SnapshotUnusable
from engine.common.logs import get_logger
from engine.journal.reader import Cursor
from engine.journal.segment import list_segments
from engine.journal.snapshot import Loaded, list_snapshots, load_snapshot, position_of
from kernels.crc32c import first_bad_frame, words_of
from kernels.frames import FRAME, FRAME_BYTES


def newest_good(
    directory: Path, *, check_digest: bool = True, upto: int | None = None, spare: int = 0
) -> Loaded | None:
    """The newest usable snapshot of the journal in `directory`; None: fold from the journal's start.

    upto: only those at or before this position; check_digest, spare: as `load_snapshot` takes them. Each that is
    passed over is told in one log line. JournalGone: none is usable, and the start is not kept. JournalDamaged: the
    journal ends before a good one. SchemaUnknown: one was written by a newer GoDark.
    """
    for path in reversed(list_snapshots(directory)):
        if upto is not None and position_of(path) > upto:
            continue
        try:
            loaded = load_snapshot(path, check_digest=check_digest, spare=spare)
            check_continues(directory, loaded.cursor)
            return loaded
        except (SnapshotUnusable, JournalGone) as error:
            get_logger().warning("snapshot_passed_over", reason=error.line())
    require_whole(
        directory, "no snapshot is usable" if upto is None else f"no snapshot up to {upto} is usable"
    )
    return None


def require_whole(directory: Path, why: str) -> None:
    """JournalGone, saying why every segment is needed, if the first ones were unlinked."""
    segments = list_segments(directory)
    if segments and segments[0].first_position > 0:
        raise JournalGone(
            f"{directory}: the journal begins at position {segments[0].first_position} and {why}:"
            " put the older segments (or a snapshot) back from a copy",
            position=segments[0].first_position,
        )


def check_continues(directory: Path, cursor: Cursor) -> None:
    """See that the slot before `cursor` is kept and whole: then the journal goes on where a snapshot ends.

    What follows is bound to it by the CRC chain. JournalGone: not kept. JournalDamaged: not whole.
    """
    if not cursor.position:
        return
    here = [
        s for s in list_segments(directory) if s.epoch == cursor.epoch and s.first_position < cursor.position
    ]
    if not here:
        raise JournalGone(
            f"{directory}: position {cursor.position} is no longer kept", position=cursor.position
        )
    slot = cursor.position - 1 - here[-1].first_position
    raw = np.zeros(1, FRAME)
    with open(here[-1].path, "rb", buffering=0) as file:
        got = os.preadv(file.fileno(), [raw.view(np.uint8).data], slot * FRAME_BYTES)
    if got < FRAME_BYTES or not int(raw["block_length"][0]) or first_bad_frame(words_of(raw), 0, 1) == 0:
        raise JournalDamaged(
            f"{here[-1].path.name}: damaged at offset {slot * FRAME_BYTES}: a snapshot was taken behind it;"
            " restore the file from a copy",
            segment=here[-1].path.name,
            offset=slot * FRAME_BYTES,
        )
