"""What the devnet can be told to do wrong, to see what its users make of it.

Counted faults hit the next so many calls, or every k-th; levels hold until they are changed. All are off
unless set, and can be set over RPC only when the process was started with faults allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from relayer.devnet.bank import CODE_PARAMS, Refusal

# drop_send: closed without executing. vanish_send: answered with a signature, never executed.
# lose_answer: executed, then closed. http_429, rpc_429, node_behind, malformed: any call.
# null_statuses: every status of the answer is null.
COUNTED: Final = frozenset(
    {
        "drop_send",
        "vanish_send",
        "lose_answer",
        "http_429",
        "rpc_429",
        "node_behind",
        "malformed",
        "null_statuses",
    }
)
# delay_ms: before every answer. lag_slots: the node sees the chain so far behind.
# height_offset: added to every block height it tells.
LEVELS: Final = frozenset({"delay_ms", "lag_slots", "height_offset"})
_DELAY_LIMIT_MS: Final = 60_000


@dataclass(slots=True)
class _Rule:
    remaining: int
    every: int
    calls: int = 0


class Faults:
    """The faults in force. Deterministic: counts and periods, no dice."""

    def __init__(self) -> None:
        self._rules: dict[str, _Rule] = {}
        self.delay_ms = 0
        self.lag_slots = 0
        self.height_offset = 0

    def set(self, name: str, value: int, every: int = 1) -> None:
        """Set a level, or let a counted fault hit `value` times (-1: for ever), each `every`-th call.

        Raises Refusal for an unknown name or a value that makes no sense.
        """
        if name in COUNTED and value >= -1 and every >= 1:
            self._rules[name] = _Rule(value, every)
        elif name == "delay_ms" and 0 <= value <= _DELAY_LIMIT_MS:
            self.delay_ms = value
        elif name == "lag_slots" and value >= 0:
            self.lag_slots = value
        elif name == "height_offset":
            self.height_offset = value
        else:
            raise Refusal(CODE_PARAMS, f"no such fault, or a senseless value: {name}={value}")

    def take(self, name: str) -> bool:
        """Whether a counted fault hits this call. Counts the call."""
        rule = self._rules.get(name)
        if rule is None or rule.remaining == 0:
            return False
        rule.calls += 1
        if rule.calls % rule.every:
            return False
        if rule.remaining > 0:
            rule.remaining -= 1
        return True
