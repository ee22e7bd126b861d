"""What the relayer's record lets go of: what is final behind two resume points, and told. Numbers stay."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import numpy as np
import pytest
from solders.signature import Signature as SolanaSignature

from engine.common.errors import StoreError
from engine.journal.reader import Cursor
from kernels.frames import FRAME
from kernels.netting import DELTA
from relayer import retention
from relayer.core.graph import COMMIT, Node
from relayer.core.lifecycle import State
from relayer.outcomes import Outcomes
from relayer.resume import PAUSE_NS, ResumePoints
from relayer.retention import prune
from relayer.store import ResumePoint, Signature, Store
from relayer.submit import Landed
from tests.relayer.engine import Engine

CHUNKS = 3
NO_DELTAS = np.zeros(0, DELTA)
TABLES = ("intent", "signature", "outcome")


class Relay:
    """As much of a relayer as writes the record: each batch is planned, signed, seen final and told."""

    def __init__(self, directory: Path, *, payload: bytes = b"memo") -> None:
        self.directory, self.payload = directory, payload
        self.engine = Engine()
        self.batch = 0
        self.moved = itertools.count()
        self.start()

    def start(self) -> None:
        """Begin on nothing but the files."""
        self.store = Store(self.directory / "store.sqlite")
        self.points, self.outcomes = ResumePoints(self.store, self.directory), Outcomes(self.store)
        point = self.store.resume_point()
        self.outcomes.begin_behind(point.batch if point else 0)
        for batch in range(point.batch + 1 if point else 1, self.batch + 1):
            with self.store.transaction():
                intents = [self.store.plan(node, self.payload) for node in self.nodes(batch)]
            assert all(intent.state is State.FINALIZED for intent in intents)
            self.outcomes.expect(batch, intents)
            self.points.expect(self.point(batch), NO_DELTAS)
        asyncio.run(self.outcomes.resend(self.engine, len(self.engine.frames)))

    def nodes(self, batch: int) -> list[Node]:
        return [Node(batch, chunk) for chunk in (COMMIT, *range(CHUNKS - 1))]

    def point(self, batch: int) -> ResumePoint:
        return ResumePoint(batch, 10 * batch, Cursor(20 * batch, 1, 7), batch)

    def settle(self, *, tell: bool = True) -> None:
        """One more batch, from plan to outcome; then the resume point moves behind it."""
        self.batch += 1
        nodes = self.nodes(self.batch)
        made = [Signature(f"{n.batch}.{n.chunk}", n, b"wire" + self.payload, n.batch) for n in nodes]
        with self.store.transaction():
            self.outcomes.expect(self.batch, [self.store.plan(node, self.payload) for node in nodes])
            self.store.add_signatures(made)
        self.points.expect(self.point(self.batch), NO_DELTAS)
        text = str(SolanaSignature.default())
        frames = self.outcomes.record([Landed(node, 100 + self.batch, text) for node in nodes])
        if tell:
            asyncio.run(self.engine.send(np.frombuffer(b"".join(frames), FRAME)))
        self.points.advance(self.batch, next(self.moved) * PAUSE_NS, len(self.engine.frames))

    def rows(self) -> dict[str, int]:
        return {t: self.store._db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in TABLES}


@pytest.fixture
def relay(tmp_path: Path) -> Relay:
    return Relay(tmp_path)


def test_what_lies_behind_two_resume_points_goes_and_its_numbers_stay(relay: Relay) -> None:
    for k in range(1, 30):
        relay.settle()
        assert relay.rows() == {"intent": CHUNKS, "signature": CHUNKS, "outcome": CHUNKS + 1}
        assert relay.store.counts() == {State.FINALIZED: CHUNKS * k}
        assert relay.store.total_signatures() == CHUNKS * k
        assert relay.store.final_upto(k) == (CHUNKS * k, 100 + k)
        assert relay.store.last_outcome() == (CHUNKS + 1) * k


@pytest.mark.parametrize("often", [1, 2, 3, 7])
def test_a_restart_goes_on_as_if_everything_were_there(relay: Relay, often: int) -> None:
    """Also one whose newest outcomes the engine has not got: they are there to be sent again."""
    for k in range(1, 30):
        relay.settle(tell=k % 5 != 0)
        if k % often == 0:
            relay.store.close()
            relay.start()
            assert (relay.outcomes.settled, relay.outcomes.finalized) == (k, CHUNKS * k)
        elif k % 5 == 0:
            asyncio.run(relay.outcomes.resend(relay.engine, len(relay.engine.frames)))
    told = relay.engine.told()
    assert [t[0] for t in told if t[1] == COMMIT] == sorted(
        2 * list(range(1, 30))
    )  # its commit, then settled
    assert len(told) == len(set(told)) == 29 * (CHUNKS + 1) == relay.store.last_outcome()
    assert max(relay.rows().values()) <= 3 * (CHUNKS + 1)


def test_what_the_engine_has_not_got_stays_however_old(relay: Relay) -> None:
    for _ in range(3):
        relay.settle()
    for _ in range(6):
        relay.settle(tell=False)
    assert relay.rows()["outcome"] == (CHUNKS + 1) * 6, "sent and not told: kept"
    assert relay.rows()["intent"] == CHUNKS
    relay.start()
    assert len(relay.engine.frames) == (CHUNKS + 1) * 9, "the engine got the rest at the start"
    relay.settle()
    relay.settle()
    assert relay.rows()["outcome"] == CHUNKS + 1


def test_an_engine_that_lost_what_the_record_let_go_of_is_refused(relay: Relay) -> None:
    for _ in range(5):
        relay.settle()
    gone = relay.store.pruned().outcome
    assert gone == (CHUNKS + 1) * 4
    asyncio.run(relay.outcomes.resend(relay.engine, gone))
    with pytest.raises(StoreError, match=f"has outcome {gone - 1} and had {gone}"):
        asyncio.run(relay.outcomes.resend(relay.engine, gone - 1))


def test_a_batch_that_went_is_never_planned_again(relay: Relay) -> None:
    for _ in range(5):
        relay.settle()
    with pytest.raises(StoreError, match="batch 4 was settled before"), relay.store.transaction():
        relay.store.plan(Node(4), b"memo")
    with relay.store.transaction():
        assert relay.store.plan(Node(5), b"memo").state is State.FINALIZED


def test_a_record_from_before_goes_in_pieces(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was let go of for long: a step takes a bounded piece, and the number of the newest stays."""
    monkeypatch.setattr(retention, "BATCHES_AT_ONCE", 10)
    with monkeypatch.context() as patch:
        patch.setattr("relayer.resume.prune", lambda *_: None)
        for _ in range(25):
            relay.settle()
    assert relay.rows()["intent"] == CHUNKS * 25 and relay.store.pruned().batch == 0
    left = []
    for _ in range(3):
        with relay.store.transaction():
            prune(relay.store, 25, 10**6)
        left.append(tuple(relay.rows().values()))
    assert left == [(45, 45, 60), (15, 15, 20), (0, 0, 0)]
    relay.store.close()
    relay.start()
    assert relay.outcomes.settled == 25 and relay.store.last_outcome() == 100
    relay.settle()
    assert len(relay.engine.frames) == 104


def test_what_cannot_be_recorded_lets_go_of_nothing(relay: Relay) -> None:
    for _ in range(5):
        relay.settle()
    before, pruned = relay.rows(), relay.store.pruned()
    with pytest.raises(KeyError), relay.store.transaction():
        prune(relay.store, 5, 10**6)
        assert relay.store.pruned().batch == 5
        raise KeyError("a bug")
    assert (relay.rows(), relay.store.pruned()) == (before, pruned)


def test_the_file_stays_as_small_as_what_it_holds(tmp_path: Path) -> None:
    relay, sizes = Relay(tmp_path, payload=bytes(20_000)), []
    for k in range(120):
        relay.settle()
        if k % 40 == 39:
            relay.store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            sizes.append((tmp_path / "store.sqlite").stat().st_size)
    assert sizes[0] == sizes[1] == sizes[2] < 30 * CHUNKS * 20_000
