"""pymerkle's own proofs and verification, run over our log, against its own tree in memory."""

from __future__ import annotations

import numpy as np
import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle.core import InvalidChallenge
from pymerkle.proof import InvalidProof

from relayer.core.log import MerkleLog
from relayer.core.proofs import inclusion_proof
from relayer.verify.pymerkle_tree import LogTree


def entries_of(count: int, width: int = 112) -> list[bytes]:
    rows = np.random.default_rng(count).integers(0, 256, (count, width), dtype=np.uint8)
    return [row.tobytes() for row in rows]


def both(entries: list[bytes]) -> tuple[LogTree, pymerkle.InmemoryTree]:
    ours, theirs = LogTree(), pymerkle.InmemoryTree("sha256")
    assert ours.append_entries(entries) == theirs.append_entries(entries) == len(entries)
    return ours, theirs


@settings(max_examples=40)
@given(count=st.integers(1, 400), data=st.data())
def test_roots_and_proofs_are_those_of_the_tree_in_memory(count: int, data: st.DataObject) -> None:
    ours, theirs = both(entries_of(count))
    size = data.draw(st.integers(1, count))
    index, before = data.draw(st.integers(1, size)), data.draw(st.integers(1, size))
    assert ours.get_root(size) == theirs.get_root(size)
    inclusion, consistency = ours.prove_inclusion(index, size), ours.prove_consistency(before, size)
    assert inclusion.serialize() == theirs.prove_inclusion(index, size).serialize()
    assert consistency.serialize() == theirs.prove_consistency(before, size).serialize()
    assert inclusion.path[1:] == inclusion_proof(ours.log, index - 1, size)
    pymerkle.verify_inclusion(ours.get_leaf(index), theirs.get_root(size), inclusion, index, size)
    pymerkle.verify_consistency(theirs.get_root(before), theirs.get_root(size), consistency, before, size)


def test_every_size_of_a_small_log_in_full() -> None:
    ours, theirs = both(entries_of(20))
    for size in range(1, 21):
        for at in range(1, size + 1):
            assert ours.prove_inclusion(at, size).serialize() == theirs.prove_inclusion(at, size).serialize()
            assert (
                ours.prove_consistency(at, size).serialize() == theirs.prove_consistency(at, size).serialize()
            )


def test_entries_one_by_one_in_bulk_and_of_any_width_are_one_log() -> None:
    entries = [b"", b"a", b"", b"bc", b"de", bytes(112), bytes(300)]
    ours, theirs = both(entries)
    single = LogTree()
    assert [single.append_entry(entry) for entry in entries] == list(range(1, 8))
    assert ours.get_root() == single.get_root() == theirs.get_root()
    assert [ours.get_leaf(k) for k in range(1, 8)] == [theirs.get_leaf(k) for k in range(1, 8)]


def test_the_empty_tree_has_its_root_and_proves_nothing() -> None:
    tree = LogTree()
    assert tree.get_size() == 0
    assert tree.get_root() == pymerkle.InmemoryTree("sha256").get_root() == MerkleLog().root()
    with pytest.raises(InvalidChallenge):
        tree.prove_inclusion(1)


def test_a_log_that_grows_behind_the_tree_is_seen() -> None:
    log = MerkleLog()
    tree = LogTree(log)
    log.append(np.frombuffer(b"".join(entries_of(300)), np.uint8).reshape(300, 112))
    assert tree.get_size() == 300
    assert tree.get_root() == log.root()
    log.append(np.zeros((1, 112), np.uint8))
    assert tree.get_root() == log.root()
    assert tree.get_root(300) == log.root(300)


def test_the_uncached_and_recursive_forms_of_pymerkle_agree() -> None:
    ours, _ = both(entries_of(100))
    for start, width in ((0, 64), (64, 32), (96, 4), (7, 1)):
        assert ours._get_subroot_uncached(start, width) == ours._get_subroot(start, width)
    assert ours._get_root_naive(0, 100) == ours.get_root()


def test_pymerkle_rejects_what_is_not_of_our_log() -> None:
    ours, theirs = both(entries_of(77))
    theirs.append_entry(b"other")
    ours.append_entry(b"ours")
    proof = ours.prove_inclusion(78)
    with pytest.raises(InvalidProof):
        pymerkle.verify_inclusion(theirs.get_leaf(78), theirs.get_root(), proof)
