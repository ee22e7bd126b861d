"""The one way to follow the engine: fold its journal with an own copy of the books, at an own pace."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.apply import Machine
from engine.core.views import views_of
from engine.journal.head import HeadPage
from engine.journal.reader import JournalReader, check_witness


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
    journal at rest. WitnessMismatch or JournalDamaged end the following.
    """

    def __init__(self, directory: Path, *, live: bool = True, capacity: int = 65_536) -> None:
        self.machine = Machine(capacity=capacity)
        self._head = HeadPage(directory / "head") if live else None
        self._reader = JournalReader(directory, capacity=capacity)

    @property
    def position(self) -> int:
        """Position behind the last group folded."""
        return self._reader.cursor.position

    @property
    def durable(self) -> int:
        """Position that the engine says is durable (live), else where this follower stands."""
        return self._head.get("durable") if self._head else self.position

    def poll(self) -> Followed | None:
        """Fold the next groups; None if there are none now. Never waits."""
        upto = None
        if self._head is not None:
            upto = self._head.get("durable")
            if upto <= self.position:
                return None
        chunk = self._reader.read(upto)
        if not len(chunk.frames):
            return None
        check_witness(chunk.witness, self.machine.witness, self.position)
        first = self.machine.state.number("ordinal") + 1
        applied = self.machine.apply(views_of(chunk.frames), 0, len(chunk.frames))
        return Followed(chunk.frames, first, applied.results, applied.legs)

    def close(self) -> None:
        """Let go of the journal."""
        self._reader.close()
