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
from engine.gateway.clock import next_tick
from engine.journal.head import ACK_US, BUCKETS, SYNC_US, HeadPage, slot
from engine.journal.recovery import JournalLock
from engine.journal.writer import JournalWriter, publish
from kernels import frames as f
from kernels.admission import HISTORY, SOURCES_MAX, UNKNOWN, Gate, admit
from kernels.crc32c import seal_frames, words_of
from kernels.frames import FRAME, FRAME_BYTES, Source, Template, TickKind
from kernels.layouts import META, OUTBOX_SLOTS

if TYPE_CHECKING:
    from engine.gateway.session import Session

_SINCE_START = ("groups", "frames", "bytes", "faults", "sessions", "ack_ns", "logged", "unlogged", "clock_off_ns",
                "grown")  # fmt: skip
_HEARTBEAT, _NOW, _BOOKED, _REFUSED = slot("heartbeat_ns"), slot("now_ns"), slot("booked"), slot("refused")
_SETTLED, _DUPLICATES, _SYNC, _GROUPS = (
    slot("settled_batch"),
    slot("duplicates"),
    slot("sync_ns"),
    slot("groups"),
)
_FRAMES, _BYTES, _GROWN, _ACK = slot("frames"), slot("bytes"), slot("grown"), slot("ack_ns")


def _meta_word(field: str) -> int:
    """Where a field lies among the words of `Books.meta`."""
    assert META.fields is not None
    return META.fields[field][1] // 8


_M_ORDINAL, _M_NOW, _M_OUTPUTS = _meta_word("ordinal"), _meta_word("now_ns"), _meta_word("outputs")
_M_BOOKED, _M_REFUSED, _M_SETTLED = _meta_word("booked"), _meta_word("refused"), _meta_word("settled_batch")


class Engine:
    """Books, gate, journal and head page under one roof. Not thread safe: one loop owns it."""

    def __init__(
        self, machine: Machine, gate: Gate, writer: JournalWriter, head: HeadPage, lock: JournalLock
    ) -> None:
        self.machine, self.gate, self.writer, self.head, self._lock = machine, gate, writer, head, lock
        self.epoch = writer.epoch
        self.group = writer.frames
        self._views = views_of(writer.frames)
        books = machine.books
        # Single numbers, read and written many times a group: a field of a record costs ten times as much.
        self._meta = books.meta.view(np.int64).data
        self._held = books.sources["last_seq"].data
        self._counts = gate.counts.data
        self._rows = len(books.accounts) + len(books.positions)
        self._owners: dict[int, Session] = {}
        self._clock_runs = False
        self.own_clock = False
        self._take_back()
        self._start_page()

    def commit(self, count: int) -> None:
        """Journal, book, sync `group[:count]`. JournalFull: nothing happened and the gate forgets them.

        Booked while the disk writes; nobody is told of it before the sync, and a failed one ends the process.
        """
        try:
            self.writer.write(count, time.time_ns(), self.machine.witness)
        except JournalFull:
            self._take_back()
            raise
        self.machine.apply(self._views, 0, count)
        self.writer.sync()
        self._publish(count)

    def _take_back(self) -> None:
        """Forget what was admitted and not written: back to what the books hold.

        The history those frames took the place of is gone: what stood there can be passed over, not compared.
        """
        held = self.machine.books.sources["last_seq"][:SOURCES_MAX]
        for source in np.flatnonzero(self.gate.last_seq != held):
            taken = np.arange(held[source] + 1, self.gate.last_seq[source] + 1)
            self.gate.crcs[source, taken % HISTORY] = UNKNOWN
        self.gate.last_seq[:] = held

    def _start_page(self) -> None:
        """What is counted from the start of a process begins at 0; the rest of the page goes on."""
        page = self.head
        page.words[slot("group_frames_max")] = len(self.group)
        page.words[slot("pid_started")] = start_ticks(os.getpid())
        page.words[slot("pid")] = os.getpid()
        for field in _SINCE_START:
            page.words[slot(field)] = 0
        for k in range(BUCKETS):
            page.words[ACK_US + k] = page.words[SYNC_US + k] = 0
        self._publish(0)

    def _publish(self, count: int) -> None:
        meta, words, counts = self._meta, self.head.words, self._counts
        publish(self.head, self.writer, meta[_M_ORDINAL])
        words[_HEARTBEAT] = time.monotonic_ns()
        words[_NOW] = meta[_M_NOW]
        words[_BOOKED] = meta[_M_BOOKED]
        words[_REFUSED] = meta[_M_REFUSED]
        words[_SETTLED] = meta[_M_SETTLED]
        words[_DUPLICATES] = counts[1] + counts[2]
        words[_SYNC] = self.writer.sync_ns
        if count:
            words[_GROUPS] += 1
            words[_FRAMES] += count
            words[_BYTES] += (count + 1) * FRAME_BYTES
            self.head.count_time(SYNC_US, self.writer.last_sync_ns)
            rows = len(self.machine.books.accounts) + len(self.machine.books.positions)
            if rows != self._rows:
                self._rows = rows
                words[_GROWN] += 1

    def beat(self) -> None:
        """Tell whoever watches that the loop turns, busy or not."""
        self.head.words[_HEARTBEAT] = time.monotonic_ns()

    def acknowledged(self, spent_ns: int) -> None:
        """A group has been acknowledged, so long after its turn began."""
        self.head.words[_ACK] = spent_ns
        self.head.count_time(ACK_US, spent_ns)

    def durable_seq(self, source: int) -> int:
        """Last durable sequence number of a source."""
        return self._held[source]

    def ordinal(self) -> int:
        """Frames applied."""
        return self._meta[_M_ORDINAL]

    def now_ns(self) -> int:
        """The books' time."""
        return self._meta[_M_NOW]

    def digest(self) -> bytes:
        """Digest of the live state. Reads all of it: for audits and the end of a replay, not for every second."""
        return self.machine.state.digest()

    def outputs(self) -> int:
        """Number of the newest output."""
        return self._meta[_M_OUTPUTS]

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

    def tick_frame(self, at_ns: int) -> NDArray[np.void] | None:
        """The engine's own tick that is due at `at_ns`, or None. See `engine.gateway.clock.next_tick`."""
        due = next_tick(at_ns, self.now_ns(), self._clock_runs)
        if due is None:
            return None
        seq = int(self.gate.last_seq[Source.CLOCK]) + 1
        tick = f.new_frames(Template.TICK, 1, source=Source.CLOCK, first_seq=seq)
        tick["market"] = -1
        tick["now_ns"], tick["kind"], tick["interval_ns"] = due.now_ns, int(due.kind), due.interval_ns
        if due.kind != TickKind.OPEN:
            tick["prev_ns"] = self.now_ns()
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
