"""kill -9 of the engine at any instant, again and again: nothing acknowledged is lost, nothing is booked twice."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.engine.journal.material import flow, read_all
from tests.faults import harness
from tests.faults.driver import Driver, Gone
from tests.faults.harness import Judge, finish
from tests.faults.nursery import PATIENCE_S, Child, Nursery

pytestmark = pytest.mark.end_to_end

KILLS = 40
LONG_JOURNALS, LONG_KILLS = 20, 50
PART = 23
_LIVED_S = 0.012
_START_S = 0.03


def _feed_until_killed(engine: Child, driver: Driver, chance: random.Random) -> bool:
    """Send without waiting until the engine is killed, at an instant of its start or of its service. True if
    frames were in flight then."""
    try:
        ready = engine.ready(chance.uniform(0, _START_S) if chance.random() < 0.15 else PATIENCE_S)
    except TimeoutError:
        engine.stop()
        return False
    assert ready is not None, engine.said()
    try:
        driver.connect()
        left = chance.uniform(0, _LIVED_S)
        while left > 0:
            if not driver.send(chance.randint(1, PART)):
                break
            pause = chance.choice((0, 0, 0.0005, 0.002))
            driver.poll(pause)
            left -= max(pause, 0.0005)
        driver.send(chance.randint(1, PART))
        driver.poll(chance.choice((0, 0, 0, 0.00005, 0.0001, 0.0003)))
        in_flight = driver.sent > driver.acked_frames()
        engine.kill()
        driver.poll(driver.timeout_s)
    except Gone:
        in_flight = driver.sent > driver.acked_frames()
    engine.stop()
    return in_flight


def _campaign(nursery: Nursery, place: Path, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    frames = flow(steps=kills, fills=120, seed=seed)
    settings = harness.small(place / "data")
    driver, judge = Driver(settings.engine.socket, frames), Judge(frames)
    hit = sum(_feed_until_killed(nursery.start(settings), driver, chance) for _ in range(kills))
    assert driver.acked_frames() > 0 and hit > kills // 8, "kills with nothing in flight show nothing"
    assert driver.sent < len(frames), "killed too late to mean anything"
    finish(nursery, settings, driver, judge).stop()
    driver.close()
    journaled, _ = read_all(place / "data" / "journal", 8192)
    assert journaled.tobytes() == frames.tobytes(), "each frame once, in the order it was sent"


def test_kills_at_random_instants(nursery: Nursery, place: Path) -> None:
    _campaign(nursery, place, KILLS, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 2 + LONG_JOURNALS))
def test_a_thousand_kills(nursery: Nursery, place: Path, seed: int) -> None:
    _campaign(nursery, place, LONG_KILLS, seed)
