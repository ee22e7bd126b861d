"""Each call that the engine and its keeper make on the journal's files, failed, cut short, and died at.

Whatever happens: what was acknowledged is there, the next start is clean and in the model's state, and a failed
sync ends the engine at once.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import NamedTuple

import pytest

from engine.common.errors import JournalFull, SyncFailed
from engine.common.settings import Settings
from engine.journal.keeper import AHEAD, top_up
from engine.journal.writer import SPARE_DIR
from tests.engine.journal.material import flow
from tests.faults import harness
from tests.faults.disk import Kind, read_log
from tests.faults.driver import Driver, Gone
from tests.faults.harness import SEGMENT_BYTES, Judge, finish
from tests.faults.nursery import Nursery

pytestmark = pytest.mark.end_to_end

FRAMES = flow(steps=9, fills=130)
JUDGE = Judge(FRAMES)
PART = 200
FEW = FRAMES[:250]
EIO, FULL = f"error:{errno.EIO}", f"error:{errno.ENOSPC}"
WAYS = {
    Kind.WRITE: (EIO, FULL, "short", "before", "after"),
    Kind.SYNC: (EIO, "before", "after"),
    Kind.RENAME: (EIO, FULL, "before", "after"),
    Kind.TRUNCATE: (EIO, "before"),
    Kind.CREATE: (EIO, FULL, "before", "after"),
    Kind.MKDIR: ("before",),
    Kind.UNLINK: (EIO, "before"),
}


class End(NamedTuple):
    """How an engine that something happened to ended: its status (None: it did not), and what it said."""

    status: int | None
    said: str
    faults: list[str]


def _settings(place: Path) -> Settings:
    """One spare segment lies ready, so that both ways to a segment are taken."""
    settings = harness.small(place / "data")
    top_up(settings.data_dir / "journal", SEGMENT_BYTES, 1)
    return settings


def _calls(nursery: Nursery, place: Path) -> list[Kind]:
    """What an engine does to files from its start to the last of FRAMES."""
    settings, log = _settings(place), place.parent / "calls.log"
    driver = Driver(settings.engine.socket, FRAMES)
    engine = nursery.start(settings, shim={"dir": place, "log": log})
    assert engine.ready() is not None, engine.said()
    driver.connect()
    driver.run(PART)
    driver.close()
    engine.stop()
    kinds = [record.kind for record in read_log(log, failed=True) if record.kind != Kind.SENT]
    log.unlink()
    return kinds


def _run(nursery: Nursery, place: Path, at: int, do: str) -> End:
    """An engine to which this happens at its call number `at`; afterwards one to which nothing happens."""
    settings = _settings(place)
    driver = Driver(settings.engine.socket, FRAMES, timeout_s=10)
    engine = nursery.start(settings, shim={"dir": place, "at": at, "do": do})
    status: int | None = None
    if not engine.serves():
        status = engine.wait(5)
    else:
        try:
            driver.connect()
            driver.run(PART)
        except Gone:
            if driver.faults:
                driver.connect()
                driver.run(PART)
            else:
                status = engine.wait(5)
        if status is None:
            harness.check_end(driver, JUDGE)
            engine.stop()
    finish(nursery, settings, driver, JUDGE).stop()
    driver.close()
    return End(status, engine.said(), driver.faults)


def _judge(end: End, kind: Kind, do: str) -> None:
    assert "unexpected" not in end.said and "Traceback" not in end.said, end
    if do in ("before", "after"):
        assert end.status == -9, end
    elif kind == Kind.SYNC:
        assert end.status == SyncFailed.exit_code, end
    elif do == "short":
        assert end.status is None, end
    elif do == FULL:
        # While it serves it answers and goes on; before, it waits. For the very first file it says so and ends.
        assert (
            end.faults in ([], ["JOURNAL_FULL"])
            if end.status is None
            else end.status == JournalFull.exit_code and "/journal: cannot be used" in end.said
        ), end
        assert "No space left" in end.said
    else:
        assert end.status in (1, 2, 3, SyncFailed.exit_code), end
        assert end.said.strip().splitlines()[-1].startswith("godark: ") or "sync_failed" in end.said, end


def _each(nursery: Nursery, place: Path, *, every_way: bool) -> None:
    """Every call, in every way that applies to it or in one after the other of them."""
    kinds = _calls(nursery, place / "calls")
    assert {Kind.WRITE, Kind.SYNC, Kind.RENAME, Kind.CREATE, Kind.TRUNCATE} <= set(kinds) and len(kinds) > 25
    for at, kind in enumerate(kinds, 1):
        ways = WAYS[kind]
        for do in ways if every_way else ways[at % len(ways) :][:1]:
            with harness.scratch() as inside:
                try:
                    _judge(_run(nursery, inside, at, do), kind, do)
                except Exception as error:
                    raise AssertionError(f"call {at} of {len(kinds)}, {kind.name}, {do}") from error


def test_every_call_of_the_engine_fails_in_one_way(shimmed: Nursery, place: Path) -> None:
    _each(shimmed, place, every_way=False)


@pytest.mark.slow
def test_every_call_of_the_engine_fails_in_every_way(shimmed: Nursery, place: Path) -> None:
    _each(shimmed, place, every_way=True)


def _keep(nursery: Nursery, place: Path, shim: dict[str, object]) -> End:
    """A keeper to which something happens: until it has made its spares, said that there is no room, or ended."""
    settings = harness.small(place / "data")
    spare = settings.data_dir / "journal" / SPARE_DIR
    keeper = nursery.start(settings, command="keeper", shim={"dir": place, **shim})

    def settled() -> bool:
        return len(list(spare.glob("*.ready"))) == AHEAD or "journal_full" in keeper.said() or keeper.ended()

    ends = shim.get("do") in ("before", "after", EIO)
    harness.wait_for(keeper.ended if ends else settled)
    status = keeper.wait() if keeper.ended() else None
    if status is None:
        keeper.stop()
    for path in spare.glob("*.ready"):
        assert path.read_bytes() == bytes(SEGMENT_BYTES), "a spare that is not whole"
    return End(status, keeper.said(), [])


def _judge_keeper(end: End, kind: Kind, do: str) -> None:
    assert "unexpected" not in end.said and "Traceback" not in end.said, end
    if do in ("before", "after"):
        assert end.status == -9, end
    elif do == EIO:
        assert end.status == SyncFailed.exit_code and "Input/output error" in end.said, end
    else:
        assert end.status is None and ("No space left" in end.said or do != FULL), end


@pytest.mark.parametrize("every_way", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_call_of_the_keeper_fails(shimmed: Nursery, place: Path, every_way: bool) -> None:
    log = place / "calls.log"
    with harness.scratch() as inside:
        _keep(shimmed, inside, {"log": log})
    kinds = [record.kind for record in read_log(log, failed=True)]
    assert len(kinds) >= 12
    judge = Judge(FEW)
    for at, kind in enumerate(kinds, 1):
        ways = WAYS[kind]
        for do in ways if every_way else ways[at % len(ways) :][:1]:
            with harness.scratch() as inside:
                try:
                    _judge_keeper(_keep(shimmed, inside, {"at": at, "do": do}), kind, do)
                    settings = harness.small(inside / "data")
                    driver = Driver(settings.engine.socket, FEW)
                    finish(shimmed, settings, driver, judge).stop()
                    driver.close()
                except Exception as error:
                    raise AssertionError(f"call {at} of {len(kinds)}, {kind.name}, {do}") from error
