"""Proofs over the Merkle log: made from it, and verified without it.

There is one proof: that leaves [start, end) are a subtree of the log of `size` leaves. Inclusion of a leaf is
the subtree of that one leaf; consistency with an earlier size is the subtree [0, size1). Both come out in the
order and with the nodes of RFC 9162, and the verifier takes exactly those: none missing, none to spare.

A root does not commit to its size: where two sizes give a proof the same shape, both verify. So a size must
come from where the root comes from (the signed checkpoint), never from whoever presents the proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, NoReturn, Protocol

from engine.common.errors import ProofInvalid, UsageError
from relayer.core.rfc9162 import HASH_BYTES, hash_node, is_subtree, split_point

SIZE_LIMIT = 1 << 64


class Tree(Protocol):
    """Whatever proofs can be made from."""

    @property
    def size(self) -> int:
        """Leaves held."""

    def range_root(self, start: int, end: int) -> bytes:
        """The root over leaves [start, end), a subtree at some size."""


class Step(NamedTuple):
    """One sibling on the way from the subtree to the root: leaves [start, end)."""

    start: int
    end: int
    on_left: bool
    in_subtree: bool  # the sibling belongs to the subtree that is proven, and so to its root too


class Path(NamedTuple):
    """The siblings, bottom up, and the node they start from: leaves [start, end)."""

    start: int
    end: int
    steps: tuple[Step, ...]

    @property
    def seed_in_proof(self) -> bool:
        """A subtree that is one node of the tree is its own seed; else the proof brings the seed first."""
        return any(step.in_subtree for step in self.steps)


def path_of_subtree(start: int, end: int, size: int) -> Path:
    """The shape of the proof that [start, end) is a subtree of a log of `size`: O(log size), no hashing."""
    low, high = 0, size
    steps: list[Step] = []
    while (low, high) != (start, end):
        middle = low + split_point(high - low)
        if end <= middle:
            steps.append(Step(middle, high, on_left=False, in_subtree=False))
            high = middle
        else:
            # A subtree reaching over the middle begins where this range does: its left half is a sibling.
            inside = start < middle
            steps.append(Step(low, middle, on_left=True, in_subtree=inside))
            low = middle
            start = max(start, middle)
    return Path(low, high, tuple(reversed(steps)))


def inclusion_proof(log: Tree, index: int, size: int) -> list[bytes]:
    """The hashes, bottom up, that prove leaf `index` (from 0) to the root over `size` leaves.

    Raises UsageError if the log has no such leaf or never had that size.
    """
    if not 0 <= index < size <= log.size:
        raise UsageError(f"no proof of leaf {index} at size {size}: the log has {log.size} leaves")
    return subtree_proof(log, index, index + 1, size)


def consistency_proof(log: Tree, size1: int, size2: int) -> list[bytes]:
    """The hashes that prove the first `size1` leaves to be a prefix of the first `size2`.

    Empty if the sizes are equal. Raises UsageError unless 0 < size1 <= size2 <= the log's size: every log
    extends the empty one, so there is nothing to prove from size 0.
    """
    if not 0 < size1 <= size2 <= log.size:
        raise UsageError(f"no proof from size {size1} to {size2}: the log has {log.size} leaves")
    return subtree_proof(log, 0, size1, size2)


def subtree_proof(log: Tree, start: int, end: int, size: int) -> list[bytes]:
    """The hashes that prove leaves [start, end) to be a subtree of the log at `size`, such as a tile.

    Raises UsageError if that range is no subtree or the log never had that size.
    """
    if not is_subtree(start, end, size) or size > log.size:
        raise UsageError(
            f"[{start}, {end}) at size {size}: no subtree, or beyond the log's {log.size} leaves"
        )
    path = path_of_subtree(start, end, size)
    seed = [log.range_root(path.start, path.end)] if path.seed_in_proof else []
    return seed + [log.range_root(step.start, step.end) for step in path.steps]


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf with this hash is number `index` (from 0) under `root` at `size`.

    Raises ProofInvalid, its context's `reason` one of hash_length, size, index, proof_length, root.
    """
    _check_size(size)
    if not 0 <= index < size:
        _fail("index", f"leaf {index} is not in a log of {size} leaves")
    verify_subtree(index, index + 1, size, leaf_hash, root, proof)


def verify_subtree_inclusion(
    leaf_hash: bytes, index: int, start: int, end: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that the leaf with this hash is number `index` of the log, under the `root` of [start, end).

    Raises ProofInvalid, reasons as in `verify_inclusion`, and `subtree` if the range is none.
    """
    _check_size(end)
    if not is_subtree(start, end, end):
        _fail("subtree", f"[{start}, {end}) is no subtree of any log")
    verify_inclusion(leaf_hash, index - start, end - start, proof, root)


def verify_consistency(size1: int, size2: int, root1: bytes, root2: bytes, proof: Sequence[bytes]) -> None:
    """Check that the log with `root1` at `size1` is a prefix of the one with `root2` at `size2`.

    Equal sizes need equal roots and an empty proof. Size 0 is refused: nothing follows from it.
    Raises ProofInvalid, its context's `reason` one of hash_length, size, proof_length, root1, root.
    """
    _check_size(size1)
    _check_size(size2)
    if not 0 < size1 <= size2:
        _fail("size", f"no consistency proof leads from size {size1} to {size2}")
    verify_subtree(0, size1, size2, root1, root2, proof)


def verify_subtree(
    start: int, end: int, size: int, subtree_root: bytes, root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that leaves [start, end), with `subtree_root`, are a subtree of the log with `root` at `size`.

    Raises ProofInvalid, its context's `reason` one of hash_length, size, subtree, proof_length, root1 (the
    proof gives another subtree root) and root.
    """
    _check_size(size)
    if not is_subtree(start, end, size):
        _fail("subtree", f"[{start}, {end}) is no subtree of a log of {size} leaves")
    path = path_of_subtree(start, end, size)
    expected = len(path.steps) + path.seed_in_proof
    if len(proof) != expected:
        _fail("proof_length", f"the proof has {len(proof)} hashes, {expected} are needed")
    if any(len(value) != HASH_BYTES for value in (subtree_root, root, *proof)):
        _fail("hash_length", f"a hash is not {HASH_BYTES} bytes long")
    rebuilt_subtree, rebuilt = _fold(path, subtree_root, proof)
    if rebuilt_subtree != subtree_root:
        _fail("root1", "the proof leads to another earlier root")
    if rebuilt != root:
        _fail("root", "the proof leads to another root")


def _fold(path: Path, subtree_root: bytes, proof: Sequence[bytes]) -> tuple[bytes, bytes]:
    seed, siblings = (proof[0], proof[1:]) if path.seed_in_proof else (subtree_root, proof)
    inner = outer = seed
    for step, sibling in zip(path.steps, siblings, strict=True):
        if step.in_subtree:
            inner = hash_node(sibling, inner)
        outer = hash_node(sibling, outer) if step.on_left else hash_node(outer, sibling)
    return inner, outer


def _check_size(size: int) -> None:
    if not 0 <= size < SIZE_LIMIT:
        _fail("size", f"a log cannot have {size} leaves")


def _fail(reason: str, message: str) -> NoReturn:
    raise ProofInvalid(message, reason=reason)
