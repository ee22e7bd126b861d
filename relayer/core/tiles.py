"""The published form of a log (C2SP tlog-tiles): which files there are at a size, their names and their bytes.

A tile of level l holds up to 256 hashes: those of level 8 l of the tree, in order. A bundle holds the entries whose
hashes the tile of level 0 with its index holds. A file that is full never changes again; the last one of a level
may be partial, and then its width is part of its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

import numpy as np

from engine.common.errors import LogDamaged, UsageError
from relayer.core.rfc9162 import HASH_BYTES, is_subtree

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
ENTRIES = -1
"""Stands for a level where a bundle is meant."""
LEVEL_MAX = 63
CHECKPOINT = "checkpoint"
LENGTH_BYTES = 2
ENTRY_BYTES_MAX = (1 << 16) - 1
PARTIAL = ".p"
_HEAD, _ENTRIES = "tile", "entries"


class Tile(NamedTuple):
    """One file. level: of the tile, or ENTRIES; number: among those of its level; width: hashes or entries in it."""

    level: int
    number: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """Where it lies, with slashes, from the log's prefix on."""
        level = _ENTRIES if self.level == ENTRIES else str(self.level)
        partial = f"{PARTIAL}/{self.width}" if self.width < TILE_WIDTH else ""
        return f"{_HEAD}/{level}/{number_path(self.number)}{partial}"

    @property
    def full(self) -> Tile:
        """The same when it has all there is room for."""
        return self._replace(width=TILE_WIDTH)

    @property
    def partials(self) -> str:
        """The directory that its partial forms lie in."""
        return f"{self.full.path}{PARTIAL}"

    @property
    def first(self) -> int:
        """Number, in its level of the tree, of the first hash or entry."""
        return self.number << TILE_HEIGHT


def number_path(index: int) -> str:
    """A tile's index in groups of three digits, all but the last behind an x: 1234067 is x001/x234/067."""
    if index < 0:
        raise UsageError(f"no tile has index {index}", index=index)
    groups = [f"{index % 1000:03d}"]
    while index := index // 1000:
        groups.append(f"x{index % 1000:03d}")
    return "/".join(reversed(groups))


def tile_of_path(path: str) -> Tile:
    """The tile that has this path. UsageError unless it is spelled as `Tile.path` spells it."""
    parts = path.split("/")
    try:
        width = TILE_WIDTH
        if len(parts) > 3 and parts[-2].endswith(PARTIAL):
            width = int(parts.pop())
            parts[-1] = parts[-1].removesuffix(PARTIAL)
        level = ENTRIES if parts[1] == _ENTRIES else int(parts[1])
        tile = Tile(level, int("".join(part.removeprefix("x") for part in parts[2:])), width)
    except (ValueError, IndexError):
        raise UsageError(f"{path}: no path of a tile") from None
    if not (ENTRIES <= level <= LEVEL_MAX and 0 < width <= TILE_WIDTH) or tile.path != path:
        raise UsageError(f"{path}: no path of a tile")
    return tile


def grown(before: int, after: int) -> Iterator[Tile]:
    """The files that a log has at size `after` and had not, or had with another name, at size `before`.

    From 0: all of them. Bundles first, then the tiles level by level; UsageError unless 0 <= before <= after.
    """
    if not 0 <= before <= after:
        raise UsageError(f"a log does not grow from {before} to {after} leaves")
    for level in range(ENTRIES, LEVEL_MAX + 1):
        shift = TILE_HEIGHT * max(level, 0)
        low, high = before >> shift, after >> shift
        if low == high:
            return
        for index in range(low >> TILE_HEIGHT, high >> TILE_HEIGHT):
            yield Tile(level, index)
        if width := high % TILE_WIDTH:
            yield Tile(level, high >> TILE_HEIGHT, width)


def tile_at(level: int, index: int, size: int) -> Tile:
    """The form that a tile or bundle has at a size. UsageError: a log of that size has none."""
    width = min(TILE_WIDTH, (size >> TILE_HEIGHT * max(level, 0)) - (index << TILE_HEIGHT))
    if width <= 0 or index < 0:
        raise UsageError(f"a log of {size} leaves has no tile {index} of level {level}", size=size)
    return Tile(level, index, width)


def hashes_in(data: bytes, tile: Tile, log: str) -> list[bytes]:
    """The hashes of a tile. LogDamaged, naming `log` and tile, unless it has exactly its width of them."""
    if len(data) != HASH_BYTES * tile.width:
        damaged(log, tile.path, f"{len(data)} bytes, not {HASH_BYTES * tile.width}")
    return [data[k : k + HASH_BYTES] for k in range(0, len(data), HASH_BYTES)]


def encode_bundle(entries: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """The bundle of entries of one length, uint8[n, w]: each behind its length, big-endian in two bytes."""
    count, width = entries.shape
    if width > ENTRY_BYTES_MAX:
        raise UsageError(f"an entry of {width} bytes does not fit a bundle")
    out = np.empty((count, LENGTH_BYTES + width), np.uint8)
    out[:, 0], out[:, 1] = width >> 8, width & 0xFF
    out[:, LENGTH_BYTES:] = entries
    return out.tobytes()


def entries_in(data: bytes, tile: Tile, log: str) -> list[bytes]:
    """The entries of a bundle, of any lengths. LogDamaged unless it has exactly its width of them."""
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + LENGTH_BYTES + int.from_bytes(data[at : at + LENGTH_BYTES], "big")
        if at + LENGTH_BYTES > len(data) or end > len(data):
            damaged(log, tile.path, f"entry {len(entries)} is cut")
        entries.append(data[at + LENGTH_BYTES : end])
        at = end
    if len(entries) != tile.width:
        damaged(log, tile.path, f"{len(entries)} entries, not {tile.width}")
    return entries


def even_entries_in(
    data: bytes, tile: Tile, entry_bytes: int, log: str
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The entries of a bundle that all have `entry_bytes`, uint8[width, entry_bytes], read-only. LogDamaged."""
    row_bytes = LENGTH_BYTES + entry_bytes
    if len(data) != tile.width * row_bytes:
        damaged(log, tile.path, f"{len(data)} bytes, not {tile.width * row_bytes}")
    rows = np.frombuffer(data, np.uint8).reshape(tile.width, row_bytes)
    if (rows[:, 0] != entry_bytes >> 8).any() or (rows[:, 1] != entry_bytes & 0xFF).any():
        damaged(log, tile.path, f"an entry has not {entry_bytes} bytes")
    return rows[:, LENGTH_BYTES:]


def subtree_rows(start: int, end: int) -> tuple[int, int, int] | None:
    """Where the complete subtree over leaves [start, end) comes from: tile level, first row of that level, rows.

    None if it is not complete, and so no run of rows of one tile.
    """
    count = end - start
    if count & (count - 1) or not is_subtree(start, end, end):
        return None
    level = (count.bit_length() - 1) // TILE_HEIGHT
    return level, start >> TILE_HEIGHT * level, count >> TILE_HEIGHT * level


def damaged(log: str, path: str, what: str) -> NoReturn:
    """LogDamaged: of this log, this file, in these words."""
    raise LogDamaged(f"log {log}: {path}: {what}", log=log, path=path)
