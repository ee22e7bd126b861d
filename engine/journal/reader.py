"""Reading the journal: a cursor over segments that yields compacted frames, group by group checked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import JournalDamaged, JournalError, JournalGone, SchemaUnknown, WitnessMismatch
from engine.journal.segment import Segment, list_segments
from kernels import groups
from kernels.crc32c import words_of
from kernels.frames import FRAME, FRAME_BYTES

AT_ONCE = 8192
"""Frames of a read, where groups are not larger: with the results of their fold they stay in the CPU's cache."""


class Chunk(NamedTuple):
    """Frames of consecutive complete groups, headers left out.

    frames: FRAME[n], valid until the next read but one of `JournalReader.buffers`; witness: the engine's, before
    the first of them, or -1; cursor: the place behind them; buffer: the array at whose start they lie.
    """

    frames: NDArray[np.void]
    witness: int
    cursor: Cursor
    buffer: NDArray[np.void]


class Cursor(NamedTuple):
    """A place between two groups: the next slot's position, its epoch, and the CRC chain up to it."""

    position: int = 0
    epoch: int = 0
    chain: int = 0


class JournalReader:
    """Reads complete groups from `cursor` on, at most `capacity` frames at a time.

    Slots are read with pread, not mapped: a copy costs nothing beside the CRC, and a file cut short is an
    error here and not a signal. With two `buffers` a chunk stays as it is while the next one is read.
    """

    def __init__(
        self, directory: Path, *, capacity: int = 65_536, cursor: Cursor | None = None, buffers: int = 1
    ) -> None:
        self.directory = directory
        self.cursor = cursor or Cursor()
        self._outs = [np.zeros(capacity, FRAME) for _ in range(buffers)]
        self._out = self._outs[0]
        self._raw = np.zeros(_slots_for(capacity), FRAME)
        self._raw_words = words_of(self._raw)
        self._at_once = min(capacity, AT_ONCE)
        self._witnesses = np.zeros(2, np.int64)
        self._segment: Segment | None = None
        self._fd = -1

    def close(self) -> None:
        """Let go of the open segment."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._segment = -1, None

    def read(self, upto: int | None = None) -> Chunk:
        """The next frames, none beyond position `upto` (None: the last complete group, wherever that is).

        An empty chunk means there is nothing more for now. JournalDamaged: a group that must be there is not.
        JournalGone: the cursor's place is no longer kept. JournalError: a group is larger than `capacity`.
        """
        self._outs.append(self._outs.pop(0))
        self._out = self._outs[0]
        while True:
            if self._segment is None and not self._open_next():
                if upto is not None and list_segments(self.directory):
                    raise self._gone()
                return Chunk(self._out[:0], -1, self.cursor, self._out)
            before = self.cursor.position
            chunk, why = self._scan(upto, self._at_once)
            if why == groups.FULL and self.cursor.position == before:
                chunk, why = self._scan(upto, len(self._out))
            if len(chunk.frames):
                check_schema(chunk.frames, self._segment.path.name if self._segment else "")
                return chunk
            if upto is not None and self.cursor.position >= upto:
                return chunk
            if self.cursor.position > before and why in (groups.END, groups.FULL):
                continue  # only a segment's own header was passed; what is behind it was not looked at whole
            if why == groups.FULL:
                raise JournalError(f"a group has more frames than the {len(self._out)} this reader takes")
            if why == groups.BROKEN and upto is not None:
                raise self._damage()
            if not self._roll():
                if (
                    upto is not None
                    and list_segments(self.directory)[0].first_position > self.cursor.position
                ):
                    raise self._gone()
                if upto is not None and why == groups.BLANK:
                    raise self._damage()
                return chunk

    def _scan(self, upto: int | None, limit: int) -> tuple[Chunk, int]:
        assert self._segment is not None
        cursor, first = self.cursor, self._segment.first_position
        most = _slots_for(limit)
        wanted = most if upto is None else min(most, upto - cursor.position)
        view = self._raw.view(np.uint8).data[: max(0, wanted) * FRAME_BYTES]
        got = os.preadv(self._fd, [view], (cursor.position - first) * FRAME_BYTES) // FRAME_BYTES
        row, made, chain, why = groups.scan_groups(
            self._raw_words, 0, got, cursor.position, self._segment.epoch, cursor.chain,
            words_of(self._out), limit, self._witnesses,
        )  # fmt: skip
        if why == groups.END and row == 0 and got == most:
            why = groups.FULL
        if upto is None and why != groups.FULL:
            row, made, chain = groups.without_last(self._raw_words, row, made, cursor.chain, chain)
        self.cursor = Cursor(cursor.position + int(row), self._segment.epoch, int(chain))
        witness = int(self._witnesses[0]) if self._witnesses[1] else -1
        return Chunk(self._out[:made], witness, self.cursor, self._out), why

    def _open_next(self) -> bool:
        """Open the newest segment that can hold the cursor's position."""
        at = self.cursor
        fitting = [
            s
            for s in list_segments(self.directory)
            if s.first_position <= at.position and s.epoch >= at.epoch
        ]
        if not fitting:
            return False
        self._open(fitting[-1])
        return True

    def _open(self, segment: Segment) -> None:
        try:
            self._fd, self._segment = os.open(segment.path, os.O_RDONLY), segment
        except FileNotFoundError as error:
            raise self._gone() from error

    def _roll(self) -> bool:
        """Go on in the newest segment that starts where this one ends, if there is one."""
        here = self._segment
        starting = [s for s in list_segments(self.directory) if s.first_position == self.cursor.position]
        if not starting or starting[-1] == here:
            return False
        self.close()
        self._open(starting[-1])
        return True

    def _gone(self) -> JournalGone:
        return JournalGone(
            f"{self.directory}: position {self.cursor.position} is no longer kept: use a snapshot",
            position=self.cursor.position,
        )

    def _damage(self) -> JournalDamaged:
        assert self._segment is not None
        offset = (self.cursor.position - self._segment.first_position) * FRAME_BYTES
        return JournalDamaged(
            f"{self._segment.path.name}: damaged at offset {offset}, before the durable end; restore the file",
            segment=self._segment.path.name,
            offset=offset,
        )


def _slots_for(frames: int) -> int:
    """Slots to read at once for so many frames: a group of them with its header, or many smaller groups."""
    return frames + frames // 8 + 2


def check_schema(frames: NDArray[np.void], name: str) -> None:
    """SchemaUnknown if any of FRAME[n] has a version or a template that this build cannot fold."""
    at = groups.first_unknown(words_of(frames), 0, len(frames))
    if at < len(frames):
        row = frames[at]
        what = f"template {int(row['template'])}, version {int(row['version'])}"
        raise SchemaUnknown(f"{name}: {what}: written by a newer GoDark; run that one", segment=name)


def check_witness(expected: int, own: int, position: int) -> None:
    """WitnessMismatch unless a follower's witness equals the engine's before `position`."""
    if expected >= 0 and expected != own:
        raise WitnessMismatch(
            f"results differ from the engine's before position {position}: witness {own:08x}, engine {expected:08x}",
            position=position,
            own=own,
            engine=expected,
        )
