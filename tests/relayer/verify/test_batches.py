"""The plain batches against the relayer's own, and the plain log against two others."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.apply import Machine
from engine.venue.simulator import Simulator
from kernels.crc32c import seal_frames, words_of
from kernels.frames import FRAME, SettingKind, Source, Template, new_frames
from relayer.core import batch as batch_module
from relayer.core.log import MerkleLog
from relayer.core.rfc9162 import EMPTY_ROOT
from relayer.core.shards import Shards
from relayer.planner import Plan, Planner
from relayer.verify import batches as plain_module
from relayer.verify.batches import PlainBatches, PlainLog, expected_nodes
from relayer.verify.books import Audit
from tests.engine.journal.material import Frames, append, open_writer

SECOND_NS = 10**9
HOUR_NS = 3600 * SECOND_NS
START_NS = 472_222 * HOUR_NS - 10 * SECOND_NS


@given(st.lists(st.binary(max_size=130), max_size=70))
@settings(max_examples=40)
def test_the_plain_log_has_the_roots_of_two_other_logs(leaves: list[bytes]) -> None:
    plain, ours, theirs = PlainLog(), MerkleLog(), pymerkle.InmemoryTree(algorithm="sha256")
    assert plain.root() == ours.root() == EMPTY_ROOT == theirs.get_root()
    for leaf in leaves:
        plain.append(leaf)
        ours.append(np.frombuffer(leaf, np.uint8).reshape(1, len(leaf)))
        theirs.append_entry(leaf)
        assert plain.root() == ours.root() == theirs.get_root()
    assert plain.size == ours.size == theirs.get_size() == len(leaves)


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 1000, 4095, 4097])
def test_the_plain_log_at_round_and_odd_sizes(size: int) -> None:
    leaves = np.random.default_rng(size).integers(0, 256, (size, 112), dtype=np.uint8)
    plain, ours = PlainLog(), MerkleLog()
    ours.append(leaves)
    for leaf in leaves:
        plain.append(leaf.tobytes())
    assert plain.root() == ours.root()


def stream(steps: list[tuple[int, int]], *, seed: int, window_s: int, start_ns: int = START_NS) -> Frames:
    """Frames of a run: each step is (seconds until it, fills in it); a tick ends every step."""
    venue = Simulator(seed, markets=2, accounts=5, batch_window_ns=window_s * SECOND_NS)
    parts = [venue.genesis(start_ns), venue.tick(start_ns), venue.register()]
    now_ns = start_ns
    for seconds, fills in steps:
        now_ns += seconds * SECOND_NS
        parts += [venue.step(now_ns, fills), venue.tick(now_ns)]
    return np.concatenate(parts).view(FRAME)


def both(
    frames: Frames, *, rows_per_chunk: int, group: int, shard_leaves: int = 1 << 26
) -> tuple[list[Plan], PlainBatches]:
    """The plans of the relayer and the batches of the verifier, from one journal at rest."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "journal"
        writer = open_writer(directory)
        append(writer, frames, [group] * (len(frames) // group + 1), Machine())
        writer.close()
        plain = PlainBatches(rows_per_chunk, shard_leaves)
        Audit(directory, plain).run()
        log = Shards(shard_leaves=shard_leaves)
        planner = Planner(directory, rows_per_chunk=rows_per_chunk, live=False, log=log)
        plans = []
        while True:
            position = planner.follower.position
            if (plan := planner.next()) is not None:
                plans.append(plan)
            elif planner.follower.position == position:
                break
        planner.follower.close()
        assert planner.batcher.open_fills == plain.open_fills
    return plans, plain


def assert_same(plans: list[Plan], plain: PlainBatches) -> None:
    """Node by node the same bytes and the same edges."""
    assert [p.commit for p in plans] == [b.commit for b in plain.batches]
    for plan, batch in zip(plans, plain.batches, strict=True):
        assert plan.payloads == batch.payloads
        assert plan.edges == batch.parents
    nodes = {node: memo for plan in plans for node, memo in plan.payloads.items()}
    assert expected_nodes(plain.batches) == nodes


STEPS = st.lists(st.tuples(st.sampled_from([1, 1, 2, 5, 9]), st.integers(0, 12)), min_size=1, max_size=25)


@given(
    STEPS, st.integers(0, 1000), st.sampled_from([1, 2, 7]), st.sampled_from([1, 3, 6]), st.integers(1, 200)
)
@settings(max_examples=12)
def test_random_streams_give_the_relayer_s_batches(
    steps: list[tuple[int, int]], seed: int, window_s: int, rows_per_chunk: int, group: int
) -> None:
    plans, plain = both(
        stream(steps, seed=seed, window_s=window_s), rows_per_chunk=rows_per_chunk, group=group
    )
    assert_same(plans, plain)
    covered = sum(b.commit.fills for b in plain.batches) + plain.open_fills
    assert covered == plain.log.size == sum(fills for _, fills in steps)


@given(STEPS, st.integers(1, 9), st.integers(1, 40))
@settings(max_examples=8)
def test_a_batch_full_of_fills_closes_behind_the_last_one(
    steps: list[tuple[int, int]], limit: int, group: int
) -> None:
    """With a limit of a few fills instead of 65,536, on both sides."""
    frames = stream(steps, seed=4, window_s=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_module, "FILLS_MAX", limit)
        patch.setattr(plain_module, "FILLS_MAX", limit)
        plans, plain = both(frames, rows_per_chunk=2, group=group)
    assert_same(plans, plain)
    assert all(b.commit.fills <= limit for b in plain.batches)


@given(STEPS, st.integers(40, 60), st.integers(1, 3))
@settings(max_examples=8)
def test_shards_begin_where_the_verifier_begins_them(
    steps: list[tuple[int, int]], shard_leaves: int, window_s: int
) -> None:
    """Shards of so few leaves that a run fills several; no batch of a window of three seconds has more."""
    frames = stream(steps, seed=6, window_s=window_s)
    plans, plain = both(frames, rows_per_chunk=6, group=50, shard_leaves=shard_leaves)
    assert_same(plans, plain)
    sizes = [b.commit.log_size for b in plain.batches]
    assert sizes == sorted(sizes)
    assert [p.growth.shard for p in plans] == [max(size - 1, 0) // shard_leaves for size in sizes]


def test_batches_meet_without_gap_and_close_before_the_payment() -> None:
    """Ten seconds before the hour, a window of an hour: the tick on the hour closes all the same."""
    plans, plain = both(stream([(1, 5)] * 20, seed=2, window_s=3600), rows_per_chunk=6, group=64)
    assert_same(plans, plain)
    assert [b.commit.fills for b in plain.batches] == [50]
    assert plain.open_fills == 50
    _, several = both(stream([(1, 5)] * 20, seed=2, window_s=4), rows_per_chunk=6, group=64)
    commits = [b.commit for b in several.batches]
    assert [c.first for c in commits] == [1, *(c.last + 1 for c in commits[:-1])]


def test_an_empty_stretch_makes_no_batch() -> None:
    plans, plain = both(stream([(1, 3), *[(1, 0)] * 12, (1, 3), (9, 0)], seed=2, window_s=2),
                        rows_per_chunk=6, group=8)  # fmt: skip
    assert_same(plans, plain)
    assert [b.commit.fills for b in plain.batches] == [3, 3]


def test_a_position_waits_for_the_chunk_that_last_touched_it() -> None:
    _, plain = both(stream([(1, 12)] * 9, seed=6, window_s=1), rows_per_chunk=1, group=64)
    earlier = {node for b in plain.batches[:-1] for node in b.payloads}
    last = plain.batches[-1]
    waits = set().union(*last.parents.values()) - set(last.payloads)
    assert waits
    assert waits <= earlier
    assert {node.batch for node in waits} != {last.commit.batch - 1} or len(plain.batches) == 2


def test_a_batch_that_is_open_at_the_end_is_set_aside() -> None:
    plans, plain = both(stream([(1, 4), (1, 4)], seed=2, window_s=60), rows_per_chunk=6, group=8)
    assert plans == plain.batches == []
    assert plain.open_fills == plain.log.size == 8


def test_collateral_moved_by_a_lower_leverage_is_settled_in_a_batch_even_without_a_fill() -> None:
    steps = [(1, 12), (1, 12), (5, 0), (5, 0), (1, 3), (5, 0)]
    frames = stream(steps, seed=3, window_s=5)
    asked = new_frames(Template.SETTING, 10, source=Source.API, first_seq=1)
    asked["account"], asked["kind"] = [1, 2, 3, 4, 5] * 2, SettingKind.LEVERAGE
    asked["value"], asked["nonce"] = [10] * 5 + [2] * 5, [1] * 5 + [2] * 5
    seal_frames(words_of(asked), 0, len(asked))
    # Ten times before the first fill; twice behind the quiet tick that closes the batch of the fills.
    first = int(np.flatnonzero(frames["template"] == int(Template.FILL))[0])
    quiet = int(np.flatnonzero(frames["template"] == int(Template.TICK))[3]) + 1
    frames = np.insert(frames, [first] * 5 + [quiet] * 5, asked.view(FRAME))
    plans, plain = both(frames, rows_per_chunk=2, group=64)
    assert_same(plans, plain)
    moved = [b for b in plain.batches if b.commit.fills == 0]
    assert len(moved) == 1 and len(moved[0].payloads) > 1
