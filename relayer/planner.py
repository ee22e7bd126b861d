"""From journal to transactions: follow, cut batches, append to the log, decide what is to be sent."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import NamedTuple

from engine.follower import Follower
from relayer.core.batch import Batch, Batcher
from relayer.core.graph import COMMIT, Node, edges_of
from relayer.core.leaf import account_keys, leaves_of
from relayer.core.log import MerkleLog
from relayer.core.payload import (
    Chunk,
    Commit,
    chunks_of,
    commit_of,
    delta_rows,
    encode_chunk,
    encode_commit,
)


class Plan(NamedTuple):
    """One batch as transactions: payload of each node, and what each waits for. In sending order."""

    commit: Commit
    chunks: list[Chunk]
    payloads: dict[Node, bytes]
    edges: dict[Node, set[Node]]


class Planner:
    """Folds the journal into plans. The same journal gives the same plans, byte for byte."""

    def __init__(self, directory: Path, *, rows_per_chunk: int, live: bool = True) -> None:
        self.follower = Follower(directory, live=live)
        self.log = MerkleLog()
        self.batcher = Batcher()
        self._rows_per_chunk = rows_per_chunk
        self._last_chunk: dict[tuple[bytes, int], Node] = {}
        self._closed: deque[Plan] = deque()

    @property
    def ordinal(self) -> int:
        """Frames folded."""
        return self.follower.machine.state.number("ordinal")

    def caught_up(self) -> bool:
        """True if everything durable is folded and every closed batch was handed out."""
        return not self._closed and self.follower.position >= self.follower.durable

    def next(self) -> Plan | None:
        """The next batch's plan, folding one stretch of journal if none waits; None if there is none yet."""
        if not self._closed:
            followed = self.follower.poll()
            if followed is None:
                return None
            for batch in self.batcher.feed(*followed):
                self._closed.append(self._plan(batch))
        return self._closed.popleft() if self._closed else None

    def _plan(self, batch: Batch) -> Plan:
        books = self.follower.machine.books
        keys = account_keys(books.keys[: int(books.meta[0]["accounts"])])
        self.log.append(leaves_of(batch.fills, keys))
        rows = delta_rows(batch, keys)
        commit = commit_of(
            batch,
            rows,
            log_size=self.log.size,
            root=self.log.root(),
            rows_per_chunk=self._rows_per_chunk,
        )
        chunks = chunks_of(batch, rows, self._rows_per_chunk)
        payloads = {Node(batch.number, COMMIT): encode_commit(commit)}
        payloads.update({Node(c.batch, c.chunk): encode_chunk(c) for c in chunks})
        return Plan(commit, chunks, payloads, edges_of(commit, chunks, self._last_chunk))
