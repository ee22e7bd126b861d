from __future__ import annotations

import hashlib

import numpy as np
import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.common.errors import UsageError
from relayer.core.log import FIRST_CAPACITY, MerkleLog
from relayer.core.rfc9162 import EMPTY_ROOT, is_subtree
from tests.relayer.core import twin


def leaves_of(count: int, width: int = 112, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, width), dtype=np.uint8)


def log_of(leaves: np.ndarray) -> MerkleLog:
    log = MerkleLog()
    log.append(leaves)
    return log


def test_the_empty_log_has_the_hash_of_nothing_as_root() -> None:
    assert MerkleLog().root() == hashlib.sha256(b"").digest() == EMPTY_ROOT
    assert MerkleLog().size == 0


def test_roots_at_every_size_match_the_recursive_definition() -> None:
    leaves = leaves_of(70)
    log = log_of(leaves)
    hashes = [twin.leaf(row.tobytes()) for row in leaves]
    assert [log.root(n) for n in range(71)] == [twin.tree_head(hashes[:n]) for n in range(71)]
    assert log.root() == log.root(70)
    assert [log.leaf_hash(i) for i in range(70)] == hashes


@settings(max_examples=60, deadline=None)
@given(groups=st.lists(st.integers(0, 90), max_size=12), width=st.integers(0, 130))
def test_grouping_never_shows(groups: list[int], width: int) -> None:
    leaves = leaves_of(sum(groups), width, seed=7)
    whole, grouped = log_of(leaves), MerkleLog()
    at = 0
    for count in groups:
        grouped.append(leaves[at : at + count])
        at += count
        assert grouped.root() == whole.root(at)
    assert grouped.size == whole.size == len(leaves)
    for level in range(len(leaves).bit_length() + 1):
        assert np.array_equal(grouped.level(level), whole.level(level))


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 600), width=st.sampled_from([1, 32, 112]), data=st.data())
def test_roots_match_pymerkle_at_random_sizes(count: int, width: int, data: st.DataObject) -> None:
    leaves = leaves_of(count, width, seed=count)
    log = log_of(leaves)
    tree = pymerkle.InmemoryTree.init_from_entries([row.tobytes() for row in leaves], algorithm="sha256")
    assert log.root() == tree.get_root()
    size = data.draw(st.integers(0, count))
    assert log.root(size) == tree.get_root(size)


def test_leaves_of_different_widths_in_one_log() -> None:
    log = MerkleLog()
    parts = [b"", b"a", b"bcd"]
    for part in parts:
        log.append(np.frombuffer(part, dtype=np.uint8).reshape(1, len(part)))
    assert log.root() == twin.tree_head([twin.leaf(part) for part in parts])


def test_rows_need_not_be_contiguous() -> None:
    wide = leaves_of(9, 64)
    assert log_of(wide[::2, 8:40]).root() == log_of(np.ascontiguousarray(wide[::2, 8:40])).root()


def test_growth_keeps_what_was_there() -> None:
    leaves = leaves_of(3 * FIRST_CAPACITY + 5, 8)
    log = MerkleLog()
    roots = []
    for row in leaves:
        log.append(row.reshape(1, 8))
        roots.append(log.root())
    assert [log.root(n + 1) for n in range(len(leaves))] == roots


def test_appended_leaf_hashes_equal_appended_leaves() -> None:
    leaves = leaves_of(37)
    by_hash = MerkleLog()
    by_hash.append_hashes(log_of(leaves).level(0))
    assert by_hash.root() == log_of(leaves).root()


def test_the_caller_may_reuse_its_array_and_cannot_write_ours() -> None:
    leaves = leaves_of(8)
    log = log_of(leaves)
    root = log.root()
    leaves[:] = 0
    assert log.root() == root
    with pytest.raises(ValueError, match="read-only"):
        log.level(0)[0, 0] = 1


def test_range_roots_are_the_heads_of_their_leaves() -> None:
    leaves = leaves_of(21)
    log = log_of(leaves)
    hashes = [twin.leaf(row.tobytes()) for row in leaves]
    ranges = [(a, b) for a in range(22) for b in range(23)]
    valid = [(a, b) for a, b in ranges if is_subtree(a, b, 21)]
    assert (8, 13) in valid
    assert (5, 8) not in valid
    assert (0, 22) not in valid
    assert [log.range_root(a, b) for a, b in valid] == [twin.tree_head(hashes[a:b]) for a, b in valid]
    for a, b in set(ranges) - set(valid):
        with pytest.raises(UsageError):
            log.range_root(a, b)


@pytest.mark.parametrize("size", [-1, 6])
def test_sizes_it_never_had_are_refused(size: int) -> None:
    with pytest.raises(UsageError, match="log of 5 leaves"):
        log_of(leaves_of(5)).root(size)


@pytest.mark.parametrize("index", [-1, 5])
def test_leaves_it_does_not_hold_are_refused(index: int) -> None:
    with pytest.raises(UsageError, match="log of 5 leaves"):
        log_of(leaves_of(5)).leaf_hash(index)


@pytest.mark.parametrize(
    "bad", [np.zeros(8, np.uint8), np.zeros((2, 8), np.int64), np.zeros((1, 2, 8), np.uint8)]
)
def test_a_refused_append_changes_nothing(bad: np.ndarray) -> None:
    log = log_of(leaves_of(5))
    root = log.root()
    with pytest.raises(UsageError):
        log.append(bad)
    with pytest.raises(UsageError):
        log.append_hashes(bad)
    assert (log.size, log.root()) == (5, root)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(0, 600), cut=st.integers(0, 600), more=st.integers(0, 600))
def test_a_log_that_is_cut_goes_on_as_if_it_had_never_been_longer(count: int, cut: int, more: int) -> None:
    log, cut = log_of(leaves_of(count, 40)), min(cut, count)
    log.consistency_proofs([1][: min(count, 1)])
    log.cut(cut)
    other = np.concatenate((leaves_of(count, 40)[:cut], leaves_of(more, 40, seed=1)))
    assert (log.size, log.root()) == (cut, log_of(other[:cut]).root())
    log.append(other[cut:])
    whole = log_of(other)
    assert [log.root(n) for n in range(0, len(other), 37)] == [
        whole.root(n) for n in range(0, len(other), 37)
    ]
    for level in range(10):
        assert np.array_equal(log.level(level), whole.level(level))
    for index in range(0, len(other), 97):
        assert log.inclusion_proofs([index]).of(0) == whole.inclusion_proofs([index]).of(0)


@pytest.mark.parametrize("size", [-1, 6])
def test_a_log_cannot_be_cut_to_what_it_has_not(size: int) -> None:
    log = log_of(leaves_of(5))
    with pytest.raises(UsageError, match="cannot be cut"):
        log.cut(size)
    assert log.size == 5
