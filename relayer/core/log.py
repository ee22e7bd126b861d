"""The append-only Merkle log of RFC 9162, held in arrays.

A leaf hashes as SHA-256(0x00 || bytes), a node as SHA-256(0x01 || left || right). Level 0 holds the leaf
hashes; level k holds the roots of the complete subtrees of 2^k leaves, in order. A complete node never
changes, so every past size can be proven from the same arrays, which hold 64 bytes a leaf (and reserve
up to twice that as they double). A log that is resumed from its edge holds what came since: enough to append
and for every later root, not for proofs of what came before.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from engine.common.errors import UsageError

Bytes: TypeAlias = npt.NDArray[np.uint8]

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
LEAF_PREFIX = b"\x00"
NODE_PREFIX = b"\x01"
FIRST_CAPACITY = 256


def hash_leaf(leaf: bytes) -> bytes:
    """The leaf hash of one byte string."""
    return hashlib.sha256(LEAF_PREFIX + leaf).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    """The hash of the node over two child hashes."""
    return hashlib.sha256(NODE_PREFIX + left + right).digest()


def hash_leaves(leaves: Bytes) -> Bytes:
    """Leaf hashes, uint8[n, 32], of n leaves of one width, uint8[n, w]."""
    count, width = leaves.shape
    raw = leaves.tobytes()
    return _rows([hash_leaf(raw[i * width : (i + 1) * width]) for i in range(count)])


def hash_pairs(nodes: Bytes) -> Bytes:
    """Parents, uint8[n, 32], of 2n neighbouring nodes, uint8[2n, 32]."""
    raw = nodes.tobytes()
    step = 2 * HASH_BYTES
    return _rows([hashlib.sha256(NODE_PREFIX + raw[i : i + step]).digest() for i in range(0, len(raw), step)])


def _rows(digests: list[bytes]) -> Bytes:
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(digests), HASH_BYTES)


def split_point(width: int) -> int:
    """The largest power of two below `width` (at least 2): how many leaves the left child holds."""
    return 1 << ((width - 1).bit_length() - 1)


class MerkleLog:
    """A log that only grows. The same leaves give the same arrays, however they were grouped."""

    def __init__(self) -> None:
        self._size = 0
        self._levels: list[Bytes] = [np.empty((FIRST_CAPACITY, HASH_BYTES), dtype=np.uint8)]
        self._resumed_at = 0

    @classmethod
    def resumed(cls, size: int, edge: Bytes) -> MerkleLog:
        """A log of `size` leaves of which only `edge` is known, as `edge()` gave it at that size.

        Raises UsageError unless the edge has as many nodes as a log of that size.
        """
        if size < 0 or edge.shape != (size.bit_count(), HASH_BYTES) or edge.dtype != np.uint8:
            raise UsageError(f"an edge of {list(edge.shape)} does not fit a log of {size} leaves", size=size)
        log = cls()
        log._size = log._resumed_at = size
        row = 0
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                log._store(level, (size >> level) - 1, edge[row : row + 1])
                row += 1
        return log

    def edge(self) -> Bytes:
        """The roots of the largest complete subtrees from left to right, uint8[bits set in size, 32]."""
        levels = reversed(range(self._size.bit_length()))
        nodes = [self._node(k, (self._size >> k) - 1) for k in levels if self._size >> k & 1]
        return _rows(nodes)

    @property
    def size(self) -> int:
        """Leaves held."""
        return self._size

    def append(self, leaves: Bytes) -> None:
        """Append n leaves of w bytes each, uint8[n, w], in order. n and w may be 0 and may differ by call.

        Raises UsageError, changing nothing, if the array is not two-dimensional uint8.
        """
        if leaves.ndim != 2 or leaves.dtype != np.uint8:
            raise UsageError(
                f"leaves must be uint8[n, w], not {leaves.dtype}{list(leaves.shape)}", shape=leaves.shape
            )
        if len(leaves):
            self.append_hashes(hash_leaves(leaves))

    def append_hashes(self, hashes: Bytes) -> None:
        """Append n leaves by their leaf hashes, uint8[n, 32].

        Raises UsageError, changing nothing, on any other shape or type.
        """
        if hashes.ndim != 2 or hashes.shape[1] != HASH_BYTES or hashes.dtype != np.uint8:
            raise UsageError(
                f"leaf hashes must be uint8[n, 32], not {hashes.dtype}{list(hashes.shape)}",
                shape=hashes.shape,
            )
        level, done, total = 0, self._size, self._size + len(hashes)
        rows = hashes
        while done < total:
            self._store(level, done, rows)
            done, total = done >> 1, total >> 1
            base = self._base(level)
            rows = hash_pairs(self._levels[level][2 * done - base : 2 * total - base])
            level += 1
        self._size += len(hashes)

    def leaf_hash(self, index: int) -> bytes:
        """The hash of one leaf, counted from 0. Raises UsageError if the log holds no such leaf."""
        if not 0 <= index < self._size:
            raise UsageError(f"leaf {index} asked of a log of {self._size} leaves", index=index)
        return self._node(0, index)

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
        complete: list[bytes] = []
        while start < end:
            level = (end - start).bit_length() - 1
            complete.append(self._node(level, start >> level))
            start += 1 << level
        result = complete.pop()
        while complete:
            result = hash_node(complete.pop(), result)
        return result

    def level(self, level: int) -> Bytes:
        """The complete nodes of one level, uint8[size >> level, 32], read-only, valid until an append."""
        if level < 0 or self._resumed_at:
            raise UsageError(f"level {level} of a Merkle log resumed at {self._resumed_at}", level=level)
        count = self._size >> level
        rows = self._levels[level][:count] if count else np.empty((0, HASH_BYTES), dtype=np.uint8)
        view = rows.view()
        view.flags.writeable = False
        return view

    def _node(self, level: int, index: int) -> bytes:
        at = index - self._base(level)
        if at < 0:
            raise UsageError(
                f"node {index} of level {level} is not held: resumed at {self._resumed_at} leaves"
            )
        return self._levels[level][at].tobytes()

    def _base(self, level: int) -> int:
        """Number of the first node that is held: the left one of the pair that was open when it was resumed."""
        return self._resumed_at >> (level + 1) << 1

    def _store(self, level: int, first: int, rows: Bytes) -> None:
        while level >= len(self._levels):
            self._levels.append(np.empty((FIRST_CAPACITY, HASH_BYTES), dtype=np.uint8))
        first -= self._base(level)
        need, held = first + len(rows), self._levels[level]
        if need > len(held):
            grown = np.empty((max(need, 2 * len(held)), HASH_BYTES), dtype=np.uint8)
            grown[:first] = held[:first]
            self._levels[level] = grown
        self._levels[level][first:need] = rows


def is_subtree(start: int, end: int, size: int) -> bool:
    """Whether leaves [start, end) are a subtree of a log of `size` leaves, now or at an earlier size."""
    return 0 <= start < end <= size and start % (1 << (end - start - 1).bit_length()) == 0
