"""The engine's clock, sans-IO: when to tick, and at what time, whatever the wall clock does.

It follows the machine's monotonic clock and leans toward the wall clock, so that a small correction of the
wall clock is taken up gradually and time never goes back. A wall clock that jumped is believed only when it
has stood there for a while.
"""

from __future__ import annotations

from typing import NamedTuple

from kernels.frames import TickKind

SECOND_NS = 1_000_000_000
RISK_NS = 100_000_000
SLEW = 1000
"""While it differs from the wall clock it runs faster or slower by one part in this many."""
JUMP_NS = SECOND_NS
"""A difference from the wall clock that is not slewed."""
BELIEVED_NS = 10 * SECOND_NS
"""For so long the wall clock must stand where it jumped to before this clock jumps after it, forward only."""
PAUSE_NS = 5 * SECOND_NS
"""After a longer gap the clock opens anew: what lies between was paused, neither sampled nor paid."""


class SteadyTime:
    """Wall clock time that never goes back and does not jump with every step of the wall clock."""

    def __init__(self, wall_ns: int, monotonic_ns: int) -> None:
        self._at_ns, self._monotonic_ns = wall_ns, monotonic_ns
        self._jumped_at_ns, self._jump_ns = 0, 0
        self.off_ns = 0

    def read(self, wall_ns: int, monotonic_ns: int) -> int:
        """The time now, from both clocks of the machine. `off_ns`: what the wall clock is ahead by."""
        passed = max(0, monotonic_ns - self._monotonic_ns)
        self._monotonic_ns += passed
        self._at_ns += passed
        off = wall_ns - self._at_ns
        if -JUMP_NS <= off <= JUMP_NS:
            self._jump_ns = 0
            self._at_ns += max(-passed // SLEW, min(off, passed // SLEW))
        else:
            self._follow_jump(off)
        self.off_ns = wall_ns - self._at_ns
        return self._at_ns

    def _follow_jump(self, off: int) -> None:
        if self._jump_ns == 0 or abs(off - self._jump_ns) > JUMP_NS:
            self._jump_ns, self._jumped_at_ns = off, self._monotonic_ns
        elif off > 0 and self._monotonic_ns - self._jumped_at_ns >= BELIEVED_NS:
            self._at_ns += off
            self._jump_ns = 0


class Tick(NamedTuple):
    """A tick to be made: its time, kind, and the interval since the books' time (0 for OPEN)."""

    now_ns: int
    kind: TickKind
    interval_ns: int


def next_tick(at_ns: int, books_ns: int, running: bool) -> Tick | None:
    """The tick that is due at `at_ns` when the books' time is `books_ns`, or None. Ask again after it.

    running: a tick of this start is in the books; the first is OPEN. A whole second comes first, between two
    of them the newest tenth. What a late process missed is one longer interval, up to PAUSE_NS; past that the
    clock opens anew. So every interval is in one tick, and no hour ends in a RISK tick.
    """
    second = at_ns // SECOND_NS * SECOND_NS
    if second > books_ns:
        if not running or second - books_ns > PAUSE_NS:
            return Tick(second, TickKind.OPEN, 0)
        return Tick(second, TickKind.SECOND, second - books_ns)
    tenth = at_ns // RISK_NS * RISK_NS
    if running and tenth > books_ns:
        return Tick(tenth, TickKind.RISK, tenth - books_ns)
    return None


def wait_ns(at_ns: int, step_ns: int) -> int:
    """Until the next multiple of `step_ns`."""
    return step_ns - at_ns % step_ns
