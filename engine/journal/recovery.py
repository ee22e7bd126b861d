"""What an engine does to a journal before it writes: lock, fold, judge the tail, make it durable.

Damage is told from a torn tail by the headers behind it: a header that says the damaged place was durable
makes it damage, and nothing is touched; otherwise the tail was never acknowledged and is cut.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import JournalDamaged, JournalError, JournalLocked, SchemaUnknown, SyncFailed
from engine.journal.head import HeadPage
from engine.journal.reader import Cursor
from engine.journal.segment import Segment, list_segments, make_directory
from engine.journal.snapshot import list_snapshots, position_of
from kernels import groups
from kernels.crc32c import first_bad_frame, words_of
from kernels.frames import FRAME, FRAME_BYTES, SCHEMA_ID, SCHEMA_VERSION, Template

_ZERO_CHUNK = bytes(1 << 20)
GROUP_BYTES_MAX = (1 + 65_536) * FRAME_BYTES
"""A group's header and as many frames as `engine.group_frames_max` may ever be set to."""


class JournalLock:
    """Holds the journal for this process; the second engine is refused. Freed when the process ends."""

    def __init__(self, directory: Path) -> None:
        try:
            make_directory(directory)
            self._fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise JournalError(
                f"{directory}: cannot be used: {error.strerror}", path=str(directory)
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise JournalLocked(
                f"{directory}: another engine holds this journal; stop it first", path=str(directory)
            ) from error

    def release(self) -> None:
        """Give the journal back."""
        os.close(self._fd)


class Tail(NamedTuple):
    """Where a journal ends: cursor behind the last complete group, newest epoch, frames cut off as torn."""

    cursor: Cursor
    epoch: int
    torn_bytes: int


def take_tail(directory: Path, cursor: Cursor, *, group_bytes: int = 0) -> Tail:
    """Judge what lies behind `cursor`, the last complete group, and make the journal up to it durable.

    group_bytes: of the largest group of an engine that has died while this machine ran on, so that its head page
    holds its last word; 0: nobody knows, and headers further on are looked for to the end of the file.
    JournalDamaged also where a snapshot was taken further on: what it was taken from was durable.
    """
    tail = judge_tail(directory, cursor, group_bytes=group_bytes)
    check_reaches_snapshots(directory, cursor.position)
    harden_tail(directory, tail, group_bytes=group_bytes)
    return tail


def judge_tail(directory: Path, cursor: Cursor, *, group_bytes: int = 0) -> Tail:
    """Check what lies behind the last complete group, without changing it. Arguments as in `take_tail`.

    JournalDamaged: a later header or the head page says that this place was durable. Names segment and offset.
    SchemaUnknown: it is no damage but a header of a newer version.
    """
    segments = list_segments(directory)
    torn = 0
    durable = _acknowledged(directory)
    slots_max = group_bytes // FRAME_BYTES + 1 if group_bytes else -1
    for segment in _unfinished(segments, cursor):
        at = max(0, cursor.position - segment.first_position)
        claimed, end = _look_behind(segment, at, slots_max)
        durable = max(durable, claimed)
        torn += (end - at) * FRAME_BYTES
    if durable > cursor.position and not segments:
        raise JournalDamaged(
            f"{directory}: no segment is left, and positions up to {durable} were durable; restore them from a copy",
            segment="",
            offset=0,
        )
    if durable > cursor.position:
        here = [s for s in segments if s.first_position <= cursor.position][-1:] or segments[:1]
        offset = max(0, cursor.position - here[0].first_position) * FRAME_BYTES
        raise JournalDamaged(
            f"{here[0].path.name}: damaged at offset {offset}, before durable position {durable};"
            " restore the file from a copy",
            segment=here[0].path.name,
            offset=offset,
        )
    return Tail(cursor, max((s.epoch for s in segments), default=0), torn)


def _look_behind(segment: Segment, at: int, slots_max: int) -> tuple[int, int]:
    """(highest durable position that a header from slot `at` on claims or -1, slot behind the last used one).

    slots_max: how far is looked, at least so many slots; -1: to the end.
    Nearly all of it is zeros, in a start's way to the first ack: those are passed over unread by the kernels.
    """
    buffer = bytearray(len(_ZERO_CHUNK))
    slots = np.frombuffer(buffer, FRAME)
    words = words_of(slots)
    durable, end, slot = -1, at, at
    fd = os.open(segment.path, os.O_RDONLY)
    try:
        while slots_max < 0 or slot - at < slots_max:
            got = os.preadv(fd, [buffer], slot * FRAME_BYTES) // FRAME_BYTES
            if not got:
                break
            if got < len(slots) or buffer != _ZERO_CHUNK:
                if slot == at:
                    _refuse_newer(segment, slots[:1])
                durable = max(durable, groups.later_durable(words, 0, got, segment.first_position + slot))
                used = groups.last_used(words, 0, got)
                end = slot + used if used else end
            slot += got
    finally:
        os.close(fd)
    return durable, end


def _acknowledged(directory: Path) -> int:
    """Position that the head page says was durable; 0 if there is no page that says anything.

    The page is written after a sync, so it is behind the journal or level with it. It alone tells a last group
    that was cut off or damaged from one that was never acknowledged: no later header speaks of it.
    """
    try:
        return HeadPage(directory / "head").get("durable")
    except JournalError:
        return 0


def _refuse_newer(segment: Segment, slot: NDArray[np.void]) -> None:
    """SchemaUnknown if an intact slot is of another schema version: such a journal must not be cut."""
    if not len(slot) or not int(slot["schema"][0]) or first_bad_frame(words_of(slot), 0, 1) == 0:
        return
    if int(slot["schema"][0]) != SCHEMA_ID or int(slot["version"][0]) != SCHEMA_VERSION:
        raise SchemaUnknown(
            f"{segment.path.name}: schema version {int(slot['version'][0])}: written by a newer GoDark; run that one",
            segment=segment.path.name,
        )


def _unfinished(segments: list[Segment], cursor: Cursor) -> list[Segment]:
    """Segments whose end is not behind the cursor: a segment ends where its successor starts."""
    starts = [s.first_position for s in segments[1:]]
    return [
        s
        for k, s in enumerate(segments)
        if k == len(starts) or starts[k] > max(cursor.position, s.first_position)
    ]


def harden_tail(directory: Path, tail: Tail, *, group_bytes: int = 0) -> None:
    """Rewrite the last group, zero what may be torn behind it, sync. SyncFailed ends the process.

    The page cache may hold what the disk never got (a failed sync marks pages clean), so both are written again
    before a new epoch relies on them. What lies before the last group's header is on disk: it is written when
    all before it is. Torn is at most one group (of `group_bytes`, 0: of any size): the next is begun when this
    one is synced.
    Names are made durable with that of the new epoch's segment.
    """
    cursor = tail.cursor
    for segment in _unfinished(list_segments(directory), cursor):
        keep = max(0, cursor.position - segment.first_position)
        fd = os.open(segment.path, os.O_RDWR)
        try:
            size = os.fstat(fd).st_size
            first = _last_group(fd, keep) * FRAME_BYTES
            _write_whole(fd, os.pread(fd, keep * FRAME_BYTES - first, first), first)
            stop = min(size, keep * FRAME_BYTES + max(group_bytes or GROUP_BYTES_MAX, tail.torn_bytes))
            for start in range(keep * FRAME_BYTES, stop, len(_ZERO_CHUNK)):
                _write_whole(fd, _ZERO_CHUNK[: stop - start], start)
            os.fdatasync(fd)
        except OSError as error:
            raise SyncFailed(f"{segment.path}: cannot make the tail durable: {error.strerror}") from error
        finally:
            os.close(fd)


def _last_group(fd: int, keep: int) -> int:
    """Slot of the last group header before slot `keep`, or the first that could be."""
    first = max(0, keep - GROUP_BYTES_MAX // FRAME_BYTES)
    slots = np.frombuffer(os.pread(fd, (keep - first) * FRAME_BYTES, first * FRAME_BYTES), FRAME)
    headers = np.flatnonzero(slots["template"] == Template.GROUP)
    return first + int(headers[-1]) if len(headers) else first


def check_reaches_snapshots(directory: Path, position: int) -> None:
    """JournalDamaged if a snapshot, usable or not, was taken behind `position`, where the journal ends."""
    taken = [position_of(path) for path in list_snapshots(directory)]
    if taken and taken[-1] > position:
        raise JournalDamaged(
            f"{directory}: the journal ends at position {position}, but a snapshot was taken at {taken[-1]};"
            " restore the journal from a copy",
            position=position,
        )


def _write_whole(fd: int, data: bytes, offset: int) -> None:
    """pwrite all of `data`: one call writes less than 2 GiB."""
    done = 0
    while done < len(data):
        done += os.pwrite(fd, memoryview(data)[done:], offset + done)
