"""The audit mirror: the published log once more, in pymerkle's SQLite trees, hashed by pymerkle.

It follows the published folder as a stranger would, a file at a time, and so never slows the relayer, needs no queue
and goes on where it stopped. Whenever it stands at a signed checkpoint, pymerkle's root must be the signed one.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

import pymerkle

from engine.common.errors import MirrorDiffers, StoreError, StoreFull
from relayer.core.checkpoint import Checkpoint
from relayer.core.note import read_checkpoint
from relayer.core.tile_log import read_tile
from relayer.core.tiles import ENTRIES, TILE_WIDTH, entries_in, tile_at
from relayer.prove import key_of
from relayer.published import PublishedLog, shards_in

BUNDLES_AT_ONCE = 64
"""Read before they are written: 16,384 leaves, some 2 MB, in one transaction."""
_CACHE_BYTES = 64 << 20


class Mirror:
    """Trees `<shard>.sqlite` in a directory. One at a time: StoreError where another process keeps this mirror.

    log: the directory of the published shards.
    """

    def __init__(self, directory: Path, log: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory, self._log = directory, log
        self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise StoreError(f"{directory}: another process keeps this mirror; stop it first") from error
        self._trees: dict[int, pymerkle.SqliteTree] = {}
        self._same: dict[int, Checkpoint] = {}

    def turn(self) -> bool:
        """Take some of what the mirror lacks, and compare where it lacks nothing; True if there may be more.

        MirrorDiffers: the root that pymerkle finds is not the signed one. LogDamaged, NoteInvalid, CheckpointInvalid:
        the published log is not what was signed. StoreFull, StoreError: the mirror cannot be written.
        """
        return any(self._follow(shard) for shard in shards_in(self._log))

    def compared(self) -> dict[int, Checkpoint]:
        """Of each shard the newest checkpoint whose root pymerkle found too."""
        return dict(self._same)

    def close(self) -> None:
        """Let go of the files."""
        for tree in self._trees.values():
            tree.close()
        os.close(self._lock)

    def _follow(self, shard: int) -> bool:
        folder = PublishedLog(self._log / str(shard))
        note = folder.note_if_any()
        if note is None:
            return False
        checkpoint = read_checkpoint(note, key_of(self._log, shard))
        if self._same.get(shard) == checkpoint:
            return False
        tree = self._tree(shard)
        size = tree.get_size()
        if size < checkpoint.size:
            self._append(tree, _entries(folder, checkpoint, size))
            size = tree.get_size()
        if size < checkpoint.size:
            return True
        self._compare(shard, tree, checkpoint)
        return False

    def _append(self, tree: pymerkle.SqliteTree, entries: list[bytes]) -> None:
        """All of them, durably, or none."""
        try:
            tree.append_entries(entries)
        except sqlite3.Error as error:
            full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
            raise (StoreFull if full else StoreError)(f"{tree.dbfile}: cannot be written: {error}") from error

    def _compare(self, shard: int, tree: pymerkle.SqliteTree, checkpoint: Checkpoint) -> None:
        if tree.get_size() > checkpoint.size:
            # What is published only grows; the mirror takes nothing that no checkpoint speaks of.
            raise MirrorDiffers(
                f"log {checkpoint.origin}: published are {checkpoint.size} leaves, the mirror holds"
                f" {tree.get_size()} that were published before",
                shard=shard,
            )
        root = tree.get_root(checkpoint.size)
        if root != checkpoint.root:
            raise MirrorDiffers(
                f"log {checkpoint.origin} at {checkpoint.size} leaves: the signed root is {checkpoint.root.hex()},"
                f" the mirror's is {root.hex()}",
                shard=shard,
            )
        self._same[shard] = checkpoint

    def _tree(self, shard: int) -> pymerkle.SqliteTree:
        if shard not in self._trees:
            path = self._directory / f"{shard}.sqlite"
            try:
                self._trees[shard] = pymerkle.SqliteTree(str(path), capacity=_CACHE_BYTES)
            except (sqlite3.Error, ValueError) as error:
                raise StoreError(f"{path}: cannot be opened as a mirror: {error}") from error
        return self._trees[shard]


def _entries(folder: PublishedLog, checkpoint: Checkpoint, first: int) -> list[bytes]:
    """Leaves from `first` on, as many as are taken at once."""
    bundle = first // TILE_WIDTH
    last = min(bundle + BUNDLES_AT_ONCE, -(-checkpoint.size // TILE_WIDTH))
    entries: list[bytes] = []
    for number in range(bundle, last):
        tile = tile_at(ENTRIES, number, checkpoint.size)
        found, data = read_tile(tile, folder.fetch, checkpoint.origin)
        entries += entries_in(data, found, checkpoint.origin)[: tile.width]
    return entries[first % TILE_WIDTH :]
