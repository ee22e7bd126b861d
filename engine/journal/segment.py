"""Segments: files of 64-byte slots, prezeroed, one epoch each, never recycled.

A slot's position is its number in the whole journal; it only addresses the file. Every segment begins with a
group header that holds no frames and says which epoch it belongs to and what was durable when it was opened.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import NO_ROOM, JournalError, JournalFull, SyncFailed
from kernels import frames as f
from kernels.crc32c import words_of
from kernels.frames import FRAME_BYTES, Source, Template
from kernels.groups import close_group

_NAME = re.compile(r"(\d{8})-(\d{16})\.seg")
_ZERO_CHUNK = bytes(1 << 20)
_SMALL_SLICE = 1 << 18


class Segment(NamedTuple):
    """One segment file: its epoch, and the position of its first slot."""

    path: Path
    epoch: int
    first_position: int

    @property
    def slots(self) -> int:
        """How many slots the file has room for."""
        return self.path.stat().st_size // FRAME_BYTES


def segment_path(directory: Path, epoch: int, first_position: int) -> Path:
    """Where a segment lies."""
    return directory / f"{epoch:08d}-{first_position:016d}.seg"


def list_segments(directory: Path) -> list[Segment]:
    """Every segment of a journal, oldest first. JournalError: names that contradict each other."""
    found = []
    for path in directory.glob("*.seg"):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise JournalError(f"{path}: not a segment name; move it away", path=str(path))
        found.append(Segment(path, int(match[1]), int(match[2])))
    found.sort(key=lambda s: (s.first_position, s.epoch))
    for before, after in itertools.pairwise(found):
        if after.epoch < before.epoch:
            raise JournalError(f"{after.path}: epoch {after.epoch} follows epoch {before.epoch}")
    return found


def empty_group(*, position: int, epoch: int, time_ns: int, chain: int, witness: int) -> NDArray[np.void]:
    """GROUP[1]: a sealed header at `position` of a group without frames, as every segment begins with.

    Everything before a header is synced when it is written, so `durable_upto` is its own position.
    """
    header = f.new_frames(Template.GROUP, 1, source=Source.ENGINE)
    header["market"] = -1
    close_group(words_of(header), 0, position, epoch, time_ns, chain, witness)
    return header


def sync_directory(directory: Path) -> None:
    """Make names in `directory` durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    """The system's call of that name, where there is one."""
    call = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is not None:
        call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return cast("Callable[[int, int, int, int], int] | None", call)


_RANGE = _sync_file_range()
_WRITE = 2  # SYNC_FILE_RANGE_WRITE: start, do not wait


def start_writing(fd: int, offset: int, size: int) -> None:
    """Have the disk begin with what was written there. A hint: only a sync makes it durable, or tells of errors."""
    if _RANGE is not None:
        _RANGE(fd, offset, size, _WRITE)


def make_directory(directory: Path) -> None:
    """Create `directory` with its parents, and make its name and its parent's durable.

    Whether they are new or not: who made them may have been cut off before the sync. SyncFailed; OSError: it
    cannot be created.
    """
    missing = [d for d in (directory, *directory.parents) if not d.exists()]
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for holding in dict.fromkeys([directory.parent, directory.parent.parent, *(d.parent for d in missing)]):
        try:
            sync_directory(holding)
        except PermissionError:
            continue  # what we may not read we did not make
        except OSError as error:
            raise SyncFailed(f"{holding}: its names cannot be made durable: {error.strerror}") from error


def disk_error(what: str, error: OSError) -> JournalError:
    """What a failed call on a file of the journal means, to be raised: JournalFull where there was no room,
    else SyncFailed: such a disk is not to be relied on, and the process ends.
    """
    if error.errno in NO_ROOM:
        return JournalFull(f"{what}: {error.strerror}")
    return SyncFailed(f"{what}: {error.strerror}; the process ends")


def write_zeros(
    path: Path, size: int, pause: Callable[[], bool] | None = None, *, small: bool = False
) -> bool:
    """Create `path` with `size` written zero bytes, synced: blocks are allocated, later syncs move no metadata.

    In synced slices, so that a sync of the engine's never waits behind a whole segment; small: a quarter as large.
    pause: called after each slice; it may wait, and give up by True: nothing is left and False returned.
    JournalFull if the disk has no room, SyncFailed if it fails otherwise; what was written is removed.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise disk_error(f"{path}: cannot be created", error) from error
    piece = _SMALL_SLICE if small else len(_ZERO_CHUNK)
    try:
        left = size
        while left:
            left -= os.write(fd, _ZERO_CHUNK[: min(left, piece)])
            os.fdatasync(fd)
            if pause is not None and pause():
                path.unlink()
                return False
        os.fsync(fd)
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise disk_error(f"{path}: a segment of {size} bytes cannot be written", error) from error
    finally:
        os.close(fd)
    return True
