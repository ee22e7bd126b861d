"""Going on behind what is final: the same plans as a fold of everything, from what retention leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.common.errors import JournalFull, JournalGone, StoreError
from engine.journal import reader
from engine.journal.retention import holds
from engine.journal.snapshot import list_snapshots
from kernels.netting import DELTA
from relayer import resume
from relayer.core.shards import Shards
from relayer.planner import Plan, Planner
from relayer.resume import ResumePoints
from relayer.store import Store
from tests.engine.journal.material import flow
from tests.relayer.journals import journal_with_snapshots, let_go
from tests.relayer.test_planner import plans_of

FRAMES = flow(steps=24, fills=30)
SECOND_NS = 10**9


@pytest.fixture(scope="module", autouse=True)
def little_at_once() -> Iterator[None]:
    """Followers read a group at a time, as beside an engine: a journal of this size is else one read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "AT_ONCE", 40)
        yield


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> list[Plan]:
    directory = tmp_path_factory.mktemp("whole") / "journal"
    return plans_of(journal_with_snapshots(directory, FRAMES, every=10**6))


def settle(store: Store, directory: Path, plans: list[Plan]) -> None:
    """All of these are final: recorded, and the journal told."""
    points = ResumePoints(store, directory)
    for plan in plans:
        points.expect(plan.resume, plan.deltas)
    points.advance(plans[-1].commit.batch, 0)


def log_behind(plans: list[Plan]) -> Shards:
    """The log as these plans leave it."""
    log = Shards()
    for plan in plans:
        _, before, after, _, entries = plan.growth
        log.append(entries[len(entries) - (after - before) :])
    return log


def rest(directory: Path, store: Store, before: list[Plan]) -> list[Plan]:
    """What a start plans now. before: the plans up to its resume point, which gave the log that it has."""
    planner, out = Planner(directory, rows_per_chunk=3, live=False, store=store, log=log_behind(before)), []
    while True:
        before = planner.follower.position
        plan = planner.next()
        if plan is not None:
            out.append(plan)
        elif planner.follower.position == before:
            planner.follower.close()
            return out


def test_behind_any_batch_the_same_plans_from_what_is_left_of_the_journal(
    tmp_path: Path, plans: list[Plan]
) -> None:
    directory = journal_with_snapshots(tmp_path / "journal", FRAMES, every=2)
    store, kept, began = Store(tmp_path / "store.sqlite"), [], []
    for done, plan in enumerate(plans, 1):
        settle(store, directory, plans[done - 1 : done])
        kept.append(let_go(directory, kept=100))
        planner = Planner(directory, rows_per_chunk=3, live=False, store=store, log=log_behind(plans[:done]))
        began.append(planner.follower.position)
        planner.follower.close()
        for ours, whole in zip(rest(directory, store, plans[:done]), plans[done:], strict=True):
            assert (ours.commit, ours.chunks, ours.payloads) == (whole.commit, whole.chunks, whole.payloads)
            assert ours.resume.log_size == whole.resume.log_size
            assert ours.growth.entries.tobytes() == whole.growth.entries.tobytes()
            new = {n: {p for p in waits if p.batch > done or n.chunk < 0} for n, waits in whole.edges.items()}
            assert {n: {p for p in w if p.batch > done or n.chunk < 0} for n, w in ours.edges.items()} == new
        assert planner.log.log.root() == plan.commit.root
    assert kept == sorted(kept) and len(set(kept)) > 5, "segments were let go of on the way"
    assert began == sorted(began) and began[-1] > began[0] > 0, "and the fold began ever later"


def test_without_a_snapshot_the_whole_journal_is_folded_and_nothing_planned_twice(
    tmp_path: Path, plans: list[Plan]
) -> None:
    directory = journal_with_snapshots(tmp_path / "journal", FRAMES, every=10**6)
    store = Store(tmp_path / "store.sqlite")
    settle(store, directory, plans[:7])
    assert [p.payloads for p in rest(directory, store, plans[:7])] == [p.payloads for p in plans[7:]]
    assert let_go(directory) == 0


def test_a_start_without_its_record_is_refused_once_the_start_of_the_journal_is_gone(
    tmp_path: Path, plans: list[Plan]
) -> None:
    directory = journal_with_snapshots(tmp_path / "journal", FRAMES, every=2)
    settle(Store(tmp_path / "store.sqlite"), directory, plans[:12])
    assert let_go(directory) > 0
    with pytest.raises(JournalGone, match="no snapshot up to 0 is usable"):
        rest(directory, Store(tmp_path / "another.sqlite"), [])


def test_a_damaged_snapshot_is_passed_over_for_the_one_before(tmp_path: Path, plans: list[Plan]) -> None:
    directory = journal_with_snapshots(tmp_path / "journal", FRAMES, every=2)
    store = Store(tmp_path / "store.sqlite")
    settle(store, directory, plans[:12])
    assert let_go(directory) > 0
    place = plans[11].resume.cursor.position
    usable = [path for path in list_snapshots(directory) if int(path.stem) <= place]
    assert len(usable) == 2
    usable[-1].write_bytes(usable[-1].read_bytes()[:-1])
    assert [p.payloads for p in rest(directory, store, plans[:12])] == [p.payloads for p in plans[12:]]
    usable[0].unlink()
    with pytest.raises(JournalGone, match="put the older segments"):
        rest(directory, store, plans[:12])


def test_another_journal_than_the_recorded_one_is_refused_and_keeps_its_hold(
    tmp_path: Path, plans: list[Plan]
) -> None:
    other = journal_with_snapshots(tmp_path / "other", flow(steps=24, fills=30, seed=9), every=2)
    short = journal_with_snapshots(tmp_path / "short", FRAMES[:200], every=2)
    mine = journal_with_snapshots(tmp_path / "mine", FRAMES, every=2)
    store = Store(tmp_path / "store.sqlite")
    settle(store, mine, plans[:12])
    for directory in (other, short):
        for live in (True, False):
            with pytest.raises(StoreError, match="not the journal that the relayer's record was made from"):
                Planner(directory, rows_per_chunk=3, live=live, store=store)
        assert not holds(directory)


def test_a_log_that_is_not_the_recorded_one_is_refused(tmp_path: Path, plans: list[Plan]) -> None:
    directory = journal_with_snapshots(tmp_path / "journal", FRAMES, every=10**6)
    store = Store(tmp_path / "store.sqlite")
    settle(store, directory, plans[:7])
    with pytest.raises(StoreError, match=f"goes on behind {plans[6].commit.log_size}"):
        rest(directory, store, plans[:6])


def deltas(*pairs: tuple[int, int]) -> np.ndarray:
    out = np.zeros(len(pairs), DELTA)
    out["account"], out["market"] = np.array(pairs).T
    return out


def test_the_record_moves_once_in_a_pause_and_the_hold_behind_it(tmp_path: Path, plans: list[Plan]) -> None:
    store = Store(tmp_path / "store.sqlite")
    points = ResumePoints(store, tmp_path)
    assert holds(tmp_path) == {"relayer": 0}
    for k, plan in enumerate(plans[:5]):
        points.expect(plan.resume, deltas((1, 0), (2 + k, 1)))
    points.advance(0, 0)
    assert store.resume_point() is None
    points.advance(2, 0)
    assert store.resume_point() == plans[1].resume
    assert sorted(store.touched()) == [(1, 0, 2), (2, 1, 1), (3, 1, 2)]
    points.advance(4, resume.PAUSE_NS - 1)
    assert store.resume_point() == plans[1].resume
    points.advance(4, resume.PAUSE_NS)
    assert store.resume_point() == plans[3].resume
    assert sorted(store.touched()) == [(1, 0, 4), (2, 1, 1), (3, 1, 2), (4, 1, 3), (5, 1, 4)]
    assert holds(tmp_path) == {"relayer": plans[3].resume.cursor.position}
    assert ResumePoints(Store(tmp_path / "store.sqlite"), tmp_path) and holds(tmp_path)["relayer"] > 0


def test_a_disk_without_room_for_the_hold_keeps_more_until_there_is(
    tmp_path: Path, plans: list[Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store.sqlite")
    points = ResumePoints(store, tmp_path)

    def full(*_: object) -> None:
        raise JournalFull("no room")

    plan = plans[5]
    points.expect(plan.resume, plan.deltas)
    with monkeypatch.context() as patch:
        patch.setattr(resume, "hold", full)
        points.advance(plan.commit.batch, 0)
    assert store.resume_point() == plan.resume and holds(tmp_path) == {"relayer": 0}
    points.advance(plan.commit.batch, SECOND_NS)
    assert holds(tmp_path) == {"relayer": plan.resume.cursor.position}


def test_a_resume_point_lies_before_what_follows_its_batch(plans: list[Plan]) -> None:
    ends = [plan.resume.last for plan in plans]
    assert ends == [plan.commit.last for plan in plans]
    places = [plan.resume.cursor.position for plan in plans]
    assert places == sorted(places)
    assert all(place <= last + 1 + last // 40 + 40 for place, last in zip(places, ends, strict=True))
