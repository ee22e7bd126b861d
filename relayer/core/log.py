"""The append-only Merkle log of RFC 9162 over one array (`kernels.merkle`), 64 bytes a leaf.

A leaf hashes as SHA-256(0x00 || bytes), a node as SHA-256(0x01 || left || right). The array doubles as it fills.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.common.errors import UsageError
from kernels import merkle
from kernels.sha256 import (
    HASH_BYTES,
    HASH_WORDS,
    SCRATCH_WORDS,
    HashPath,
    best_path,
    hash_leaves,
    padding_of,
    tail_bytes,
)
from kernels.types import Words
from relayer.core.rfc9162 import EMPTY_ROOT, is_subtree

Bytes: TypeAlias = npt.NDArray[np.uint8]

FIRST_CAPACITY = 256
SHARD_LEAVES = 1 << 26
"""A log ends with so many leaves (4 GiB of hashes); what comes next is a log of its own."""


class Proofs(NamedTuple):
    """Proofs of one size. hashes: uint8[n, longest, 32], of proof k the first lengths[k] count; lengths: int64[n]."""

    hashes: Bytes
    lengths: npt.NDArray[np.int64]

    def of(self, k: int) -> list[bytes]:
        """Proof k as a list of hashes."""
        return [row.tobytes() for row in self.hashes[k, : self.lengths[k]]]


class Hasher:
    """The kernels with the memory they need. path: None for the fastest this CPU has; a wish it cannot have is
    the portable form."""

    def __init__(self, path: HashPath | None = None) -> None:
        self.path = int(best_path() if path is None else path)
        self.scratch = np.zeros(SCRATCH_WORDS, np.int64)
        self._width = -1
        self._padding, self._tail = padding_of(0), np.zeros(tail_bytes(0), np.uint8)

    def leaves(self, leaves: Bytes, target: Words, first: int) -> None:
        """Leaf hashes of uint8[n, w] into first .. of `target`."""
        count, width = leaves.shape
        if width != self._width:
            self._padding, self._tail = padding_of(width), np.zeros(tail_bytes(width), np.uint8)
            self._width = width
        raw = np.ascontiguousarray(leaves).reshape(-1)
        hash_leaves(raw, width, count, target, first, self._padding, self._tail, self.scratch, self.path)


class MerkleLog:
    """An append-only log of leaves: its root and its inner nodes at any size up to its own.

    Bounded by its leaves: 64 bytes each, at most SHARD_LEAVES.
    """

    def __init__(self, path: HashPath | None = None) -> None:
        self._hasher = Hasher(path)
        self._size = 0
        self._capacity = FIRST_CAPACITY
        self._nodes = np.empty(2 * FIRST_CAPACITY * HASH_WORDS, np.int64)
        self._edge = np.zeros(merkle.EDGE_WORDS, np.int64)
        self._edge_at = 0

    @property
    def size(self) -> int:
        """Leaves held."""
        return self._size

    def append(self, leaves: Bytes) -> None:
        """Append n leaves of w bytes each, uint8[n, w], in order. n and w may be 0 and may differ by call.

        Raises UsageError, changing nothing, if the array is not two-dimensional uint8 or the log is full.
        """
        if leaves.ndim != 2 or leaves.dtype != np.uint8:
            raise UsageError(
                f"leaves must be uint8[n, w], not {leaves.dtype}{list(leaves.shape)}", shape=leaves.shape
            )
        self._reserve(self._size + len(leaves))
        self._hasher.leaves(leaves, self._nodes, self._size)
        self._grow_by(len(leaves))

    def append_hashes(self, hashes: Bytes) -> None:
        """Append n leaves by their leaf hashes, uint8[n, 32].

        Raises UsageError, changing nothing, on any other shape or type, or if the log is full.
        """
        if hashes.ndim != 2 or hashes.shape[1] != HASH_BYTES or hashes.dtype != np.uint8:
            raise UsageError(
                f"leaf hashes must be uint8[n, 32], not {hashes.dtype}{list(hashes.shape)}",
                shape=hashes.shape,
            )
        self._reserve(self._size + len(hashes))
        self._level_rows(0)[self._size : self._size + len(hashes)] = hashes
        self._grow_by(len(hashes))

    def cut(self, size: int) -> None:
        """Forget the leaves behind the first `size`. UsageError if there are not so many."""
        if not 0 <= size <= self._size:
            raise UsageError(f"a log of {self._size} leaves cannot be cut to {size}", size=size)
        self._size, self._edge_at = size, 0

    def leaf_hash(self, index: int) -> bytes:
        """The hash of one leaf, counted from 0. Raises UsageError if the log holds no such leaf."""
        if not 0 <= index < self._size:
            raise UsageError(f"leaf {index} asked of a log of {self._size} leaves", index=index)
        return self._level_rows(0)[index].tobytes()

    def root(self, size: int | None = None) -> bytes:
        """The root over the first `size` leaves (default all). Raises UsageError if it never had them."""
        size = self._size if size is None else size
        if not 0 <= size <= self._size:
            raise UsageError(f"size {size} asked of a log of {self._size} leaves", size=size)
        return self.range_root(0, size) if size else EMPTY_ROOT

    def range_root(self, start: int, end: int) -> bytes:
        """The root over leaves [start, end), a range that occurs as a subtree at some size of the log.

        That is: `start` is a multiple of the smallest power of two not below `end - start`.
        Raises UsageError on any other range.
        """
        if not is_subtree(start, end, self._size):
            raise UsageError(f"[{start}, {end}) is no subtree of a log of {self._size} leaves", start=start)
        out = np.empty(HASH_WORDS, np.int64)
        hasher = self._hasher
        merkle.range_root(self._nodes, self._capacity, start, end, out, 0, hasher.scratch, hasher.path)
        return out.tobytes()

    def level(self, level: int) -> Bytes:
        """The complete nodes of one level, uint8[size >> level, 32], read-only, valid until an append."""
        if level < 0:
            raise UsageError(f"a Merkle log has no level {level}", level=level)
        view = self._level_rows(level)[: self._size >> level]
        view.flags.writeable = False
        return view

    def inclusion_proofs(
        self, indices: Sequence[int] | npt.NDArray[np.int64], size: int | None = None
    ) -> Proofs:
        """The proof of each of these leaves, counted from 0, to the root at `size` (default all).

        UsageError if the log has no such leaf or never had that size.
        """
        leaves, size = self._asked(indices, size)
        if len(leaves) and not 0 <= leaves.min() <= leaves.max() < size:
            raise UsageError(f"a leaf beyond 0 .. {size - 1} asked of the log", size=size)
        out, stride, lengths = _room(len(leaves), max(size - 1, 0).bit_length())
        merkle.inclusion_paths(self._nodes, self._capacity, size, self._edge, leaves, out, stride, lengths)
        return _proofs(out, stride, lengths)

    def consistency_proofs(
        self, sizes: Sequence[int] | npt.NDArray[np.int64], size: int | None = None
    ) -> Proofs:
        """The proof that the log at each of `sizes` is a prefix of the one at `size` (default all).

        UsageError unless 0 < each <= size <= the log's.
        """
        before, size = self._asked(sizes, size)
        if len(before) and not 0 < before.min() <= before.max() <= size:
            raise UsageError(f"a size beyond 1 .. {size} asked of the log", size=size)
        out, stride, lengths = _room(len(before), max(size - 1, 0).bit_length() + 1)
        merkle.consistency_paths(self._nodes, self._capacity, size, self._edge, before, out, stride, lengths)
        return _proofs(out, stride, lengths)

    def verify_inclusions(
        self,
        indices: Sequence[int] | npt.NDArray[np.int64],
        proofs: Proofs,
        root: bytes,
        size: int | None = None,
    ) -> npt.NDArray[np.int64]:
        """Why each of these proofs of leaves of this log does not lead to `root` at `size`: ProofFault, int64[n]."""
        leaves, size = self._asked(indices, size)
        if len(leaves) and not 0 <= leaves.min() <= leaves.max() < self._size:
            raise UsageError(f"a leaf beyond 0 .. {self._size - 1} asked of the log", size=size)
        hashes = np.ascontiguousarray(self._level_rows(0)[leaves])
        return verified(hashes, leaves, size, proofs, root, HashPath(self._hasher.path))

    @property
    def held_bytes(self) -> int:
        """Bytes of the array of hashes."""
        return self._nodes.nbytes

    def _asked(
        self, rows: Sequence[int] | npt.NDArray[np.int64], size: int | None
    ) -> tuple[npt.NDArray[np.int64], int]:
        """What is asked for as an array, and the size with its edge worked out."""
        size = self._size if size is None else size
        if not 0 <= size <= self._size:
            raise UsageError(f"proofs at size {size} asked of a log of {self._size} leaves", size=size)
        if size != self._edge_at:
            hasher = self._hasher
            merkle.edge_of(self._nodes, self._capacity, size, self._edge, hasher.scratch, hasher.path)
            self._edge_at = size
        return np.ascontiguousarray(rows, np.int64), size

    def _level_rows(self, level: int) -> Bytes:
        """All there is room for of one level, uint8[capacity >> level, 32]."""
        if level >= self._capacity.bit_length():
            return np.empty((0, HASH_BYTES), np.uint8)
        first = merkle.level_start(self._capacity, level)
        rows = self._nodes.view(np.uint8).reshape(-1, HASH_BYTES)
        return rows[first : first + (self._capacity >> level)]

    def _grow_by(self, count: int) -> None:
        hasher = self._hasher
        merkle.append_hashes(self._nodes, self._capacity, self._size, count, hasher.scratch, hasher.path)
        self._size += count

    def _reserve(self, size: int) -> None:
        """Room for `size` leaves. Memory that is reserved and never written is none."""
        if size > SHARD_LEAVES:
            raise UsageError(f"a log has at most {SHARD_LEAVES} leaves; begin another", size=size)
        if size <= self._capacity:
            return
        held, before = self._nodes.view(np.uint8).reshape(-1, HASH_BYTES), self._capacity
        self._capacity = 1 << (size - 1).bit_length()
        self._nodes = np.empty(2 * self._capacity * HASH_WORDS, np.int64)
        for level in range(self._size.bit_length()):
            start, count = merkle.level_start(before, level), self._size >> level
            self._level_rows(level)[:count] = held[start : start + count]


def _room(count: int, longest: int) -> tuple[Words, int, Words]:
    return np.empty(count * longest * HASH_WORDS, np.int64), longest, np.empty(count, np.int64)


def _proofs(out: Words, stride: int, lengths: Words) -> Proofs:
    return Proofs(out.view(np.uint8).reshape(len(lengths), stride, HASH_BYTES), lengths)


def verified(
    hashes: Bytes,
    leaves: npt.NDArray[np.int64],
    size: int,
    proofs: Proofs,
    root: bytes,
    path: HashPath | None = None,
) -> npt.NDArray[np.int64]:
    """Whether leaf hash k, of uint8[n, 32], is leaf leaves[k] under `root` at `size`: a ProofFault each, int64[n].

    UsageError if there are not as many of each, or a proof claims more hashes than it has.
    """
    _, stride, _ = proofs.hashes.shape
    short = len(proofs.lengths) and int(proofs.lengths.max()) > stride
    if (
        not len(hashes) == len(leaves) == len(proofs.lengths) == len(proofs.hashes)
        or short
        or len(root) != HASH_BYTES
    ):
        raise UsageError(
            f"{len(hashes)} leaves, {len(leaves)} places, {len(proofs.lengths)} proofs do not match"
        )
    hasher, faults = Hasher(path), np.zeros(len(leaves), np.int64)
    merkle.verify_inclusions(
        np.ascontiguousarray(hashes).reshape(-1).view(np.int64),
        leaves,
        size,
        np.ascontiguousarray(proofs.hashes).reshape(-1).view(np.int64),
        stride,
        proofs.lengths,
        np.frombuffer(root, np.int64).copy(),
        faults,
        np.zeros(merkle.ROW_WORDS, np.int64),
        hasher.scratch,
        hasher.path,
    )
    return faults
