"""The log in one array against the recursive definitions of RFC 9162, hash by hash."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.common.errors import UsageError
from kernels.merkle import ProofFault
from kernels.sha256 import HashPath, has_path
from relayer.core.log import MerkleLog, Proofs, verified
from tests.relayer.core import twin

PATHS = [path for path in HashPath if has_path(path)]


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
