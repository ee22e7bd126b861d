"""Which transaction waits for which: a dependency graph that knows nothing of chains or clocks.

commit(n) waits for commit(n-1); a chunk of n waits for commit(n), and for the last chunk that touched any of
its positions. A node is ready when all it waits for are confirmed; a rollback makes it, and all that hang on
it, unconfirmed again. Final nodes leave the graph.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple

from relayer.core.payload import Chunk, Commit

COMMIT = -1


class Node(NamedTuple):
    """One transaction: a batch's commit (chunk -1) or one of its chunks."""

    batch: int
    chunk: int = COMMIT


class Stage(enum.IntEnum):
    """How far a node is, as far as those that wait for it care."""

    OPEN = 0
    CONFIRMED = 1
    FINAL = 2


def edges_of(
    commit: Commit, chunks: list[Chunk], last_chunk: dict[tuple[bytes, int], Node]
) -> dict[Node, set[Node]]:
    """What each node of a batch waits for. last_chunk: per (user, market), updated to this batch's chunks."""
    root = Node(commit.batch)
    edges: dict[Node, set[Node]] = {root: {Node(commit.batch - 1)} if commit.batch > 1 else set()}
    for chunk in chunks:
        node = Node(chunk.batch, chunk.chunk)
        waits = {root}
        for row in chunk.rows:
            before = last_chunk.get((row.user, row.market))
            if before is not None:
                waits.add(before)
            last_chunk[row.user, row.market] = node
        edges[node] = waits
    return edges


class Graph:
    """Nodes not yet final, and what they wait for. Decides what may be sent next."""

    def __init__(self) -> None:
        self._parents: dict[Node, set[Node]] = {}
        self._children: dict[Node, set[Node]] = {}
        self._stage: dict[Node, Stage] = {}
        self._taken: set[Node] = set()
        self._ready: dict[Node, None] = {}

    def __len__(self) -> int:
        return len(self._stage)

    def add(self, node: Node, parents: Iterable[Node]) -> None:
        """Add a node. Parents that are not in the graph are final already."""
        if node in self._stage:
            raise AssertionError(f"{node} is in the graph already")
        self._stage[node] = Stage.OPEN
        self._parents[node] = {p for p in parents if p in self._stage}
        for parent in self._parents[node]:
            self._children.setdefault(parent, set()).add(node)
        self._consider(node)

    def take_ready(self, limit: int) -> list[Node]:
        """Up to `limit` nodes whose parents are all confirmed, each given out once, oldest first."""
        nodes = list(self._ready)[:limit]
        for node in nodes:
            del self._ready[node]
            self._taken.add(node)
        return nodes

    def take(self, node: Node) -> None:
        """A node that an earlier run has sent: it is not to be given out again."""
        self._taken.add(node)
        self._ready.pop(node, None)

    def give_back(self, node: Node) -> None:
        """A node that was taken has not been sent: it may be taken again when it is ready."""
        self._taken.discard(node)
        self._consider(node)

    def confirm(self, node: Node) -> None:
        """A node is confirmed: those that wait only for it become ready."""
        if self._stage.get(node) is Stage.OPEN:
            self._stage[node] = Stage.CONFIRMED
            for child in self._children.get(node, ()):
                self._consider(child)

    def unconfirm(self, node: Node) -> list[Node]:
        """A rollback: the node and all its descendants are open again. Returns them, the node first.

        They stay taken: their transactions are out, and whether they land is for the chain to say.
        """
        undone = []
        stack = [node]
        seen = set()
        while stack:
            at = stack.pop()
            if at in seen or at not in self._stage:
                continue
            seen.add(at)
            self._stage[at] = Stage.OPEN
            self._ready.pop(at, None)
            undone.append(at)
            stack.extend(self._children.get(at, ()))
        return undone

    def finish(self, node: Node) -> None:
        """A node is final: it leaves the graph."""
        self.confirm(node)
        if self._stage.pop(node, None) is None:
            return
        self._taken.discard(node)
        self._ready.pop(node, None)
        for child in self._children.pop(node, ()):
            self._parents[child].discard(node)
            self._consider(child)
        for parent in self._parents.pop(node, ()):
            self._children.get(parent, set()).discard(node)

    def _consider(self, node: Node) -> None:
        if self._stage.get(node) is not Stage.OPEN or node in self._taken:
            return
        if all(self._stage[p] is Stage.CONFIRMED for p in self._parents[node]):
            self._ready[node] = None
        else:
            self._ready.pop(node, None)
