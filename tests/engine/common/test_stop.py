"""Being told to end: whenever a signal comes, whoever waits is woken, and nobody waits for ever."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from engine.common.stop import SIGNALS, StopSignals


@pytest.fixture
def stop() -> Iterator[StopSignals]:
    before = [signal.getsignal(number) for number in SIGNALS]
    made = StopSignals()
    yield made
    made.close()
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_sets_it_for_good(stop: StopSignals, number: int) -> None:
    assert not stop.is_set() and not stop.wait(0)
    os.kill(os.getpid(), number)
    assert stop.wait(10) and stop.is_set() and stop.wait(10)


def test_it_waits_as_long_as_told(stop: StopSignals) -> None:
    began = time.monotonic()
    assert not stop.wait(0.05)
    assert 0.045 < time.monotonic() - began < 5


def test_a_signal_ends_a_wait_that_has_begun(stop: StopSignals) -> None:
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
    began = time.monotonic()
    assert stop.wait(30)
    assert time.monotonic() - began < 10


def test_after_it_is_closed_a_signal_still_sets_it(stop: StopSignals) -> None:
    stop.close()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0)
    assert stop.is_set()
    stop.close()


def test_signals_at_any_moment_of_short_waits_wake_it(stop: StopSignals) -> None:
    """One in four thousand stopped a process whose handler took a lock; a hang ends this test by its time."""
    chance = random.Random(7)
    for _ in range(2000):
        stop.close()
        stop = StopSignals()
        delay_s = chance.random() * 0.0006

        def tell(delay_s: float = delay_s) -> None:
            until = time.perf_counter() + delay_s
            while time.perf_counter() < until:
                continue
            os.kill(os.getpid(), signal.SIGTERM)

        teller = threading.Thread(target=tell)
        teller.start()
        while not stop.wait(0.0002):
            continue
        teller.join(30)
        assert not teller.is_alive()
