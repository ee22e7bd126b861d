"""What a benchmark reports, and how it takes time.

An area is a module `bench/<area>.py` with `def run() -> Iterator[Budget]`. It checks its own answer against
something independent and measures its rivals in the same run.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_GOAL = re.compile(r"^(≥|≤)\s*([0-9][0-9_]*(?:\.[0-9]+)?(?:e-?[0-9]+)?)$")


@dataclass(frozen=True)
class Budget:
    """One measured figure against its goal.

    `goal`: "≥ 200000" or "≤ 1.5", in `unit`. `ratios`: rival → our figure over theirs, the same way round as
    the goal. `answer_checked`: the answer was compared with an independent one and is right. `sizes`: figure
    by problem size, where it was measured at several. ValueError: the goal is in another form.
    """

    name: str
    figure: float
    unit: str
    goal: str
    answer_checked: bool
    ratios: dict[str, float] = field(default_factory=dict)
    sizes: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _GOAL.match(self.goal):
            raise ValueError(f"{self.name}: goal {self.goal!r} is not of the form '≥ number' or '≤ number'")

    @property
    def met(self) -> bool:
        """Whether the figure reaches the goal. Never true for a wrong answer."""
        match = _GOAL.match(self.goal)
        assert match is not None
        bound = float(match[2])
        reached = self.figure >= bound if match[1] == "≥" else self.figure <= bound
        return self.answer_checked and reached

    def row(self) -> dict[str, Any]:
        """The budget as it is printed, in the order of its keys."""
        return {
            "name": self.name,
            "figure": self.figure,
            "unit": self.unit,
            "goal": self.goal,
            "met": self.met,
            "ratios": self.ratios,
            "answer_checked": self.answer_checked,
            "sizes": self.sizes,
        }


def load_1m() -> float:
    """Processes that ran or waited for a CPU or a disk, on average over the last minute."""
    return os.getloadavg()[0]


def machine_load() -> str:
    """In words: what else the machine has to do as a measurement begins."""
    return f"{os.cpu_count()} CPUs, load {load_1m():.1f} over the last minute"


def best_of(call: Callable[[], object], repeats: int = 5, warmups: int = 1) -> float:
    """Seconds of the fastest of `repeats` calls, after `warmups` that compile and fill caches."""
    for _ in range(warmups):
        call()
    best_ns = min(_timed(call) for _ in range(repeats))
    return best_ns / 1e9


def _timed(call: Callable[[], object]) -> int:
    began_ns = time.perf_counter_ns()
    call()
    return max(time.perf_counter_ns() - began_ns, 1)
