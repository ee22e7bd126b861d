"""What the engine is told: numbered, recorded first, each thing once, batches in order, whatever stops when."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import numpy as np
import pytest
from solders.signature import Signature as SolanaSignature

from engine.common.errors import StoreError
from engine.core.apply import Machine
from kernels.crc32c import words_of
from kernels.frames import FRAME, OUTCOME, OutcomeStage, Source
from relayer.core.graph import Node
from relayer.core.lifecycle import State
from relayer.outcomes import Outcomes
from relayer.store import Store
from relayer.submit import Landed
from tests.engine.core.builders import views
from tests.relayer.engine import Engine
from tests.vectors.make_settlement import crc32c


def landing(node: Node, slot: int = 0) -> Landed:
    text = str(SolanaSignature(bytes([node.batch, node.chunk + 1]) * 32))
    return Landed(node, slot or 100 * node.batch + node.chunk + 1, text)


BATCHES = {1: [Node(1), Node(1, 0)], 2: [Node(2), Node(2, 0), Node(2, 1)], 3: [Node(3), Node(3, 0)]}
NODES = [node for nodes in BATCHES.values() for node in nodes]


def begin(path: Path) -> tuple[Store, Outcomes, dict[Node, State]]:
    """A start: the record is opened, and every batch of the journal planned again."""
    store = Store(path)
    outcomes, states = Outcomes(store), {}
    for batch, nodes in BATCHES.items():
        with store.transaction():
            intents = [store.plan(node, b"memo") for node in nodes]
        outcomes.expect(batch, intents)
        states.update({i.node: i.state for i in intents})
    return store, outcomes, states


def check(engine: Engine) -> None:
    """Every transaction told once, every batch settled once, behind all of its own and the batches before."""
    told = engine.told()
    assert len(told) == len(set(told)) == len(NODES) + len(BATCHES)
    settled = [t[0] for t in told if t[2] == OutcomeStage.SETTLED]
    assert settled == sorted(BATCHES)
    for batch, nodes in BATCHES.items():
        at = told.index((batch, -1, int(OutcomeStage.SETTLED)))
        stages = {
            (n.batch, n.chunk, int(OutcomeStage.COMMIT if n.chunk < 0 else OutcomeStage.CHUNK)) for n in nodes
        }
        assert stages <= set(told[:at])
    machine = Machine(capacity=len(told))
    applied = machine.apply(views(engine.frames), 0, len(told))
    assert not applied.results["refusal"].any()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("sent", [True, False])
def test_a_restart_at_every_point_tells_everything_once(tmp_path: Path, seed: int, sent: bool) -> None:
    """After each recorded transaction the process stops, with its frames sent or not, and starts anew."""
    chance, engine = random.Random(seed), Engine()
    order = list(NODES)
    chance.shuffle(order)

    async def play() -> None:
        at = 0
        while at < len(order):
            store, outcomes, states = begin(tmp_path / "store.sqlite")
            assert [n for n in NODES if states[n] is State.FINALIZED] == [n for n in NODES if n in order[:at]]
            await outcomes.resend(engine, engine.acked[Source.RELAYER])
            count = chance.randint(1, 3)
            frames = outcomes.record([landing(node) for node in order[at : at + count]])
            at += count
            assert store.outcomes_after(store.last_outcome() - len(frames)) == frames
            if sent:
                await engine.send(np.frombuffer(b"".join(frames), FRAME))
            store.close()
        store, outcomes, _ = begin(tmp_path / "store.sqlite")
        await outcomes.resend(engine, engine.acked[Source.RELAYER])
        assert not outcomes.due()
        assert (outcomes.settled, outcomes.finalized) == (3, len(NODES))
        store.close()

    asyncio.run(play())
    check(engine)


def test_a_batch_that_ended_before_the_one_before_it_is_settled_even_if_planned_late(tmp_path: Path) -> None:
    store, outcomes, _ = begin(tmp_path / "store.sqlite")
    outcomes.record([landing(node) for node in [*BATCHES[2], *BATCHES[3], Node(1)]])
    assert outcomes.settled == 0
    again = Outcomes(store)
    with store.transaction():
        again.expect(1, [store.plan(node, b"memo") for node in BATCHES[1]])
    frames = again.record([landing(Node(1, 0))])  # batches 2 and 3 are not planned again yet
    assert [int(np.frombuffer(x, OUTCOME)[0]["stage"]) for x in frames] == [2, 3]
    for batch, slot in ((2, 202), (3, 301)):
        assert not again.due()
        with store.transaction():
            again.expect(batch, [store.plan(node, b"memo") for node in BATCHES[batch]])
        assert again.due()
        [frame] = again.record([])
        row = np.frombuffer(frame, OUTCOME)[0]
        assert (row["batch"], row["stage"], row["slot"]) == (batch, OutcomeStage.SETTLED, slot)
        assert not again.due()


def test_a_frame_is_sealed_numbered_and_names_its_transaction(tmp_path: Path) -> None:
    _, outcomes, _ = begin(tmp_path / "store.sqlite")
    raw = outcomes.record([landing(Node(1, 0), 77), landing(Node(1), 76)])
    chunk, commit, settled = (np.frombuffer(x, OUTCOME)[0] for x in raw)
    assert [int(x["seq"]) for x in (chunk, commit, settled)] == [1, 2, 3]
    assert (chunk["batch"], chunk["chunk"], chunk["stage"], chunk["slot"]) == (1, 0, OutcomeStage.CHUNK, 77)
    assert (commit["chunk"], commit["stage"], commit["slot"]) == (-1, OutcomeStage.COMMIT, 76)
    assert (settled["batch"], settled["stage"], settled["slot"]) == (1, OutcomeStage.SETTLED, 77)
    assert raw[0][40:56] == bytes([1, 1]) * 8
    assert raw[2][40:56] == bytes(16)
    for frame in raw:
        assert int.from_bytes(frame[60:], "little") == crc32c(frame[:60])
        assert words_of(np.frombuffer(bytearray(frame), FRAME)).shape == (1, 8)


def test_what_cannot_be_recorded_is_not_told(tmp_path: Path) -> None:
    store, outcomes, _ = begin(tmp_path / "store.sqlite")
    other = Store(tmp_path / "store.sqlite")
    with other.transaction():
        other.add_outcomes([(1, b"somebody else's")])
    with pytest.raises(StoreError):
        outcomes.record([landing(Node(1))])
    assert store.counts() == {State.PLANNED: len(NODES)}


def test_an_engine_that_knows_more_than_the_record_is_refused(tmp_path: Path) -> None:
    _, outcomes, _ = begin(tmp_path / "store.sqlite")
    with pytest.raises(StoreError, match="restore the record"):
        asyncio.run(outcomes.resend(Engine(), 1))


def test_a_record_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    store, outcomes, _ = begin(tmp_path / "store.sqlite")
    outcomes.record([landing(node) for node in BATCHES[1]])
    with store.transaction():
        store.set_states([(Node(1, 0), State.SIGNED, 0)])
    store.close()
    with pytest.raises(StoreError, match="batch 1 was told as settled"):
        begin(tmp_path / "store.sqlite")
