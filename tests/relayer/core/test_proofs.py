from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.common.errors import ProofInvalid, UsageError
from relayer.core.log import MerkleLog
from relayer.core.proofs import (
    consistency_proof,
    inclusion_proof,
    subtree_proof,
    verify_consistency,
    verify_inclusion,
    verify_subtree,
    verify_subtree_inclusion,
)
from relayer.core.rfc9162 import is_subtree
from tests.relayer.core import twin

SMALL = 34


def log_of(count: int, seed: int = 0) -> MerkleLog:
    log = MerkleLog()
    log.append(np.random.default_rng(seed).integers(0, 256, (count, 16), dtype=np.uint8))
    return log


def hashes_of(log: MerkleLog) -> list[bytes]:
    return [row.tobytes() for row in log.level(0)]


def accepts(verify: Callable[..., None], *arguments: object) -> bool:
    try:
        verify(*arguments)
    except ProofInvalid:
        return False
    return True


def reason(verify: Callable[..., None], *arguments: object) -> object:
    with pytest.raises(ProofInvalid) as caught:
        verify(*arguments)
    return caught.value.context["reason"]


def flips(value: bytes) -> Iterator[bytes]:
    for bit in range(8 * len(value)):
        changed = bytearray(value)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def flipped_proofs(proof: list[bytes]) -> Iterator[list[bytes]]:
    for place, value in enumerate(proof):
        for changed in flips(value):
            yield [*proof[:place], changed, *proof[place + 1 :]]


def lengthened_or_shortened(proof: list[bytes]) -> Iterator[list[bytes]]:
    for place in range(len(proof)):
        yield proof[:place] + proof[place + 1 :]
        yield [*proof[:place], proof[place], *proof[place:]]
    yield [*proof, bytes(32)]
    yield [bytes(32), *proof]
    yield [*proof, b""]


def test_small_proofs_are_those_of_the_recursive_definition() -> None:
    log = log_of(SMALL)
    hashes = hashes_of(log)
    for size in range(1, SMALL + 1):
        for index in range(size):
            assert inclusion_proof(log, index, size) == twin.inclusion(index, hashes[:size])
        for size1 in range(1, size + 1):
            assert consistency_proof(log, size1, size) == twin.consistency(size1, hashes[:size])


def test_every_small_proof_verifies() -> None:
    log = log_of(SMALL)
    for size in range(1, SMALL + 1):
        for index in range(size):
            proof = inclusion_proof(log, index, size)
            verify_inclusion(log.leaf_hash(index), index, size, proof, log.root(size))
        for size1 in range(1, size + 1):
            verify_consistency(
                size1, size, log.root(size1), log.root(size), consistency_proof(log, size1, size)
            )


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 900), data=st.data())
def test_pymerkle_agrees_at_random_sizes(size: int, data: st.DataObject) -> None:
    log = log_of(size, seed=size)
    rows = np.random.default_rng(size).integers(0, 256, (size, 16), dtype=np.uint8)
    tree = pymerkle.InmemoryTree.init_from_entries([row.tobytes() for row in rows], algorithm="sha256")
    index = data.draw(st.integers(0, size - 1))
    theirs = tree.prove_inclusion(index + 1, size)
    ours = inclusion_proof(log, index, size)
    assert [bytes(step) for step in theirs.path[1:]] == ours
    pymerkle.verify_inclusion(log.leaf_hash(index), log.root(), theirs)
    verify_inclusion(bytes(theirs.path[0]), index, size, ours, tree.get_root())
    size1 = data.draw(st.integers(1, size))
    verify_consistency(
        size1, size, tree.get_root(size1), tree.get_root(), consistency_proof(log, size1, size)
    )


@pytest.mark.parametrize(("index", "size"), [(0, 1), (0, 7), (4, 5), (5, 8), (12, 13), (9, 30)])
def test_every_flipped_bit_of_an_inclusion_proof_is_rejected(index: int, size: int) -> None:
    log = log_of(SMALL)
    leaf, root, proof = log.leaf_hash(index), log.root(size), inclusion_proof(log, index, size)
    assert accepts(verify_inclusion, leaf, index, size, proof, root)
    assert not any(accepts(verify_inclusion, bad, index, size, proof, root) for bad in flips(leaf))
    assert not any(accepts(verify_inclusion, leaf, index, size, proof, bad) for bad in flips(root))
    assert not any(accepts(verify_inclusion, leaf, index, size, bad, root) for bad in flipped_proofs(proof))
    for bad in lengthened_or_shortened(proof):
        assert reason(verify_inclusion, leaf, index, size, bad, root) == "proof_length"
    assert not any(accepts(verify_inclusion, leaf, index ^ (1 << b), size, proof, root) for b in range(70))


@pytest.mark.parametrize(("size1", "size2"), [(1, 2), (1, 8), (3, 7), (4, 9), (6, 8), (12, 25), (16, 32)])
def test_every_flipped_bit_of_a_consistency_proof_is_rejected(size1: int, size2: int) -> None:
    log = log_of(SMALL)
    root1, root2, proof = log.root(size1), log.root(size2), consistency_proof(log, size1, size2)
    assert accepts(verify_consistency, size1, size2, root1, root2, proof)
    assert not any(accepts(verify_consistency, size1, size2, bad, root2, proof) for bad in flips(root1))
    assert not any(accepts(verify_consistency, size1, size2, root1, bad, proof) for bad in flips(root2))
    assert not any(accepts(verify_consistency, size1, size2, root1, root2, p) for p in flipped_proofs(proof))
    for bad in lengthened_or_shortened(proof):
        assert reason(verify_consistency, size1, size2, root1, root2, bad) == "proof_length"
    assert not accepts(verify_consistency, size1, size2, root2, root1, proof)


def test_another_size_is_rejected_unless_it_gives_the_proof_the_same_shape() -> None:
    """A root does not hold its size: the twin says how far a verifier can tell sizes apart."""
    log = log_of(SMALL)
    same = 0
    for size in range(1, SMALL + 1):
        for index in range(size):
            proof, shape = inclusion_proof(log, index, size), twin.inclusion_shape(index, size)
            for claimed in {size ^ (1 << bit) for bit in range(7)} - {0}:
                known = index < claimed and twin.inclusion_shape(index, claimed) == shape
                same += known
                taken = accepts(verify_inclusion, log.leaf_hash(index), index, claimed, proof, log.root(size))
                assert taken == known
    assert same > 0


def test_another_pair_of_sizes_is_rejected_unless_it_gives_the_proof_the_same_shape() -> None:
    log = log_of(SMALL)
    for size2 in range(1, 20):
        for size1 in range(1, size2 + 1):
            proof, shape = consistency_proof(log, size1, size2), twin.consistency_shape(size1, size2)
            for bit in range(6):
                for claimed in ((size1 ^ (1 << bit), size2), (size1, size2 ^ (1 << bit))):
                    known = 0 < claimed[0] <= claimed[1] and twin.consistency_shape(*claimed) == shape
                    roots = (log.root(size1), log.root(size2))
                    assert accepts(verify_consistency, *claimed, *roots, proof) == known


def test_an_earlier_size_is_never_confused_when_the_later_one_is_known() -> None:
    log = log_of(SMALL)
    for size2 in range(2, SMALL + 1):
        shapes = [twin.consistency_shape(size1, size2) for size1 in range(1, size2 + 1)]
        assert len(set(shapes)) == len(shapes)
    proof = consistency_proof(log, 12, 25)
    for size1 in set(range(1, 26)) - {12}:
        assert not accepts(verify_consistency, size1, 25, log.root(12), log.root(25), proof)


def test_a_rewritten_history_is_not_consistent() -> None:
    log, other = log_of(20, seed=1), log_of(20, seed=2)
    proof = consistency_proof(other, 7, 20)
    assert reason(verify_consistency, 7, 20, log.root(7), other.root(20), proof) == "root1"
    assert reason(verify_consistency, 7, 20, other.root(7), log.root(20), proof) == "root"


def test_reasons_are_named() -> None:
    log = log_of(8)
    leaf, root, proof = log.leaf_hash(5), log.root(), inclusion_proof(log, 5, 8)
    assert reason(verify_inclusion, leaf, 8, 8, proof, root) == "index"
    assert reason(verify_inclusion, leaf, -1, 8, proof, root) == "index"
    assert reason(verify_inclusion, leaf, 0, 0, [], root) == "index"
    assert reason(verify_inclusion, leaf, 5, 1 << 64, proof, root) == "size"
    assert reason(verify_inclusion, leaf, 5, 16, proof, root) == "proof_length"
    assert reason(verify_inclusion, leaf[:-1], 5, 8, proof, root) == "hash_length"
    assert reason(verify_inclusion, leaf, 5, 8, proof, root + b"\0") == "hash_length"
    assert reason(verify_inclusion, leaf, 5, 8, [*proof[:2], b""], root) == "hash_length"
    assert reason(verify_inclusion, leaf, 5, 8, proof, bytes(32)) == "root"
    assert reason(verify_inclusion, b"x", 0, 1, [], b"x") == "hash_length"
    assert reason(verify_consistency, 3, 3, bytes(12), bytes(12), []) == "hash_length"
    assert reason(verify_consistency, 0, 8, log.root(0), root, []) == "size"
    assert reason(verify_consistency, 0, 0, log.root(0), log.root(0), []) == "size"
    assert reason(verify_consistency, 9, 8, root, root, []) == "size"
    assert reason(verify_consistency, 8, 8, bytes(32), root, []) == "root"
    assert reason(verify_subtree, 5, 8, 8, bytes(32), root, []) == "subtree"
    assert reason(verify_subtree_inclusion, leaf, 5, 5, 8, [], root) == "subtree"


def test_a_size_beyond_any_log_costs_no_work() -> None:
    assert (
        reason(verify_inclusion, bytes(32), 0, (1 << 64) - 1, [bytes(32)] * 10_000, bytes(32))
        == "proof_length"
    )


def test_every_small_subtree_verifies_and_only_where_it_stands() -> None:
    log = log_of(21)
    for size in range(1, 22):
        for start, end in [(a, b) for a in range(size) for b in range(size + 1) if is_subtree(a, b, size)]:
            proof, root = subtree_proof(log, start, end, size), log.range_root(start, end)
            verify_subtree(start, end, size, root, log.root(size), proof)
            width = end - start
            assert not accepts(verify_subtree, start + width, end + width, size, root, log.root(size), proof)


def test_inclusion_in_a_tile_away_from_the_start() -> None:
    log, tile = log_of(24), MerkleLog()
    tile.append_hashes(log.level(0)[16:24])
    for index in range(16, 24):
        proof = inclusion_proof(tile, index - 16, 8)
        verify_subtree_inclusion(log.leaf_hash(index), index, 16, 24, proof, log.range_root(16, 24))
        assert not accepts(
            verify_subtree_inclusion, log.leaf_hash(index), index ^ 1, 16, 24, proof, log.range_root(16, 24)
        )


@pytest.mark.parametrize(("index", "size"), [(0, 0), (8, 8), (-1, 8), (0, 9)])
def test_no_inclusion_proof_for_what_the_log_has_not(index: int, size: int) -> None:
    with pytest.raises(UsageError):
        inclusion_proof(log_of(8), index, size)


@pytest.mark.parametrize(("size1", "size2"), [(0, 8), (5, 4), (1, 9), (-1, 8)])
def test_no_consistency_proof_for_what_the_log_has_not(size1: int, size2: int) -> None:
    with pytest.raises(UsageError):
        consistency_proof(log_of(8), size1, size2)


@pytest.mark.parametrize(("start", "end", "size"), [(5, 8, 8), (0, 4, 9), (4, 4, 8)])
def test_no_proof_for_what_is_no_subtree(start: int, end: int, size: int) -> None:
    with pytest.raises(UsageError):
        subtree_proof(log_of(8), start, end, size)
