"""The log in one array against the recursive definitions of RFC 9162, hash by hash."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.common.errors import UsageError
from kernels.merkle import (
    EDGE_WORDS,
    LEVELS_MAX,
    ROW_WORDS,
    ProofFault,
    append_hashes,
    consistency_paths,
    edge_of,
    inclusion_paths,
    level_start,
    range_root,
    same_hash,
    verify_inclusions,
)
from kernels.sha256 import HASH_WORDS, SCRATCH_WORDS, HashPath, has_path
from relayer.core.log import MerkleLog, Proofs, verified
from relayer.core.rfc9162 import is_subtree
from tests.relayer.core import twin

PATHS = [path for path in HashPath if has_path(path)]
GUARD_HASH = b"\x5a" * 32
"""What stands where nothing may be written."""


def hashes_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32), np.uint8)


def log_of(count: int, path: HashPath | None = None, seed: int = 0) -> tuple[MerkleLog, list[bytes]]:
    log = MerkleLog(path)
    hashes = hashes_of(count, seed)
    log.append_hashes(hashes)
    return log, [row.tobytes() for row in hashes]


@pytest.mark.parametrize("path", PATHS)
def test_every_proof_of_every_small_log_is_the_recursive_one(path: HashPath) -> None:
    log, leaves = log_of(40, path)
    for size in range(1, 41):
        included = log.inclusion_proofs(range(size), size)
        consistent = log.consistency_proofs(range(1, size + 1), size)
        for k in range(size):
            assert included.of(k) == twin.inclusion(k, leaves[:size])
            assert consistent.of(k) == twin.consistency(k + 1, leaves[:size])


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 3000), data=st.data())
@example(count=2048, data=None)
def test_proofs_at_random_sizes(count: int, data: st.DataObject | None) -> None:
    log, leaves = log_of(count, seed=count)
    size = count if data is None else data.draw(st.integers(1, count))
    at = 0 if data is None else data.draw(st.integers(0, size - 1))
    assert log.inclusion_proofs([at], size).of(0) == twin.inclusion(at, leaves[:size])
    assert log.consistency_proofs([at + 1], size).of(0) == twin.consistency(at + 1, leaves[:size])
    assert log.root(size) == twin.tree_head(leaves[:size])


def test_a_proof_of_an_earlier_size_is_the_same_after_the_log_has_grown() -> None:
    log, leaves = log_of(300)
    before = log.inclusion_proofs(range(100), 100)
    log.append_hashes(hashes_of(5000, 9))
    after = log.inclusion_proofs(range(100), 100)
    assert np.array_equal(before.lengths, after.lengths)
    assert all(before.of(k) == after.of(k) == twin.inclusion(k, leaves[:100]) for k in range(100))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 15, 16, 17, 33, 100])
def test_true_proofs_verify(path: HashPath, size: int) -> None:
    log, _ = log_of(size, path)
    proofs = log.inclusion_proofs(range(size))
    assert not log.verify_inclusions(range(size), proofs, log.root()).any()


def flipped(rows: np.ndarray) -> np.ndarray:
    """Each of the hashes uint8[n, 32] once for every of its bits, that bit changed: uint8[n * 256, 32]."""
    bits = np.eye(256, dtype=np.uint8)
    masks = np.packbits(bits, axis=1, bitorder="little")
    return (rows[:, None, :] ^ masks[None, :, :]).reshape(-1, 32)


def test_every_changed_bit_of_a_proof_a_leaf_or_the_root_is_found() -> None:
    log, _ = log_of(21)
    proofs, root, places = log.inclusion_proofs(range(21)), log.root(), np.arange(21)
    hashes = np.ascontiguousarray(log.level(0))
    for k in range(21):
        for step in range(int(proofs.lengths[k])):
            wrong = np.repeat(proofs.hashes[k : k + 1], 256, axis=0)
            wrong[:, step] = flipped(proofs.hashes[k, step : step + 1])
            same = np.repeat(hashes[k : k + 1], 256, axis=0), np.full(256, k)
            faults = verified(*same, 21, Proofs(wrong, np.full(256, proofs.lengths[k])), root)
            assert (faults == ProofFault.ROOT).all()
        one = Proofs(
            np.repeat(proofs.hashes[k : k + 1], 256, axis=0), np.repeat(proofs.lengths[k : k + 1], 256)
        )
        leaves = flipped(hashes[k : k + 1])
        assert (verified(leaves, np.full(256, k), 21, one, root) == ProofFault.ROOT).all()
    for other in flipped(np.frombuffer(root, np.uint8)[None, :]):
        assert (verified(hashes, places, 21, proofs, other.tobytes()) == ProofFault.ROOT).all()


@pytest.mark.parametrize("size", [1, 2, 5, 21, 64, 65])
def test_a_proof_of_another_leaf_or_another_size_does_not_verify(size: int) -> None:
    """A size whose proofs have the same shape gives the same root: it must come from where the root comes from."""
    log, _ = log_of(size)
    places, root = np.arange(size), log.root()
    proofs, hashes = log.inclusion_proofs(places), np.ascontiguousarray(log.level(0))
    for by in range(1, size + 3):
        faults = verified(hashes, places + by, size, proofs, root)
        assert ((faults == ProofFault.INDEX) == (places + by >= size)).all() and faults.all()
        assert (verified(hashes, places - by, size, proofs, root) != ProofFault.NONE).all()
    for other in range(1, 2 * size + 3):
        faults = verified(hashes, places, other, proofs, root)
        for k in range(size):
            same_shape = k < other and twin.inclusion_shape(k, other) == twin.inclusion_shape(k, size)
            assert (faults[k] == ProofFault.NONE) == same_shape
            assert (faults[k] == ProofFault.INDEX) == (k >= other)


@pytest.mark.parametrize("by", [-1, 1])
def test_a_hash_too_few_or_too_many_is_a_fault_of_length(by: int) -> None:
    log, _ = log_of(21)
    proofs, places = log.inclusion_proofs(range(21)), np.arange(21)
    hashes = np.concatenate([proofs.hashes, np.zeros((21, 1, 32), np.uint8)], axis=1)
    wrong = Proofs(hashes, proofs.lengths + by)
    assert (log.verify_inclusions(places, wrong, log.root()) == ProofFault.LENGTH).all()


def test_the_root_of_one_leaf_is_that_leaf() -> None:
    log, leaves = log_of(1)
    assert log.root() == leaves[0]
    proofs = log.inclusion_proofs([0])
    assert proofs.of(0) == []
    assert log.verify_inclusions([0], proofs, leaves[0])[0] == ProofFault.NONE
    assert log.verify_inclusions([0], proofs, hashlib.sha256().digest())[0] == ProofFault.ROOT


@pytest.mark.parametrize(
    "ask",
    [
        lambda log: log.inclusion_proofs([10]),
        lambda log: log.inclusion_proofs([-1]),
        lambda log: log.inclusion_proofs([5], 5),
        lambda log: log.inclusion_proofs([0], 11),
        lambda log: log.consistency_proofs([0]),
        lambda log: log.consistency_proofs([11]),
        lambda log: log.consistency_proofs([6], 5),
    ],
)
def test_what_the_log_never_had_is_refused(ask: object) -> None:
    log, _ = log_of(10)
    with pytest.raises(UsageError):
        ask(log)  # type: ignore[operator]


def test_a_log_ends_at_its_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relayer.core.log.SHARD_LEAVES", 300)
    log, _ = log_of(290)
    root = log.root()
    with pytest.raises(UsageError, match="at most 300"):
        log.append_hashes(hashes_of(11))
    assert (log.size, log.root()) == (290, root)
    log.append_hashes(hashes_of(10))
    assert log.size == 300


def nodes_of(leaves: list[bytes], capacity: int) -> bytes:
    """The array of a log with these leaves; GUARD where it has no complete node."""
    rows = [GUARD_HASH] * (2 * capacity)
    for level in range(capacity.bit_length()):
        for k in range(len(leaves) >> level):
            rows[level_start(capacity, level) + k] = twin.tree_head(leaves[k << level : (k + 1) << level])
    return b"".join(rows)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "sizes", [(0, 1), (1, 2), (1, 5), (3, 20), (15, 17), (16, 32), (31, 33), (33, 64), (40, 40), (7, 21, 40)]
)
def test_an_append_makes_the_nodes_it_completes_and_writes_nothing_else(
    path: HashPath, sizes: tuple[int, ...]
) -> None:
    capacity, leaves = 64, [row.tobytes() for row in hashes_of(64)]
    log = np.frombuffer(GUARD_HASH * 2 * capacity, np.int64).copy()
    scratch, held = np.zeros(SCRATCH_WORDS, np.int64), 0
    for size in sizes:
        log[held * HASH_WORDS : size * HASH_WORDS] = np.frombuffer(b"".join(leaves[held:size]), np.int64)
        append_hashes(log, capacity, held, size - held, scratch, int(path))
        assert log.tobytes() == nodes_of(leaves[:size], capacity)
        held = size


@pytest.mark.parametrize("size", [1, 5, 16, 21, 31, 32])
def test_an_append_needs_the_open_pairs_alone_and_leaves_what_lies_before_them(size: int) -> None:
    """Whatever stands in place of complete pairs is neither read nor written: they are done with."""
    capacity, leaves = 64, [row.tobytes() for row in hashes_of(40)]

    def of_open_pairs(count: int) -> np.ndarray:
        log = np.frombuffer(nodes_of(leaves[:count], capacity), np.int64).copy()
        rows = log.view(np.uint8).reshape(-1, 32)
        for level in range(capacity.bit_length()):
            start = level_start(capacity, level)
            rows[start : start + (size >> (level + 1) << 1)] = GUARD_HASH[0]
        return log

    log = of_open_pairs(size)
    log[size * HASH_WORDS : 40 * HASH_WORDS] = np.frombuffer(b"".join(leaves[size:]), np.int64)
    append_hashes(log, capacity, size, 40 - size, np.zeros(SCRATCH_WORDS, np.int64), int(HashPath.PORTABLE))
    assert log.tobytes() == of_open_pairs(40).tobytes()


@pytest.mark.parametrize("path", PATHS)
def test_the_root_of_every_subtree_of_every_small_log(path: HashPath) -> None:
    capacity, leaves = 64, [row.tobytes() for row in hashes_of(40)]
    log = np.frombuffer(nodes_of(leaves, capacity), np.int64).copy()
    scratch = np.zeros(SCRATCH_WORDS, np.int64)
    subtrees = [(a, b) for b in range(1, 41) for a in range(b) if is_subtree(a, b, 40)]
    assert (0, 40) in subtrees and (32, 37) in subtrees and len(subtrees) > 100
    for start, end in subtrees:
        out = np.frombuffer(GUARD_HASH * 3, np.int64).copy()
        range_root(log, capacity, start, end, out, 1, scratch, int(path))
        assert out.tobytes() == GUARD_HASH + twin.tree_head(leaves[start:end]) + GUARD_HASH


@pytest.mark.parametrize("path", PATHS)
def test_the_edge_is_what_lies_behind_the_last_complete_node_and_no_more(path: HashPath) -> None:
    capacity, leaves = 64, [row.tobytes() for row in hashes_of(64)]
    log = np.frombuffer(nodes_of(leaves, capacity), np.int64).copy()
    scratch = np.zeros(SCRATCH_WORDS, np.int64)
    for size in range(1, 65):
        edge = np.frombuffer(GUARD_HASH * LEVELS_MAX, np.int64).copy()
        edge_of(log, capacity, size, edge, scratch, int(path))
        behind = [leaves[size >> level << level : size] for level in range(LEVELS_MAX)]
        last = size.bit_length()
        expected = [twin.tree_head(rest) if rest else GUARD_HASH for rest in behind[: last + 1]]
        assert edge.tobytes() == b"".join(expected + [GUARD_HASH] * (LEVELS_MAX - last - 1))


@pytest.mark.parametrize("size", [0, 1, 2, 21, 32])
def test_a_row_of_proofs_holds_one_proof_or_nothing_where_there_is_none(size: int) -> None:
    """The kernels say so of each row; the log refuses the whole call before."""
    capacity, stride = 64, 7
    leaves = [row.tobytes() for row in hashes_of(size)]
    log = np.frombuffer(nodes_of(leaves, capacity), np.int64).copy()
    edge, scratch = np.zeros(EDGE_WORDS, np.int64), np.zeros(SCRATCH_WORDS, np.int64)
    edge_of(log, capacity, size, edge, scratch, int(HashPath.PORTABLE))
    asked = np.arange(-2, size + 3)
    for kernel, proof, first in (
        (inclusion_paths, twin.inclusion, 0),
        (consistency_paths, twin.consistency, 1),
    ):
        out = np.frombuffer(GUARD_HASH * stride * len(asked), np.int64).copy()
        lengths = np.full(len(asked), 99, np.int64)
        kernel(log, capacity, size, edge, asked, out, stride, lengths)
        for k, place in enumerate(asked.tolist()):
            there = first <= place < size + first
            hashes = proof(place, leaves) if there else []
            assert lengths[k] == (len(hashes) if there else -1)
            row = out[k * stride * HASH_WORDS : (k + 1) * stride * HASH_WORDS].tobytes()
            assert row == b"".join(hashes + [GUARD_HASH] * (stride - len(hashes)))


def verify(
    hashes: np.ndarray, leaves: np.ndarray, size: int, proofs: Proofs, root: bytes
) -> tuple[int, list[int]]:
    """What the kernel returns, and the faults it writes over what stood there."""
    faults, scratch = np.full(len(leaves), 9, np.int64), np.full(SCRATCH_WORDS, -1, np.int64)
    wrong = verify_inclusions(
        np.ascontiguousarray(hashes).reshape(-1).view(np.int64),
        leaves,
        size,
        np.ascontiguousarray(proofs.hashes).reshape(-1).view(np.int64),
        proofs.hashes.shape[1],
        proofs.lengths,
        np.frombuffer(root, np.int64).copy(),
        faults,
        np.full(ROW_WORDS, -1, np.int64),
        scratch,
        int(HashPath.PORTABLE),
    )
    return wrong, faults.tolist()


def test_each_of_many_proofs_is_judged_by_itself_and_those_that_fail_are_counted() -> None:
    log, _ = log_of(21)
    places = np.arange(50) % 21
    proofs, hashes = log.inclusion_proofs(places), np.ascontiguousarray(log.level(0))[places]
    expected = [0] * 50
    assert verify(hashes, places, 21, proofs, log.root()) == (0, expected)
    for k, fault in (
        (3, ProofFault.INDEX),
        (17, ProofFault.LENGTH),
        (31, ProofFault.LENGTH),
        (47, ProofFault.ROOT),
    ):
        expected[k] = fault
    places[3] = 21
    proofs.lengths[17], proofs.lengths[31] = 0, -1
    hashes[47, 0] ^= 1
    assert verify(hashes, places, 21, proofs, log.root()) == (4, expected)


def test_so_are_proofs_without_a_hash() -> None:
    """Of a log of one leaf the root is that leaf."""
    log, leaves = log_of(1)
    proofs, places = log.inclusion_proofs([0] * 40), np.zeros(40, np.int64)
    hashes = np.repeat(np.ascontiguousarray(log.level(0)), 40, axis=0)
    hashes[19] ^= 1
    hashes[35] ^= 1
    expected = [ProofFault.ROOT if k in (19, 35) else ProofFault.NONE for k in range(40)]
    assert verify(hashes, places, 1, proofs, leaves[0]) == (2, expected)


def test_hashes_are_the_same_in_all_their_bits_or_not() -> None:
    row = hashes_of(1)
    others = np.concatenate([row, flipped(row)]).reshape(-1).view(np.int64)
    one = np.concatenate([flipped(row)[:1], row]).reshape(-1).view(np.int64)
    assert [same_hash(one, 1, others, k) for k in range(257)] == [1] + [0] * 256
