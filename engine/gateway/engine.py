"""The engine without its sockets: groups of admitted frames go to the journal, then to the books."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import JournalFull
from engine.common.processes import start_ticks
from engine.core.apply import Machine
from engine.core.views import views_of
from engine.journal.head import HeadPage
from engine.journal.recovery import JournalLock
from engine.journal.writer import JournalWriter, publish
from kernels import frames as f
from kernels.admission import HISTORY, SOURCES_MAX, UNKNOWN, Gate, admit
from kernels.crc32c import seal_frames, words_of
from kernels.frames import FRAME, Source, Template, TickKind
from kernels.layouts import OUTBOX_SLOTS

if TYPE_CHECKING:
    from engine.gateway.session import Session

SECOND_NS = 1_000_000_000


class Engine:
    """Books, gate, journal and head page under one roof. Not thread safe: one loop owns it."""

    def __init__(
        self, machine: Machine, gate: Gate, writer: JournalWriter, head: HeadPage, lock: JournalLock
    ) -> None:
        self.machine, self.gate, self.writer, self.head, self._lock = machine, gate, writer, head, lock
        self.epoch = writer.epoch
        self.group = writer.frames
        self._views = views_of(writer.frames)
        self._owners: dict[int, Session] = {}
        self._clock_runs = False
        self.own_clock = False
        head.row["pid_started"] = start_ticks(os.getpid())
        head.row["pid"] = os.getpid()
        self._take_back()
        self._publish()

    def commit(self, count: int) -> None:
        """Journal, sync, book `group[:count]`. JournalFull: nothing happened and the gate forgets them."""
        try:
            self.writer.commit(count, time.time_ns(), self.machine.witness)
        except JournalFull:
            self._take_back()
            raise
        self.machine.apply(self._views, 0, count)
        self._publish()

    def _take_back(self) -> None:
        """Forget what was admitted and not written: back to what the books hold.

        The history those frames took the place of is gone: what stood there can be passed over, not compared.
        """
        held = self.machine.books.sources["last_seq"][:SOURCES_MAX]
        for source in np.flatnonzero(self.gate.last_seq != held):
            taken = np.arange(held[source] + 1, self.gate.last_seq[source] + 1)
            self.gate.crcs[source, taken % HISTORY] = UNKNOWN
        self.gate.last_seq[:] = held

    def _publish(self) -> None:
        meta, row, gate = self.machine.books.meta[0], self.head.row, self.gate
        publish(self.head, self.writer, int(meta["ordinal"]))
        row["heartbeat_ns"] = time.monotonic_ns()
        row["now_ns"], row["booked"], row["refused"] = meta["now_ns"], meta["booked"], meta["refused"]
        row["settled_batch"] = meta["settled_batch"]
        row["duplicates"] = gate.counts[1] + gate.counts[2]
        row["sync_ns"] = self.writer.sync_ns
        row["groups"] += 1

    def durable_seq(self, source: int) -> int:
        """Last durable sequence number of a source."""
        return int(self.machine.books.sources[source]["last_seq"])

    def ordinal(self) -> int:
        """Frames applied."""
        return self.machine.state.number("ordinal")

    def now_ns(self) -> int:
        """The books' time."""
        return self.machine.state.number("now_ns")

    def digest(self) -> bytes:
        """Digest of the live state. Reads all of it: for audits and the end of a replay, not for every second."""
        return self.machine.state.digest()

    def outputs(self) -> int:
        """Number of the newest output."""
        return self.machine.state.number("outputs")

    def first_output(self, after: int) -> int:
        """Number of the first output still held that is greater than `after`."""
        return max(after + 1, self.outputs() - OUTBOX_SLOTS + 1, 1)

    def output_bytes(self, first: int, last: int) -> bytes:
        """Outputs first..last as sealed frames. The caller asks for held ones only."""
        rows = (np.arange(first - 1, last) % OUTBOX_SLOTS).astype(np.int64)
        words = self.machine.books.outbox[rows]
        seal_frames(words, 0, len(words))
        return words.tobytes()

    def keeps(self, source: int) -> bool:
        """True for a source that only the engine itself may use: its own clock, when that runs."""
        return self.own_clock and source == Source.CLOCK

    def attach(self, source: int, session: Session) -> bool:
        """Give a source to a session; False if another live session has it."""
        return self._owners.setdefault(source, session) is session

    def detach(self, session: Session) -> None:
        """Free the sources of a session that has ended."""
        for source in [s for s, owner in self._owners.items() if owner is session]:
            del self._owners[source]

    def tick_frame(self, wall_ns: int) -> NDArray[np.void] | None:
        """The engine's own next tick at wall clock `wall_ns`, or None if its second has not come.

        The first after a start is OPEN: what lies between was paused. A clock that went back waits.
        """
        now = self.now_ns()
        second = wall_ns // SECOND_NS * SECOND_NS
        if second <= now:
            return None
        tick = f.new_frames(
            Template.TICK, 1, source=Source.CLOCK, first_seq=int(self.gate.last_seq[Source.CLOCK]) + 1
        )
        tick["market"] = -1
        tick["now_ns"] = second
        if self._clock_runs:
            tick["kind"], tick["prev_ns"], tick["interval_ns"] = int(TickKind.SECOND), now, second - now
        seal_frames(words_of(tick), 0, 1)
        self._clock_runs = True
        return tick.view(FRAME)

    def commit_own(self, frames: NDArray[np.void]) -> None:
        """Journal and book frames that the engine itself makes."""
        own = np.ones(len(self.gate.last_seq), np.int64)
        at, made, why = admit(
            self.gate, words_of(frames), frames, 0, len(frames), own, words_of(self.group), 0
        )
        if at != len(frames) or why:
            raise AssertionError(f"the engine's own frame is not admissible: fault {why}")
        self.commit(made)

    def close(self) -> None:
        """Let go of journal and lock."""
        self.writer.close()
        self._lock.release()
