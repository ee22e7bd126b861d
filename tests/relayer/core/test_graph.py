"""The graph against a twin that forgets nothing and recomputes everything, over random graphs and orders."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relayer.core.graph import Graph, Node, edges_of
from relayer.core.payload import Chunk, Commit, Delta


class Twin:
    """Every node and edge ever added; readiness by looking at all of them."""

    def __init__(self) -> None:
        self.parents: dict[Node, set[Node]] = {}
        self.confirmed: set[Node] = set()
        self.final: set[Node] = set()
        self.taken: set[Node] = set()

    def ready(self) -> set[Node]:
        good = self.confirmed | self.final
        return {n for n, p in self.parents.items() if n not in good and n not in self.taken and p <= good}

    def descendants(self, node: Node) -> set[Node]:
        found = {node}
        while True:
            more = {n for n, p in self.parents.items() if p & found} - found - self.final
            if not more:
                return found
            found |= more


def take_all(graph: Graph, twin: Twin, limit: int) -> None:
    """What is given out is ready, is not given out twice, and is all there is."""
    expected = twin.ready()
    nodes = graph.take_ready(limit)
    assert len(nodes) == len(set(nodes)) == min(limit, len(expected))
    assert set(nodes) <= expected
    twin.taken |= set(nodes)


def act(graph: Graph, twin: Twin, what: str, node: Node, limit: int) -> None:
    """One thing that may happen to one node, done to both."""
    if what == "take":
        take_all(graph, twin, limit)
    elif what == "confirm" and node in twin.taken:
        graph.confirm(node)
        if node not in twin.final:
            twin.confirmed.add(node)
    elif what == "finish" and node in twin.confirmed and twin.parents[node] <= twin.final:
        graph.finish(node)
        twin.confirmed.discard(node)
        twin.final.add(node)
    elif what == "unconfirm" and node in twin.confirmed:
        undone = graph.unconfirm(node)
        assert undone[0] == node
        assert set(undone) == twin.descendants(node)
        assert len(undone) == len(set(undone))
        twin.confirmed -= set(undone)
    elif what == "give_back" and node in twin.taken and node not in twin.confirmed | twin.final:
        graph.give_back(node)
        twin.taken.discard(node)


ACTIONS = st.sampled_from(("take", "take", "confirm", "confirm", "finish", "unconfirm", "give_back"))


@settings(max_examples=150)
@given(st.data())
def test_only_what_is_ready_is_given_out_and_only_once(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    nodes = [Node(k + 1) for k in range(count)]
    graph, twin = Graph(), Twin()
    for k, node in enumerate(nodes):
        twin.parents[node] = data.draw(st.sets(st.sampled_from(nodes[:k]))) if k else set()
    added = 0
    for _ in range(data.draw(st.integers(1, 60))):
        if added < count and data.draw(st.booleans()):
            graph.add(nodes[added], twin.parents[nodes[added]])
            added += 1
            continue
        known = Twin.__new__(Twin)
        known.__dict__ = {**twin.__dict__, "parents": {n: twin.parents[n] for n in nodes[:added]}}
        if added:
            act(graph, known, data.draw(ACTIONS), data.draw(st.sampled_from(nodes[:added])),
                data.draw(st.integers(0, 4)))  # fmt: skip
        twin.__dict__.update({k: v for k, v in known.__dict__.items() if k != "parents"})
    for node in nodes[added:]:
        graph.add(node, twin.parents[node])
    take_all(graph, twin, 99)
    for node in nodes:  # everything goes through in the end
        assert node in twin.taken | twin.confirmed | twin.final
        graph.finish(node)
        twin.final.add(node)
        twin.confirmed.discard(node)
        take_all(graph, twin, 99)
    assert len(graph) == 0


def test_a_rollback_takes_back_what_was_ready_and_not_yet_given_out() -> None:
    graph = Graph()
    graph.add(Node(1), set())
    graph.add(Node(2), {Node(1)})
    graph.add(Node(3), {Node(2)})
    assert graph.take_ready(9) == [Node(1)]
    graph.confirm(Node(1))
    assert graph.unconfirm(Node(1)) == [Node(1), Node(2), Node(3)]
    assert graph.take_ready(9) == []
    graph.confirm(Node(1))
    assert graph.take_ready(9) == [Node(2)]


def test_an_earlier_run_has_sent_it() -> None:
    graph = Graph()
    graph.add(Node(1), set())
    graph.take(Node(1))
    assert graph.take_ready(9) == []
    graph.give_back(Node(1))
    assert graph.take_ready(9) == [Node(1)]


def test_oldest_first_and_no_node_twice() -> None:
    graph = Graph()
    for k in (3, 1, 2):
        graph.add(Node(k), set())
    assert graph.take_ready(2) == [Node(3), Node(1)]
    with pytest.raises(AssertionError, match="already"):
        graph.add(Node(2), set())


def commit(batch: int, chunks: int) -> Commit:
    return Commit(batch, batch, batch, 0, 0, bytes(32), 1, chunks, bytes(32))


def row(user: int, market: int, prev: int = 0) -> Delta:
    return Delta(bytes([user]) * 32, market, 1, 1, 0, 0, prev)


def test_edges_follow_positions_and_commits() -> None:
    last: dict[tuple[bytes, int], Node] = {}
    one = [Chunk(1, 0, (row(1, 0), row(2, 0))), Chunk(1, 1, (row(3, 0),))]
    assert edges_of(commit(1, 2), one, last) == {
        Node(1): set(),
        Node(1, 0): {Node(1)},
        Node(1, 1): {Node(1)},
    }
    two = [Chunk(2, 0, (row(2, 0, 1), row(3, 0, 1), row(1, 1))), Chunk(2, 1, (row(4, 0),))]
    assert edges_of(commit(2, 2), two, last) == {
        Node(2): {Node(1)},
        Node(2, 0): {Node(2), Node(1, 0), Node(1, 1)},
        Node(2, 1): {Node(2)},
    }
    assert last[bytes([2]) * 32, 0] == Node(2, 0)
    assert last[bytes([1]) * 32, 0] == Node(1, 0)
