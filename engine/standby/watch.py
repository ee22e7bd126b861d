"""Is the engine alive? By its process, not by its number; and by its heartbeat, fairly taken."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from enum import Enum

from engine.common.processes import start_ticks
from engine.journal.head import HeadPage

_OWN_PAUSE_NS = 250_000_000
"""A look this late after the one before it says that we were stopped ourselves: the engine may have been too."""


class Verdict(Enum):
    """What a look at the engine found."""

    ALIVE = "alive"
    DEAD = "dead"
    HUNG = "hung"


class EngineWatch:
    """Watches the process that the head page names, through a pidfd, which no later process can take over.

    hung_after_ns: a heartbeat older than this is a hung engine; 0: never. Time is the machine's monotonic clock.
    """

    def __init__(self, head: HeadPage, hung_after_ns: int) -> None:
        self._head = head
        self._hung_after_ns = hung_after_ns
        self._who = (0, 0)
        self._pidfd = -1
        self._poll = select.poll()
        self._looked_ns = 0
        self._fair_from_ns = 0

    def look(self, now_ns: int) -> Verdict:
        """The engine's state at `now_ns`. Never waits."""
        if now_ns - self._looked_ns > _OWN_PAUSE_NS:
            self._fair_from_ns = now_ns
        self._looked_ns = now_ns
        who = (self._head.get("pid"), self._head.get("pid_started"))
        if who != self._who:
            self._attach(who)
            self._fair_from_ns = now_ns
        if self._pidfd < 0 or self._poll.poll(0):
            return Verdict.DEAD
        beat_ns = max(self._head.get("heartbeat_ns"), self._fair_from_ns)
        if self._hung_after_ns and now_ns - beat_ns > self._hung_after_ns:
            return Verdict.HUNG
        return Verdict.ALIVE

    def wait(self, timeout_ms: int) -> None:
        """Sleep, at most so long, but no longer than the engine lives."""
        self._poll.poll(timeout_ms)

    def kill(self, timeout_ms: int) -> bool:
        """Kill the process and wait for its end; False if it has not ended in time."""
        if self._pidfd < 0:
            return True
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        return bool(self._poll.poll(timeout_ms))

    def close(self) -> None:
        """Let go of the process."""
        if self._pidfd >= 0:
            self._poll.unregister(self._pidfd)
            os.close(self._pidfd)
        self._pidfd = -1

    def _attach(self, who: tuple[int, int]) -> None:
        """Hold the process `who`, if it is still that one: a start that differs is another's."""
        self.close()
        self._who = who
        pid, started = who
        try:
            self._pidfd = os.pidfd_open(pid) if pid > 0 else -1
        except ProcessLookupError:
            return
        if self._pidfd < 0:
            return
        self._poll.register(self._pidfd, select.POLLIN)
        if start_ticks(pid) != started:
            self.close()
