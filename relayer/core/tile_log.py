"""A published log as its readers see it: a signed checkpoint, and tiles that are believed only as far as it goes.

Whatever is handed out was led to the checkpoint's root first. So it does not matter where the files come from.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeAlias

from engine.common.errors import LogSplit, ProofInvalid, UsageError
from relayer.core.checkpoint import Checkpoint
from relayer.core.proofs import (
    consistency_proof,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)
from relayer.core.rfc9162 import EMPTY_ROOT, hash_leaf, hash_node, split_point
from relayer.core.tiles import (
    ENTRIES,
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    damaged,
    entries_in,
    hashes_in,
    subtree_rows,
    tile_at,
)

Fetch: TypeAlias = Callable[[str], bytes]
"""The bytes of a file by its path below the log's prefix. FileNotFoundError: there is none."""

FILES_KEPT = 512
"""Files held in memory, at most 8 KiB of hashes or some 30 KiB of entries each."""


class TileLog:
    """The log of one checkpoint, read from tiles alone. Bounded by FILES_KEPT.

    LogDamaged: the tiles are missing, cut, or do not lead to the checkpoint's root.
    """

    def __init__(self, checkpoint: Checkpoint, fetch: Fetch) -> None:
        self.checkpoint = checkpoint
        self._fetch = fetch
        self._files: OrderedDict[Tile, list[bytes]] = OrderedDict()
        if self.root() != checkpoint.root:
            damaged(checkpoint.origin, "tile", f"not the root that was signed at size {self.size}")

    @property
    def size(self) -> int:
        """Leaves of the checkpoint."""
        return self.checkpoint.size

    def root(self, size: int | None = None) -> bytes:
        """The root over the first `size` leaves (default all). UsageError if this checkpoint has not so many."""
        size = self.size if size is None else size
        if not 0 <= size <= self.size:
            raise UsageError(f"size {size} asked of a checkpoint of {self.size} leaves", size=size)
        return self.range_root(0, size) if size else EMPTY_ROOT

    def range_root(self, start: int, end: int) -> bytes:
        """The root over leaves [start, end), a range that occurs as a subtree at some size of the log."""
        rows = subtree_rows(start, end)
        if rows is None:
            middle = start + split_point(end - start)
            return hash_node(self.range_root(start, middle), self.range_root(middle, end))
        level, first, count = rows
        tile = self._file(level, first >> TILE_HEIGHT)
        begin = first % TILE_WIDTH
        hashes = tile[begin : begin + count]
        while len(hashes) > 1:
            hashes = [hash_node(*hashes[k : k + 2]) for k in range(0, len(hashes), 2)]
        return hashes[0]

    def leaf_hash(self, index: int) -> bytes:
        """The hash of one leaf, counted from 0, as the tile has it. UsageError: the checkpoint has no such leaf."""
        self._must_have(index)
        return self._file(0, index >> TILE_HEIGHT)[index % TILE_WIDTH]

    def entry(self, index: int) -> bytes:
        """The bytes of one leaf, counted from 0. LogDamaged unless they hash to what the tile has."""
        self._must_have(index)
        entry = self._file(ENTRIES, index >> TILE_HEIGHT)[index % TILE_WIDTH]
        if hash_leaf(entry) != self.leaf_hash(index):
            tile = tile_at(ENTRIES, index >> TILE_HEIGHT, self.size)
            damaged(self.checkpoint.origin, tile.path, f"entry {index} has not the hash that the tile says")
        return entry

    def inclusion(self, index: int) -> list[bytes]:
        """The proof of leaf `index` to this checkpoint's root, verified."""
        self._must_have(index)
        proof = inclusion_proof(self, index, self.size)
        try:
            verify_inclusion(self.leaf_hash(index), index, self.size, proof, self.checkpoint.root)
        except ProofInvalid as error:
            damaged(self.checkpoint.origin, "tile", f"leaf {index} at size {self.size}: {error.line()}")
        return proof

    def consistency(self, earlier: Checkpoint) -> list[bytes]:
        """The proof that this checkpoint's log begins with that of an earlier one, verified; empty from size 0.

        LogSplit: it does not, so one log signed both; UsageError: the other is of another log, or a later one.
        """
        ours = self.checkpoint
        if earlier.origin != ours.origin or earlier.size > ours.size:
            raise UsageError(
                f"{earlier.origin} at {earlier.size} is not earlier than {ours.origin} at {ours.size}"
            )
        if not earlier.size:
            return []
        root, proof = self.root(earlier.size), consistency_proof(self, earlier.size, ours.size)
        try:
            verify_consistency(earlier.size, ours.size, root, ours.root, proof)
        except ProofInvalid as error:
            damaged(ours.origin, "tile", f"from size {earlier.size} to {ours.size}: {error.line()}")
        if root != earlier.root:
            raise LogSplit(
                f"log {ours.origin}: what was signed at size {ours.size} does not extend what was signed at size"
                f" {earlier.size}",
                sizes=[earlier.size, ours.size],
            )
        return proof

    def _must_have(self, index: int) -> None:
        if not 0 <= index < self.size:
            raise UsageError(f"leaf {index} asked of a checkpoint of {self.size} leaves", index=index)

    def _file(self, level: int, index: int) -> list[bytes]:
        """What the file holds of what there was at this size: the full one will do where the partial one went."""
        tile = tile_at(level, index, self.size)
        if tile in self._files:
            self._files.move_to_end(tile)
            return self._files[tile]
        found, data = read_tile(tile, self._fetch, self.checkpoint.origin)
        read = entries_in if level == ENTRIES else hashes_in
        self._files[tile] = held = read(data, found, self.checkpoint.origin)[: tile.width]
        if len(self._files) > FILES_KEPT:
            self._files.popitem(last=False)
        return held


def read_tile(tile: Tile, fetch: Fetch, log: str) -> tuple[Tile, bytes]:
    """A tile or bundle, or the full one that took the place of it, and which of the two. LogDamaged: neither."""
    try:
        return tile, fetch(tile.path)
    except FileNotFoundError:
        pass  # a full one is fetched again: it may have come since
    try:
        return tile.full, fetch(tile.full.path)
    except FileNotFoundError:
        damaged(log, tile.path, "missing")
