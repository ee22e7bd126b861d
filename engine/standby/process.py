"""The standby process: follow, write snapshots, and when the engine is dead take its place.

It takes over only what it owns: the journal's lock. Of several standbys one gets it; the others go on following.
What follows (a new epoch, the socket) is the composition root's: this room knows no server.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from engine.common.errors import JournalError, JournalLocked
from engine.common.logs import get_logger
from engine.common.memory import settle_memory
from engine.common.ready import notify_ready
from engine.common.settings import Settings
from engine.common.stop import Stop, StopSignals
from engine.core.apply import Machine
from engine.core.state import State
from engine.follower import Follower
from engine.journal.head import HeadPage
from engine.journal.recovery import JournalLock, Tail, take_tail
from engine.standby.snapshots import Snapshots
from engine.standby.watch import EngineWatch, Verdict
from kernels.admission import Gate, new_gate
from kernels.frames import FRAME_BYTES

_HEAD_PATIENCE_S = 30.0
_KILL_TIMEOUT_MS = 5_000


class Taken(NamedTuple):
    """All that an engine needs before it opens a new epoch: books and gate at a durable tail, and the lock."""

    machine: Machine
    gate: Gate
    tail: Tail
    lock: JournalLock


class Standby:
    """One standby, driven by `run` on the thread that owns it. `stop` ends it.

    make_room: gives the books the memory that an engine starts with; called whenever less than half of it is left,
    so that a takeover need not.
    """

    def __init__(
        self, settings: Settings, stop: Stop, make_room: Callable[[Machine], None] | None = None
    ) -> None:
        self._directory = settings.data_dir / "journal"
        self._settings = settings.standby
        self._reserve = settings.engine.reserve_accounts
        self._make_room = make_room
        self._roomy: State | None = None
        self._stop = stop
        self.machine, self.gate = Machine(), new_gate()
        self._follower = Follower(self._directory, from_snapshot=True, machine=self.machine, gate=self.gate)
        self._head = HeadPage(self._directory / "head")
        self._watch = EngineWatch(self._head, self._settings.hung_after_ms * 1_000_000)
        self._snapshots = Snapshots(self._directory, self._settings, time.monotonic_ns())

    def catch_up(self) -> int:
        """Fold what is durable now; returns the position reached."""
        while not self._stop.is_set() and self._follower.poll() is not None:
            continue
        self._keep_room()
        return self._follower.position

    def run(self) -> Taken | None:
        """Follow until the engine is dead and its place taken, or until `stop` (None)."""
        while not self._stop.is_set():
            moved = self._follower.poll() is not None
            now_ns = time.monotonic_ns()
            if self._engine_gone(now_ns):
                taken = self._take_over()
                if taken is not None:
                    return taken
                time.sleep(self._settings.poll_ms / 1000)
            elif self._snapshots.due(self._follower.position, now_ns):
                self._snapshots.write(
                    self.machine, self.gate, self._follower.cursor, now_ns, self._must_break_off
                )
            elif not moved:
                self._keep_room()
                self._watch.wait(self._settings.poll_ms)
        return None

    def _keep_room(self) -> None:
        """Make room in books that are new to us, or of which less than half of what was made is left."""
        state = self.machine.state
        left = len(state.books.accounts) - state.number("accounts")
        if self._make_room and (state is not self._roomy or 2 * left < self._reserve):
            self._make_room(self.machine)
            self._roomy = state

    def close(self) -> None:
        """Let go of journal and engine."""
        self._follower.close()
        self._watch.close()

    def _must_break_off(self) -> bool:
        return self._stop.is_set() or self._watch.look(time.monotonic_ns()) is not Verdict.ALIVE

    def _engine_gone(self, now_ns: int) -> bool:
        """True if the engine is dead; one that is hung is killed and awaited first."""
        verdict = self._watch.look(now_ns)
        if verdict is Verdict.HUNG:
            get_logger().error("engine_hung", action="killed")
            return self._watch.kill(_KILL_TIMEOUT_MS)
        return verdict is Verdict.DEAD

    def _take_over(self) -> Taken | None:
        """Take the lock, fold to the last complete group, make that durable. None: another has the lock.

        JournalDamaged, WitnessMismatch: nothing was changed, and the lock is free again.
        """
        try:
            lock = JournalLock(self._directory)
        except JournalLocked:
            return None
        began = time.perf_counter()
        try:
            while self._follower.poll(at_rest=True) is not None:
                continue
            tail = take_tail(
                self._directory,
                self._follower.cursor,
                group_bytes=(1 + self._head.get("group_frames_max")) * FRAME_BYTES,
            )
        except BaseException:
            lock.release()
            raise
        self.close()
        get_logger().warning(
            "taking_over",
            position=int(tail.cursor.position),
            torn_bytes=int(tail.torn_bytes),
            ms=round((time.perf_counter() - began) * 1e3, 2),
        )
        return Taken(self.machine, self.gate, tail, lock)


def follow(settings: Settings, make_room: Callable[[Machine], None]) -> Taken | None:
    """Process entry, all kernels loaded: be the standby until SIGTERM or SIGINT (None), or until it has taken over.

    make_room as for `Standby`. Garbage collection is off from here on: what lives now lives on, and the engine's
    loop will need it so.
    """
    stop = StopSignals()
    _await_head(settings.data_dir / "journal" / "head", stop)
    if stop.is_set():
        return None
    standby = Standby(settings, stop, make_room)
    position = standby.catch_up()
    gc.collect()
    gc.freeze()
    gc.disable()
    settle_memory()
    notify_ready({"pid": os.getpid(), "position": position})
    taken = standby.run()
    stop.close()
    if taken is None:
        standby.close()
    return taken


def _await_head(head: Path, stop: StopSignals) -> None:
    """Wait for the engine's head page: the standby may start first. JournalError: none in time."""
    deadline_s = time.monotonic() + _HEAD_PATIENCE_S
    while not head.exists() and not stop.wait(0.02):
        if time.monotonic() > deadline_s:
            raise JournalError(f"{head}: no engine has run here; start one")
