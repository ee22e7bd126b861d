"""How much of a long work a turn may do, by what it cost before. Time is an argument (ns)."""

from __future__ import annotations

FIRST_NS = 200
"""What a unit is taken to cost before any was measured: several times what it does."""
LEAST_UNITS = 1 << 12
"""Of fewer at a time the cost is not told: mostly it is that of the call. Nor are fewer asked for."""


class Pace:
    """Units that fit into `share_ns` of a turn."""

    def __init__(self, share_ns: int) -> None:
        self._share_ns, self._unit_ns = share_ns, FIRST_NS

    def units(self) -> int:
        """How many to do next; at least LEAST_UNITS, so that the work ends."""
        return max(LEAST_UNITS, self._share_ns // self._unit_ns)

    def took(self, units: int, spent_ns: int) -> None:
        """So many took so long."""
        if units >= LEAST_UNITS:
            self._unit_ns = max(1, spent_ns // units)
