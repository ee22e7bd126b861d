"""How a process without an event loop learns that it is to end."""

from __future__ import annotations

import os
import select
import signal
from typing import Protocol

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop(Protocol):
    """Whoever knows whether to go on."""

    def is_set(self) -> bool:
        """True once it is to end; it stays so."""


class StopSignals:
    """Set by SIGTERM or SIGINT, from now on and for good. One a process, made on its main thread.

    No `threading.Event`: a handler that sets one which its own thread is about to wait for, or has just waited for,
    waits for ever for a lock that this thread holds. One signal in some thousands did. Here the handler takes no
    lock, and whoever waits is woken through a pipe, also by a signal that came just before.
    """

    def __init__(self) -> None:
        self._set = False
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._woken, select.POLLIN)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, self._told)

    def _told(self, *_: object) -> None:
        self._set = True

    def is_set(self) -> bool:
        """True once the process was told to end."""
        return self._set

    def wait(self, timeout_s: float) -> bool:
        """Sleep so long, or until told to end; True if it was."""
        if not self._set and self._poll.poll(timeout_s * 1000):
            self._set = True
        return self._set

    def close(self) -> None:
        """Let go of the pipe. Signals still set it, and wake nobody."""
        if self._woken >= 0:
            signal.set_wakeup_fd(-1)
            self._poll.unregister(self._woken)
            os.close(self._woken)
            os.close(self._wake)
            self._woken = -1
