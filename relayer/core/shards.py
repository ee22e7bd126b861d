"""The log as one sequence of shards. A log of its own each, of at most SHARD_LEAVES leaves.

A size counts over all shards: shard * SHARD_LEAVES + leaves in it, so that a size alone says which shard it is of.
The leaves of one batch are never parted: those that do not fit begin the next shard, and the rest of the one before
stays empty. That depends on the batches alone, and so on the journal alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import UsageError
from kernels.sha256 import HashPath
from relayer.core.leaf import LEAF_BYTES
from relayer.core.log import SHARD_LEAVES, MerkleLog
from relayer.core.tiles import TILE_HEIGHT

_NO_ENTRIES = np.zeros((0, LEAF_BYTES), np.uint8)


class Place(NamedTuple):
    """A size as a shard and the leaves in it."""

    shard: int
    leaves: int


class Growth(NamedTuple):
    """What one batch adds to a shard. log: of the shard, of at least `after` leaves.

    entries: uint8[n, w], the leaves from the last bundle boundary at or before `before` up to `after`.
    """

    shard: int
    before: int
    after: int
    log: MerkleLog
    entries: NDArray[np.uint8]


def place_of(size: int, shard_leaves: int = SHARD_LEAVES) -> Place:
    """Where a log of this size, over all shards, ends. UsageError: no log has a negative size."""
    if size < 0:
        raise UsageError(f"no log has {size} leaves", size=size)
    shard = max(size - 1, 0) // shard_leaves
    return Place(shard, size - shard * shard_leaves)


class Shards:
    """The log that batches are appended to: the shard that is open, in memory.

    To go on: the log of the open shard, its number, and its leaves since the last bundle boundary, uint8[n, w].
    UsageError: these are not as many as there must be. Bounded by one shard.
    """

    def __init__(
        self,
        log: MerkleLog | None = None,
        *,
        shard: int = 0,
        tail: NDArray[np.uint8] = _NO_ENTRIES,
        path: HashPath | None = None,
        shard_leaves: int = SHARD_LEAVES,
    ) -> None:
        self.log = MerkleLog(path) if log is None else log
        self.shard = shard
        self._tail, self._path, self._shard_leaves = tail, path, shard_leaves
        if len(tail) != _behind_bundle(self.log.size):
            raise UsageError(f"{len(tail)} leaves do not lead on from {self.log.size}", size=self.log.size)

    @property
    def size(self) -> int:
        """The size over all shards."""
        return self.shard * self._shard_leaves + self.log.size

    def append(self, leaves: NDArray[np.uint8]) -> Growth:
        """Append the leaves of one batch, uint8[n, w], as a whole. UsageError, changing nothing: they never fit."""
        if len(leaves) > self._shard_leaves:
            raise UsageError(f"{len(leaves)} leaves do not fit a shard of {self._shard_leaves}")
        if self.log.size + len(leaves) > self._shard_leaves:
            self.log, self.shard, self._tail = MerkleLog(self._path), self.shard + 1, _NO_ENTRIES
        before = self.log.size
        self.log.append(leaves)
        entries = np.concatenate((self._tail, leaves)) if len(self._tail) else leaves
        after = self.log.size
        self._tail = entries[len(entries) - _behind_bundle(after) :].copy()
        return Growth(self.shard, before, after, self.log, entries)


def _behind_bundle(size: int) -> int:
    """Leaves since the last bundle that is full."""
    return size - (size >> TILE_HEIGHT << TILE_HEIGHT)
