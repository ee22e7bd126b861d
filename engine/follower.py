"""The one way to follow the engine: fold its journal with an own copy of the books, at an own pace."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import JournalGone
from engine.core.apply import Machine
from engine.core.views import Views, views_of
from engine.journal.head import HeadPage
from engine.journal.read_ahead import ReadAhead
from engine.journal.reader import Chunk, Cursor, JournalReader, check_witness
from engine.journal.restore import newest_good
from engine.journal.snapshot import restore_gate
from kernels.admission import Gate, remember
from kernels.crc32c import words_of


class Followed(NamedTuple):
    """What one poll brought. Valid until the next poll.

    frames: FRAME[n]; ordinal: of the first; results: RESULT[n]; legs: LEG[m], results["legs"] per frame.
    """

    frames: NDArray[np.void]
    ordinal: int
    results: NDArray[np.void]
    legs: NDArray[np.void]


class Follower:
    """Reads durable groups, applies them, and checks the engine's witness at every step.

    `live` reads no further than the head page says is durable; otherwise to the last complete group of a
    journal at rest, with a thread that reads ahead, until `close`. `from_snapshot`: begin with the newest good
    one, and begin anew with one where the journal no longer keeps this follower's place: for those who need the
    books, not every frame (`jumps` counts it).
    `snapshot_upto`: begin with the newest good one at or before this position, and never jump: for those who need
    every frame from there on.
    `check_digest`: also of a snapshot whose every CRC is right, which costs half its loading.
    `spare`: a snapshot's books get room for what so many more frames can add.
    `machine`, `gate`: brought by the caller, and kept in step; both must be new.
    WitnessMismatch or JournalDamaged end the following.
    """

    def __init__(
        self,
        directory: Path,
        *,
        live: bool = True,
        capacity: int = 65_536,
        from_snapshot: bool = False,
        snapshot_upto: int | None = None,
        check_digest: bool = True,
        spare: int = 0,
        machine: Machine | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.machine = machine or Machine(capacity=capacity)
        self.jumps = 0
        self._directory = directory
        self._gate = gate
        self._from_snapshot, self._snapshot_upto = from_snapshot, snapshot_upto
        self._check_digest, self._spare = check_digest, spare
        self._head = HeadPage(directory / "head") if live else None
        self._seen: list[tuple[NDArray[np.void], Views]] = []
        self._reader = self._reader_at(Cursor())
        if from_snapshot or snapshot_upto is not None:
            self._begin_with_snapshot()

    @property
    def cursor(self) -> Cursor:
        """The place behind the last group folded."""
        return self._reader.cursor

    @property
    def position(self) -> int:
        """Position behind the last group folded."""
        return self._reader.cursor.position

    @property
    def durable(self) -> int:
        """Position that the engine says is durable (live), else where this follower stands."""
        return self._head.get("durable") if self._head else self.position

    def poll(self, *, at_rest: bool = False) -> Followed | None:
        """Fold the next groups; None if there are none now. Never waits.

        at_rest: the engine is known to be dead; go on behind what it said is durable, to the last complete group.
        """
        upto = None
        if self._head is not None and not at_rest:
            upto = self._head.get("durable")
            if upto <= self.position:
                return None
        chunk = self._read(upto)
        frames = chunk.frames
        if not len(frames):
            return None
        check_witness(chunk.witness, self.machine.witness, self.position)
        first = self.machine.state.number("ordinal") + 1
        applied = self.machine.apply(self._views_of(chunk.buffer), 0, len(frames))
        if self._gate is not None:
            remember(self._gate, words_of(frames), frames, 0, len(frames))
        return Followed(frames, first, applied.results, applied.legs)

    def close(self) -> None:
        """Let go of the journal."""
        self._reader.close()

    def _read(self, upto: int | None) -> Chunk:
        try:
            return self._next_chunk(upto)
        except JournalGone:
            before = self.position
            if not self._from_snapshot or not self._begin_with_snapshot() or self.position <= before:
                raise
            self.jumps += 1
            return self._next_chunk(upto)

    def _views_of(self, buffer: NDArray[np.void]) -> Views:
        """The same views of the same buffer: the machine then need not look at them again."""
        for known, views in self._seen:
            if known is buffer:
                return views
        self._seen = [*self._seen[-1:], (buffer, views_of(buffer))]
        return self._seen[-1][1]

    def _next_chunk(self, upto: int | None) -> Chunk:
        reader = self._reader
        return reader.read() if isinstance(reader, ReadAhead) else reader.read(upto)

    def _begin_with_snapshot(self) -> bool:
        """Take over the newest good snapshot; False if there is none."""
        loaded = newest_good(
            self._directory, check_digest=self._check_digest, upto=self._snapshot_upto, spare=self._spare
        )
        if loaded is None:
            return False
        self.machine.state = loaded.state
        if self._gate is not None:
            restore_gate(self._gate, loaded)
        self._reader.close()
        self._reader = self._reader_at(loaded.cursor)
        return True

    def _reader_at(self, cursor: Cursor) -> JournalReader | ReadAhead:
        """Live, what is read next is not there yet, and a thread would only cost; at rest all of it is."""
        kind = ReadAhead if self._head is None else JournalReader
        return kind(self._directory, capacity=self.machine.capacity, cursor=cursor)
