"""A shard's log made again from its published files: every leaf hashed again, every node worked out again.

The files must be what was signed, all of them, to the last bit: else the relayer does not start, and the error names
log, file and size. Files that no checkpoint speaks of are what a crash left: they are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import LogDamaged
from kernels.sha256 import HASH_BYTES, HASH_WORDS, HashPath
from relayer.core.leaf import LEAF_BYTES
from relayer.core.log import Hasher, MerkleLog
from relayer.core.tile_log import read_tile
from relayer.core.tiles import (
    ENTRIES,
    LENGTH_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    even_entries_in,
    grown,
    tile_at,
)
from relayer.published import PublishedLog

TILES_AT_ONCE = 64
"""Read before they are hashed: 16,384 leaves, some 3 MB."""


class Restored:
    """One shard as it was last signed. roots: of every size of it that was signed, so that the greatest is its size.

    LogDamaged: the files give something else.
    """

    def __init__(
        self, folder: PublishedLog, origin: str, roots: Mapping[int, bytes], path: HashPath | None = None
    ) -> None:
        self.size = max(roots, default=0)
        self.log = MerkleLog(path)
        self._folder, self._origin = folder, origin
        self._hasher = Hasher(path)
        self._hashes = np.zeros(TILES_AT_ONCE * TILE_WIDTH * HASH_WORDS, np.int64)
        self._read_leaves()
        self._check_nodes()
        for size, root in roots.items():
            if self.log.root(size) != root:
                self._fail("tile", f"not the root that was signed at size {size}")
        self._check_partials(roots)

    def tail(self, size: int) -> NDArray[np.uint8]:
        """The leaves from the last bundle boundary before `size` up to there, uint8[n, LEAF_BYTES]."""
        count = size % TILE_WIDTH
        if not count:
            return np.zeros((0, LEAF_BYTES), np.uint8)
        return self._entries(tile_at(ENTRIES, size >> TILE_HEIGHT, self.size))[:count].copy()

    def _read_leaves(self) -> None:
        """Bundles and tiles of level 0, some at a time: what is in the one must hash to what is in the other."""
        bundles = [tile for tile in grown(0, self.size) if tile.level == ENTRIES]
        for at in range(0, len(bundles), TILES_AT_ONCE):
            some = bundles[at : at + TILES_AT_ONCE]
            leaves = np.concatenate([self._entries(tile) for tile in some])
            self._hasher.leaves(leaves, self._hashes, 0)
            hashes = self._hashes.view(np.uint8).reshape(-1, HASH_BYTES)[: len(leaves)]
            for k, tile in enumerate(some):
                rows = hashes[k * TILE_WIDTH : k * TILE_WIDTH + tile.width]
                if self._prefix(tile._replace(level=0), HASH_BYTES) != rows.tobytes():
                    self._fail(tile._replace(level=0).path, f"not the hashes of {tile.path}")
            self.log.append_hashes(hashes)

    def _check_nodes(self) -> None:
        """Tiles above level 0: each is worked out from those below."""
        for tile in grown(0, self.size):
            if tile.level > 0 and self._prefix(tile, HASH_BYTES) != self._expected(tile):
                self._fail(tile.path, "not the nodes over the tiles below it")

    def _check_partials(self, sizes: Mapping[int, bytes]) -> None:
        """The partial files of every signed size, as far as no full one has taken their place."""
        for tile in sorted({tile for size in sizes for tile in _edge(size)}):
            if tile.width >= tile_at(tile.level, tile.number, self.size).width:
                continue  # read already
            if tile_at(tile.level, tile.number, self.size).width == TILE_WIDTH:
                continue
            row_bytes = LENGTH_BYTES + LEAF_BYTES if tile.level == ENTRIES else HASH_BYTES
            _, newest = self._read(tile_at(tile.level, tile.number, self.size))
            if self._read(tile)[1] != newest[: tile.width * row_bytes]:
                self._fail(tile.path, "not the beginning of what came after it")

    def _entries(self, tile: Tile) -> NDArray[np.uint8]:
        data = self._prefix(tile, LENGTH_BYTES + LEAF_BYTES)
        return even_entries_in(data, tile, LEAF_BYTES, self._origin)

    def _expected(self, tile: Tile) -> bytes:
        level = self.log.level(TILE_HEIGHT * tile.level)
        return level[tile.first : tile.first + tile.width].tobytes()

    def _prefix(self, tile: Tile, row_bytes: int) -> bytes:
        """As many rows as the tile has, of it or of the full one; as it is where its length cannot be."""
        found, data = self._read(tile)
        if len(data) != found.width * row_bytes:
            self._fail(found.path, f"{len(data)} bytes, not {found.width * row_bytes}")
        return data[: tile.width * row_bytes]

    def _read(self, tile: Tile) -> tuple[Tile, bytes]:
        try:
            return read_tile(tile, self._folder.fetch, self._origin)
        except LogDamaged as error:
            self._fail(tile.path, error.line())

    def _fail(self, path: str, what: str) -> NoReturn:
        raise LogDamaged(
            f"log {self._origin} at size {self.size}: {path}: {what}; restore the folder from a copy, and do not"
            " remove it: what was signed binds",
            log=self._origin,
            path=path,
            size=self.size,
        )


def _edge(size: int) -> Iterator[Tile]:
    """The partial files of a size."""
    for level in (ENTRIES, *range(size.bit_length() // TILE_HEIGHT + 1)):
        nodes = size >> TILE_HEIGHT * max(level, 0)
        if width := nodes % TILE_WIDTH:
            yield Tile(level, nodes >> TILE_HEIGHT, width)
