"""Power cuts: whatever the disk forgets, tears or reorders of what was not synced, an engine that starts on what is
left has every frame that was acknowledged, and the exact state behind it.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from engine.common.errors import GodarkError
from engine.common.settings import Settings
from engine.core.apply import Machine
from engine.gateway.process import recover
from engine.journal.head import HeadPage
from engine.journal.recovery import JournalLock
from engine.journal.segment import list_segments
from engine.journal.snapshot import list_snapshots, verify_snapshot
from engine.journal.writer import SPARE_DIR, JournalWriter
from kernels.admission import Gate, new_gate
from tests.engine.journal.material import START_NS, Frames, flow
from tests.faults import harness
from tests.faults.disk import Disk, Kind, Record, read_log, sync_points
from tests.faults.driver import Driver, Gone
from tests.faults.harness import SEGMENT_BYTES, Judge
from tests.faults.nursery import Nursery

pytestmark = pytest.mark.end_to_end

FRAMES = flow(steps=9, fills=130)
PART = 90
LONG_SEEDS = 60
UNSYNCED_AT = 9
"""The sync before which the first engine is killed: behind those of its start, among those of its groups."""


class Cut(AssertionError):
    """An image of the disk from which an engine does not start, or starts without what was acknowledged."""


def _record(nursery: Nursery, place: Path, frames: Frames, plant: str = "") -> list[Record]:
    """What three engines in a row and a keeper did: the first is killed between a write and its sync, the second
    crosses into a segment that the keeper made; all are killed in the end.
    """
    settings, log = harness.small(place / "data"), place.parent / f"{place.name}.log"
    driver = Driver(settings.engine.socket, frames)
    recording = {"dir": place, "log": log}
    killed = {"only": "sync", "at": UNSYNCED_AT, "do": "before"}
    for life, upto in enumerate((len(frames), 1150, len(frames))):
        engine = nursery.start(settings, shim=recording if life else recording | killed, plant=plant)
        assert engine.ready() is not None, engine.said()
        try:
            driver.connect()
            while driver.sent < upto and driver.send(PART):
                driver.settle()
        except Gone:
            assert life == 0, engine.said()
        engine.stop()
        if life == 0:
            keeper = nursery.start(settings, command="keeper", shim=recording, plant=plant)
            # Recorded is what a call did, after it: a spare that is there may not be in the log yet.
            harness.wait_for(lambda: _spares(log) == 2)
            keeper.stop()
    driver.close()
    records = read_log(log)
    log.unlink()
    return records


def _spares(log: Path) -> int:
    """How many spare segments the log says were finished."""
    finished = (record.path2 for record in read_log(log) if record.kind == Kind.RENAME)
    return sum(SPARE_DIR in path and path.endswith(".ready") for path in finished)


def _start(directory: Path) -> tuple[Machine, Gate]:
    """What an engine does on its way to its first acknowledgement."""
    settings, machine, gate = Settings(data_dir=directory), Machine(capacity=2048), new_gate()
    JournalLock(directory / "journal").release()
    tail = recover(settings, machine, gate)
    JournalWriter(
        directory / "journal", tail, segment_bytes=SEGMENT_BYTES, group_frames_max=256, time_ns=START_NS,
        witness=machine.witness,
    ).close()  # fmt: skip
    return machine, gate


def _check(disk: Disk, judge: Judge, image: Path, seed: int, keep: float) -> int:
    """Cut, start on what is left, compare; the frames that are there. Cut: something is wrong."""
    disk.cut(image, seed, keep)
    if seed % 2 == 0 and disk.position and (image / "data" / "journal").is_dir():
        HeadPage(image / "data" / "journal" / "head", create=True).row["durable"] = disk.position
    try:
        machine, gate = _start(image / "data")
    except GodarkError as error:
        raise Cut(f"it does not start: {error.line()}") from error
    for path in list_snapshots(image / "data" / "journal"):
        try:
            verify_snapshot(path)
        except GodarkError as error:
            raise Cut(f"a snapshot that has its name is not whole: {error.line()}") from error
    for source, seq in disk.acked.items():
        if int(gate.last_seq[source]) < seq:
            raise Cut(f"source {source}: {seq} was acknowledged, {int(gate.last_seq[source])} is there")
    ordinal = machine.state.number("ordinal")
    if machine.state.digest() != judge.digest(ordinal):
        raise Cut(f"another state than the model's behind {ordinal} frames")
    return ordinal


def _cut_everywhere(
    place: Path, records: list[Record], judge: Judge, plans: list[tuple[int, float]], *, in_turns: int = 0
) -> list[int]:
    """Cut before and behind every sync and every promise, in each of the ways (seed, keep).

    in_turns: only at each so-manieth place, in one way after the other.
    """
    disk, done, found = Disk(place), 0, []
    points = sync_points(records)
    cuts = sorted({*points, *(k + 1 for k in points), len(records)})
    for number, point in enumerate(cuts, 1):
        for record in records[done:point]:
            disk.apply(record)
        done = point
        if in_turns and number % in_turns and point < len(records):
            continue
        for seed, keep in plans if not in_turns else [plans[number // in_turns % len(plans)]]:
            with harness.scratch() as image:
                try:
                    found.append(_check(disk, judge, image, seed + 16 * point, keep))
                except Cut as error:
                    raise Cut(f"cut before record {point}, {_shown(records, point)}; {error}") from error
    assert disk.acked and max(found[-3:]) == len(judge.frames)
    return found


def _shown(records: list[Record], at: int) -> str:
    record = records[min(at, len(records) - 1)]
    return f"{record.kind.name} {os.path.basename(record.path)}"


CI_PLANS = [(0, 0.0), (1, 1.0), (2, 0.5)]


def test_a_cut_at_any_sync_point(shimmed: Nursery, place: Path) -> None:
    records = _record(shimmed, place / "run", FRAMES)
    kinds = [record.kind for record in records]
    assert kinds.count(Kind.RENAME) >= 4 and kinds.count(Kind.SYNC) > 25
    found = _cut_everywhere(place / "run", records, Judge(FRAMES), CI_PLANS)
    assert len(set(found)) > 10, "cuts that all leave the same show nothing"


@pytest.mark.parametrize("plant", ["no sync", "late sync", "no directory sync"])
def test_an_engine_with_a_bug_is_found_out(shimmed: Nursery, place: Path, plant: str) -> None:
    records = _record(shimmed, place / "run", FRAMES[:700], plant)
    with pytest.raises(Cut, match="cut before record"):
        _cut_everywhere(place / "run", records, Judge(FRAMES[:700]), CI_PLANS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(LONG_SEEDS))
def test_a_cut_at_any_sync_point_in_many_ways(shimmed: Nursery, place: Path, seed: int) -> None:
    frames = flow(steps=9, fills=130, seed=seed)
    chance = random.Random(seed)
    plans = [(chance.randrange(1 << 30), chance.choice((0.05, 0.3, 0.5, 0.7, 0.95))) for _ in range(6)]
    _cut_everywhere(place / "run", _record(shimmed, place / "run", frames), Judge(frames), plans)


LONGER = flow(steps=14, fills=130)
EVERY = 400
"""Slots of journal between two snapshots: behind the third of them the first segment goes."""


def _record_takeover(nursery: Nursery, place: Path, frames: Frames, plant: str = "") -> list[Record]:
    """What an engine and its standby did: snapshots, segments and snapshots unlinked, and when the engine was killed
    with frames in flight, the takeover and what followed it. plant: in the standby.
    """
    settings, log = harness.small(place / "data"), place.parent / f"{place.name}.log"
    settings = harness.with_snapshots(settings, EVERY)
    journal, driver = settings.data_dir / "journal", Driver(settings.engine.socket, frames)
    engine = nursery.start(settings, shim={"dir": place, "log": log})
    assert engine.ready() is not None, engine.said()
    standby = nursery.start(settings, command="standby", shim={"dir": place, "log": log}, plant=plant)
    assert standby.ready() is not None, standby.said()
    driver.connect()
    due = EVERY
    while driver.sent < len(frames) - 3 * PART:
        driver.send(PART)
        driver.settle()
        if HeadPage(journal / "head").get("durable") >= due:
            harness.wait_for(lambda: harness.snapshots_of(settings)[-1:] >= [due])  # noqa: B023
            due = harness.snapshots_of(settings)[-1] + EVERY
    harness.wait_for(lambda: list_segments(journal)[0].first_position > 0)
    driver.send(PART)
    engine.stop()
    harness.go_on_elsewhere(driver, standby)
    driver.run(PART)
    driver.close()
    standby.stop()
    records = read_log(log)
    log.unlink()
    return records


def test_a_cut_while_a_standby_writes_snapshots_unlinks_and_takes_over(shimmed: Nursery, place: Path) -> None:
    records = _record_takeover(shimmed, place / "run", LONGER)
    gone = {Path(record.path).suffix for record in records if record.kind == Kind.UNLINK}
    named = [r.path2 for r in records if r.kind == Kind.RENAME and r.path2.endswith(".snap")]
    assert {".seg", ".snap"} <= gone and len(named) >= 4
    found = _cut_everywhere(place / "run", records, Judge(LONGER), CI_PLANS, in_turns=2)
    assert len(set(found)) > 10, "cuts that all leave the same show nothing"


def test_a_standby_that_does_not_sync_its_snapshots_is_found_out(shimmed: Nursery, place: Path) -> None:
    records = _record_takeover(shimmed, place / "run", LONGER, "no snapshot sync")
    with pytest.raises(Cut, match=r"is not whole|does not start"):
        _cut_everywhere(place / "run", records, Judge(LONGER), CI_PLANS, in_turns=3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(LONG_SEEDS // 4))
def test_a_cut_at_any_sync_point_of_engine_and_standby(shimmed: Nursery, place: Path, seed: int) -> None:
    frames = flow(steps=14, fills=130, seed=seed)
    chance = random.Random(seed)
    plans = [(chance.randrange(1 << 30), chance.choice((0.0, 0.05, 0.3, 0.5, 0.7, 0.95))) for _ in range(4)]
    _cut_everywhere(place / "run", _record_takeover(shimmed, place / "run", frames), Judge(frames), plans)
