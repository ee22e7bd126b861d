"""From journal to transactions: follow, cut batches, append to the log, decide what is to be sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.follower import Followed
from engine.journal.reader import Cursor
from kernels.sha256 import HashPath
from relayer.core.batch import Batch
from relayer.core.graph import COMMIT, Node, edges_of
from relayer.core.leaf import account_keys, leaves_of
from relayer.core.payload import (
    Chunk,
    Commit,
    chunks_of,
    commit_of,
    delta_rows,
    encode_chunk,
    encode_commit,
)
from relayer.core.shards import Growth, Shards
from relayer.resume import begin
from relayer.store import ResumePoint, Store


class Plan(NamedTuple):
    """One batch as transactions: payload of each node, and what each waits for. In sending order.

    resume: where a fold goes on when all of it is final; deltas: DELTA[n] of it; growth: what it adds to the log.
    edges: to nodes of batches before the one that this fold began behind there are none, but from a commit: those
    are final.
    """

    commit: Commit
    chunks: list[Chunk]
    payloads: dict[Node, bytes]
    edges: dict[Node, set[Node]]
    resume: ResumePoint
    deltas: NDArray[np.void]
    growth: Growth


class Planner:
    """Folds the journal into plans. The same journal gives the same plans, byte for byte, wherever it begins.

    store: go on behind what is recorded there as final; None: from the first frame. log: as of there, to be
    appended to; None: an empty one, hashed by `path`.
    Errors as `resume.begin`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        rows_per_chunk: int,
        live: bool = True,
        store: Store | None = None,
        log: Shards | None = None,
        path: HashPath | None = None,
    ) -> None:
        self.log = Shards(path=path) if log is None else log
        self.follower, self.batcher, self._last = begin(directory, store, live=live, log_size=self.log.size)
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
            cursor = self.follower.cursor
            followed = self.follower.poll()
            if followed is None:
                return None
            # A batch that closes here ends behind `cursor`: from there on its successor is folded.
            for batch in self._feed(followed):
                self._closed.append(self._plan(batch, cursor))
        return self._closed.popleft() if self._closed else None

    def _feed(self, followed: Followed) -> Iterator[Batch]:
        """Batches that these frames close, without those that were in batches before this fold began."""
        frames, ordinal, results, legs = followed
        known = min(max(0, self._last + 1 - ordinal), len(frames))
        made = int(results["legs"][:known].sum())
        return self.batcher.feed(frames[known:], ordinal + known, results[known:], legs[made:])

    def _plan(self, batch: Batch, cursor: Cursor) -> Plan:
        books = self.follower.machine.books
        keys = account_keys(books.keys[: int(books.meta[0]["accounts"])])
        growth = self.log.append(leaves_of(batch.fills, keys))
        rows = delta_rows(batch, keys)
        commit = commit_of(
            batch,
            rows,
            log_size=self.log.size,
            root=growth.log.root(),
            rows_per_chunk=self._rows_per_chunk,
        )
        chunks = chunks_of(batch, rows, self._rows_per_chunk)
        payloads = {Node(batch.number, COMMIT): encode_commit(commit)}
        payloads.update({Node(c.batch, c.chunk): encode_chunk(c) for c in chunks})
        resume = ResumePoint(batch.number, batch.last, cursor, self.log.size)
        edges = edges_of(commit, chunks, self._last_chunk)
        return Plan(commit, chunks, payloads, edges, resume, batch.deltas, growth)
