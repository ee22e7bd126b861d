"""The relayer's record as others may read it: also while the relayer runs, and without being able to change it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from engine.common.errors import StoreError
from relayer.core.graph import COMMIT
from relayer.core.lifecycle import State

_BUSY_S = 5.0


class SignedBatch(NamedTuple):
    """A batch and the checkpoint that was signed behind it."""

    batch: int
    note: bytes


class CommitRecord(NamedTuple):
    """What is known of a batch's commit. signatures: all that were ever made; slot: 0 until it is final."""

    signatures: tuple[str, ...]
    slot: int


class Record:
    """Reads a record file. StoreError: it is none, or cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_BUSY_S)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def batch_of(self, shard: int, index: int) -> SignedBatch | None:
        """The batch that brought leaf `index` of a shard, counted from 0; None: none that the record knows."""
        row = self._one(
            "SELECT batch, note FROM checkpoint WHERE shard=? AND size>? ORDER BY batch LIMIT 1",
            (shard, index),
        )
        return SignedBatch(int(row[0]), bytes(row[1])) if row else None

    def commit_of(self, batch: int) -> CommitRecord:
        """The transactions that were signed to commit a batch; none where none was yet."""
        state = self._one("SELECT state, slot FROM intent WHERE batch=? AND chunk=?", (batch, COMMIT))
        rows = self._all(
            "SELECT signature FROM signature WHERE batch=? AND chunk=? ORDER BY last_valid_height, signature",
            (batch, COMMIT),
        )
        if rows:
            slot = int(state[1]) if state is not None and state[0] == State.FINALIZED else 0
            return CommitRecord(tuple(str(row[0]) for row in rows), slot)
        # Looked at last: a relayer that forgets a batch meanwhile has put this down in the same moment.
        kept = self._all("SELECT signature, slot FROM committed WHERE batch=? ORDER BY signature", (batch,))
        return CommitRecord(tuple(str(row[0]) for row in kept), int(kept[0][1]) if kept else 0)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _one(self, query: str, values: tuple[int, ...]) -> tuple[Any, ...] | None:
        rows = self._all(query, values)
        return rows[0] if rows else None

    def _all(self, query: str, values: tuple[int, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> StoreError:
        return StoreError(f"{self._path}: cannot be read as the relayer's record: {error}")
