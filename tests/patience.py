"""Time limits that a crowded machine stretches, and nothing else does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

_LOOK_S = 0.03


def crowd() -> float:
    """How much longer work takes now than on a core of its own: at least 1, by a short loop's time over its
    CPU time."""
    began_s, cpu_s = time.perf_counter(), time.process_time()
    while time.process_time() - cpu_s < _LOOK_S:
        pass
    return max(1.0, (time.perf_counter() - began_s) / _LOOK_S)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What is done inside takes at most so long; where others keep the cores busy before or after, as many times
    that as a loop of its own takes longer there. AssertionError: it took longer."""
    before, began_s = crowd(), time.monotonic()
    yield
    took_s = time.monotonic() - began_s
    if took_s >= seconds:
        stretched = seconds * max(before, crowd())
        assert took_s < stretched, (
            f"{took_s:.2f} s, at most {stretched:.2f} s ({seconds:g} on a machine of its own)"
        )
