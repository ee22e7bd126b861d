"""Plans: the same journal gives the same bytes, however it is grouped and however far it is read at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import pytest

from engine.core.apply import Machine
from engine.journal.head import HeadPage
from engine.journal.reader import Cursor
from engine.journal.writer import publish
from relayer.core.graph import Node
from relayer.core.leaf import account_keys, leaves_of
from relayer.core.payload import Chunk, Commit, content_digest, decode
from relayer.planner import Plan, Planner
from relayer.verify.batches import PlainLog
from tests.engine.journal.material import append, flow, open_writer
from tests.relayer.core.journeys import batches_of

FRAMES = flow(steps=7, fills=30)


def journal(directory: Path, sizes: Iterable[int]) -> Path:
    """A journal at rest, in groups of these sizes."""
    writer = open_writer(directory)
    append(writer, FRAMES, sizes, Machine(capacity=1024))
    writer.close()
    return directory


def plans_of(directory: Path, *, rows_per_chunk: int = 3, live: bool = False) -> list[Plan]:
    """Every plan that can be had now."""
    planner, plans = Planner(directory, rows_per_chunk=rows_per_chunk, live=live), []
    while True:
        before = planner.follower.position
        plan = planner.next()
        if plan is not None:
            plans.append(plan)
        elif planner.follower.position == before:
            assert planner.caught_up()
            planner.follower.close()
            return plans


def settled_by(plans: list[Plan]) -> list[object]:
    """All of each plan that must not depend on grouping: where a fold goes on is a place in the file, and does."""
    return [
        (*plan[:4], plan.resume._replace(cursor=Cursor()), [delta.tolist() for delta in plan.deltas])
        for plan in plans
    ]


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> list[Plan]:
    return plans_of(journal(tmp_path_factory.mktemp("journal"), itertools.repeat(64)))


@pytest.mark.parametrize("sizes", [[1], [7, 1, 100], [511]])
def test_grouping_never_shows(tmp_path: Path, plans: list[Plan], sizes: list[int]) -> None:
    assert settled_by(plans_of(journal(tmp_path, itertools.cycle(sizes)))) == settled_by(plans)
    assert len(plans) >= 6


def test_a_live_planner_sees_what_is_durable_and_no_more(tmp_path: Path, plans: list[Plan]) -> None:
    writer, machine = open_writer(tmp_path), Machine(capacity=1024)
    head = HeadPage(tmp_path / "head", create=True)
    publish(head, writer, 0)
    planner, seen, at = Planner(tmp_path, rows_per_chunk=3), [], 0
    while at < len(FRAMES):
        at += append(writer, FRAMES[at:], [50], machine)
        assert planner.next() is None
        publish(head, writer, at)
        while (plan := planner.next()) is not None:
            assert plan.commit.last < at
            seen.append(plan)
        assert planner.ordinal == at
    writer.close()
    assert settled_by(seen) == settled_by(plans)


def test_what_a_plan_holds(plans: list[Plan]) -> None:
    frames = [frame.tobytes() for frame in FRAMES]
    machine, log = Machine(capacity=len(frames)), PlainLog()
    batches = batches_of(frames, [], machine)
    keys = account_keys(machine.books.keys)
    assert len(plans) == len(batches)
    for plan, batch in zip(plans, batches, strict=True):
        for leaf in leaves_of(batch.fills, keys):
            log.append(leaf.tobytes())
        rows = [row for chunk in plan.chunks for row in chunk.rows]
        content = content_digest(rows, batch.fees)
        head = (batch.number, batch.first, batch.last, len(batch.fills), log.size, log.root())
        assert plan.commit == Commit(*head, len(batch.deltas), len(plan.chunks), content)
        assert [(r.user, r.market, r.dsize, r.prev_batch) for r in rows] == [
            (keys[d["account"]].tobytes(), d["market"], d["dsize"], d["prev_batch"]) for d in batch.deltas
        ]


def test_payloads_nodes_and_edges_belong_together(plans: list[Plan]) -> None:
    known: set[Node] = set()
    for plan in plans:
        assert list(plan.payloads) == list(plan.edges)
        for node, memo in plan.payloads.items():
            value = decode(memo)
            assert (value.batch, value.chunk if isinstance(value, Chunk) else -1) == node
            assert plan.edges[node] <= known
            known.add(node)
    assert any(len(waits) > 2 for plan in plans for waits in plan.edges.values())


def test_every_position_waits_for_the_chunk_that_touched_it_last(plans: list[Plan]) -> None:
    last: dict[tuple[bytes, int], Node] = {}
    for plan in plans:
        for chunk in plan.chunks:
            waits = plan.edges[Node(chunk.batch, chunk.chunk)]
            for row in chunk.rows:
                before = last.get((row.user, row.market))
                assert row.prev_batch == (before.batch if before else 0)
                assert before is None or before in waits
        last.update({(r.user, r.market): Node(c.batch, c.chunk) for c in plan.chunks for r in c.rows})


@pytest.mark.parametrize("rows", [1, 6])
def test_chunk_sizes_change_the_transactions_not_the_content(
    tmp_path: Path, plans: list[Plan], rows: int
) -> None:
    others = plans_of(journal(tmp_path, itertools.repeat(64)), rows_per_chunk=rows)
    for one, other in zip(plans, others, strict=True):
        assert one.commit._replace(chunks=0) == other.commit._replace(chunks=0)
        assert max(len(chunk.rows) for chunk in other.chunks) <= rows
