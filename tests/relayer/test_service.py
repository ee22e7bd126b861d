"""The relayer whole: from a journal to a chain and back to the engine, with stops in between."""

from __future__ import annotations

import asyncio
import errno
import itertools
import threading
import time
from pathlib import Path

import pytest
from solders.keypair import Keypair

from engine.common.errors import JournalError, LogDamaged, ProcessFailed, StoreError, StoreFull
from engine.common.settings import Settings
from engine.core.apply import Machine
from engine.journal import reader
from engine.journal.head import HeadPage
from engine.journal.retention import holds
from engine.journal.writer import publish
from kernels.frames import OutcomeStage, Source
from relayer import published, resume, service
from relayer.core import note
from relayer.core.graph import Node
from relayer.core.lifecycle import State
from relayer.page import RelayerPage
from relayer.planner import Plan
from relayer.published import PublishedLog
from relayer.service import Relayer, serve
from relayer.signer.keyfile import KeyfileSigner
from relayer.store import Store
from tests.engine.journal.material import append, flow, open_writer
from tests.relayer.devnet.transactions import SIGNER
from tests.relayer.engine import Engine
from tests.relayer.journals import journal_with_snapshots, let_go
from tests.relayer.stage import Stage, on_stage
from tests.relayer.test_planner import plans_of

FRAMES = flow(steps=5, fills=12)
LOG_SIGNER = KeyfileSigner(Keypair.from_seed(bytes([9] * 32)))


class House:
    """A journal, an engine that takes outcomes, and a relayer that may be stopped and started."""

    def __init__(self, data_dir: Path, stage: Stage, *, ready: bool = False, **relayer: int) -> None:
        """ready: the journal is there."""
        self.stage, self.engine = stage, Engine()
        options = {"rpc_poll_ms": 0, "rows_per_chunk": 3, "inflight_max": 16, **relayer}
        self.settings = Settings(data_dir=data_dir, relayer=options)
        self.journal = data_dir / "journal"
        if not ready:
            writer = open_writer(self.journal)
            append(writer, FRAMES, itertools.repeat(40), Machine(capacity=1024))
            publish(HeadPage(self.journal / "head", create=True), writer, len(FRAMES))
            writer.close()
        self.plans: list[Plan] = plans_of(self.journal)
        self.store = Store(self.settings.data_dir / "relayer" / "store.sqlite")

    async def begin(self) -> Relayer:
        """Start, or start again: nothing but the files is left of an earlier run."""
        self.store.close()
        self.store = Store(self.settings.data_dir / "relayer" / "store.sqlite")
        self.relayer = Relayer(self.settings, self.stage.clients, SIGNER, LOG_SIGNER, self.store, self.engine)
        await self.relayer.start()
        return self.relayer

    async def finish(self, turns_max: int = 2000) -> None:
        """Turns until every batch is settled and told."""
        for _ in range(turns_max):
            await self.relayer.turn()
            if self.page("settled") == len(self.plans):
                return
        raise AssertionError(f"{self.page('settled')} of {len(self.plans)} batches settled")

    def page(self, field: str) -> int:
        """What a watcher sees."""
        return RelayerPage(self.settings.relayer.page).get(field)

    def check(self) -> None:
        """Chain, engine and record agree with the journal, and with one another."""
        slots = self.stage.slots()
        memos = {node: memo for plan in self.plans for node, memo in plan.payloads.items()}
        assert {memo: len(where) for memo, where in slots.items()} == dict.fromkeys(memos.values(), 1)
        for plan in self.plans:
            for node, parents in plan.edges.items():
                assert all(slots[memos[p]] < slots[memos[node]] for p in parents)
        told = self.engine.told()
        assert len(told) == len(set(told)) == len(memos) + len(self.plans)
        assert [t[0] for t in told if t[2] == OutcomeStage.SETTLED] == [p.commit.batch for p in self.plans]
        assert {Node(b, c) for b, c, stage in told if stage != OutcomeStage.SETTLED} == set(memos)
        assert self.store.counts() == {State.FINALIZED: len(memos)}
        assert self.page("outcomes_acked") == len(told) == self.engine.acked[Source.RELAYER]
        assert (self.page("tx_finalized"), self.page("tx_failed")) == (len(memos), 0)
        assert self.page("log_size") == self.plans[-1].commit.log_size
        assert holds(self.journal)["relayer"] <= self.plans[-1].resume.cursor.position


def test_from_journal_to_finality_and_back(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        house = House(tmp_path, stage)
        relayer, counts = await house.begin(), []
        while house.page("settled") < len(house.plans):
            await relayer.turn()
            counts.append([house.page(f"tx_{what}") for what in ("finalized", "confirmed", "sent")])
        assert all(row == sorted(row) for row in counts)
        assert any(finalized < confirmed for finalized, confirmed, _ in counts)
        house.check()
        assert house.page("tx_sent") == house.page("planned") == house.store.total_signatures()
        assert house.page("ordinal") == len(FRAMES)

    on_stage(tmp_path, play)


@pytest.mark.parametrize("turns", [1, 2, 5, 13])
def test_a_relayer_stopped_again_and_again(tmp_path: Path, turns: int) -> None:
    """With faults; each start has nothing but journal, record and chain."""

    async def play(stage: Stage) -> None:
        house = House(tmp_path, stage)
        for k in range(12):
            await house.begin()
            stage.faults[0].set("lose_answer", 2, 2)
            stage.faults[0].set("null_statuses", k % 3)
            for _ in range(turns):
                await house.relayer.turn()
        await house.begin()
        await house.finish()
        house.check()

    on_stage(tmp_path, play)


@pytest.mark.parametrize("turns", [3, 40])
def test_restarted_again_and_again_while_segments_go(
    tmp_path: Path, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each start has the record, the newest snapshots and what is left of the journal; root and outcomes as ever."""
    monkeypatch.setattr(resume, "PAUSE_NS", 0)
    monkeypatch.setattr(reader, "AT_ONCE", 40)  # as beside an engine: a journal of this size is else one read
    journal_with_snapshots(tmp_path / "journal", flow(steps=16, fills=30), every=2)

    async def play(stage: Stage) -> None:
        house = House(tmp_path, stage, ready=True)
        firsts, begun = [], []
        while not firsts or house.page("settled") < len(house.plans):
            stage.faults[0].set("lose_answer", 2, 2)
            await house.begin()
            begun.append(house.relayer._planner.batcher.number)
            for _ in range(turns):
                await house.relayer.turn()
            firsts.append(let_go(house.journal))
            assert len(firsts) < 200
        await house.begin()
        await house.relayer.turn()
        house.check()
        assert firsts == sorted(firsts) and firsts[-1] > 0, "segments were let go of"
        assert begun == sorted(begun) and begun[-1] > 0, "and batches that are final were not planned again"
        assert house.page("planned") == house.page("tx_finalized")
        pruned = house.store.pruned()
        assert len(house.plans) > pruned.batch > 0 and pruned.outcome > 0, (
            "the record let go of what is final"
        )

    on_stage(tmp_path, play)


def test_what_the_engine_lost_is_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine was killed with outcomes that it had not made durable: it acks less than it was sent."""
    monkeypatch.setattr(resume, "PAUSE_NS", 10**15)  # this engine acks what it then loses; ours never does

    async def play(stage: Stage) -> None:
        house = House(tmp_path, stage)
        await house.begin()
        await house.finish()
        before = list(house.engine.frames)
        del house.engine.frames[3:]
        house.engine.acked[Source.RELAYER] = 3
        await house.begin()
        await house.relayer.turn()
        assert house.engine.frames == before
        house.check()

    on_stage(tmp_path, play)


def test_following_pauses_while_too_much_waits(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        house = House(tmp_path, stage, inflight_max=1)
        await house.begin()
        widest = max(len(plan.payloads) for plan in house.plans)
        for _ in range(60):
            await house.relayer.turn()
            assert len(house.relayer._graph) < 4 + widest
            assert len(house.relayer._submitter.flights) <= 1
        house.settings = Settings(data_dir=tmp_path, relayer={"rpc_poll_ms": 0, "rows_per_chunk": 3})
        await house.begin()
        await house.finish()
        house.check()

    on_stage(tmp_path, play)


def test_an_unavailable_chain_costs_time_and_nothing_else(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        house = House(tmp_path, stage)
        await house.begin()
        stage.faults[0].set("http_429", 3)
        for _ in range(4):
            await house.relayer.turn()
        assert house.page("rpc_errors") == 3
        await house.finish()
        house.check()

    on_stage(tmp_path, play)


def test_a_transaction_that_failed_stops_settling_until_somebody_looks(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        house = House(tmp_path, stage)
        await house.begin()
        await house.relayer.turn()
        stage.chain.bank.history[-1].err = {"InstructionError": [2, "Custom"]}
        with pytest.raises(ProcessFailed, match="settling stops"):
            await house.finish()
        await house.begin()
        with pytest.raises(ProcessFailed, match="operator"):
            await house.relayer.turn()
        assert not [t for t in house.engine.told() if t[2] == OutcomeStage.SETTLED]

    on_stage(tmp_path, play)


def test_a_journal_that_is_not_the_recorded_one_is_refused(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        house = House(tmp_path, stage)
        node = Node(2, 0)
        with house.store.transaction():
            house.store.plan(node, house.plans[1].payloads[node] + b"x")
        await house.begin()
        with pytest.raises(StoreError, match="batch 2, chunk 0"):
            await house.finish()
        assert house.store.counts().keys() <= {State.PLANNED}

    on_stage(tmp_path, play)


def test_a_commit_is_sent_when_its_checkpoint_is_recorded_and_shown(tmp_path: Path) -> None:
    """At every send: the record has the batch, and the folder shows a checkpoint of its size or a later one."""

    async def play(stage: Stage) -> None:
        house = House(tmp_path, stage)
        key = note.verifier_key("godark.local/log/0", LOG_SIGNER)
        shown = PublishedLog(tmp_path / "relayer" / "log" / "0")
        await house.begin()
        submit, batches = house.relayer._submitter.submit, set()

        async def checked(ready: dict[Node, bytes]) -> None:
            recorded = {row.batch: row for row in house.store.checkpoints()}
            newest = note.read_checkpoint(shown.note(), key)
            for node in ready:
                commit = house.plans[node.batch - 1].commit
                assert recorded[node.batch][2:4] == (commit.log_size, commit.root)
                assert newest.size >= commit.log_size
                batches.add(node.batch)
            await submit(ready)

        house.relayer._submitter.submit = checked  # type: ignore[method-assign]
        await house.finish()
        house.check()
        assert batches == {plan.commit.batch for plan in house.plans}
        tiles = shown.at(note.read_checkpoint(shown.note(), key))
        assert tiles.root() == house.plans[-1].commit.root
        assert [tiles.entry(k) for k in range(tiles.size)] == [
            row.tobytes() for plan in house.plans for row in plan.growth.entries[-plan.commit.fills :]
        ]

    on_stage(tmp_path, play)


@pytest.mark.parametrize("call", range(1, 12, 2))
def test_a_disk_that_is_full_for_a_while_costs_time_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """The published log finds no room at one of its writes; the process begins again when there is some."""

    async def play(stage: Stage) -> None:
        house = House(tmp_path, stage)
        left, create = [call], published.create

        def full(path: Path, data: bytes) -> int:
            left[0] -= 1
            if not left[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            return create(path, data)

        monkeypatch.setattr(published, "create", full)
        await house.begin()
        with pytest.raises(StoreFull, match="the published log cannot be written: No space left"):
            await house.finish()
        await house.begin()
        await house.finish()
        house.check()

    on_stage(tmp_path, play)


def test_a_log_that_is_not_what_was_signed_sends_nothing(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        house = House(tmp_path, stage)
        await house.begin()
        await house.finish()
        tile = next((tmp_path / "relayer" / "log" / "0" / "tile" / "0").rglob(str(house.page("log_size"))))
        tile.write_bytes(tile.read_bytes()[:-1] + b"\0")
        with pytest.raises(LogDamaged, match="tile/0/000"):
            await house.begin()

    on_stage(tmp_path, play)


def test_who_is_cancelled_waits_for_what_is_being_written() -> None:
    async def play() -> list[str]:
        done: list[str] = []
        begun = threading.Event()

        def slow(word: str) -> None:
            begun.set()
            time.sleep(0.05)
            done.append(word)

        task = asyncio.create_task(service._in_thread(slow, "written"))
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return done

    assert asyncio.run(play()) == ["written"]


def test_serving_until_told_to_stop(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        house = House(tmp_path, stage)
        keyfile = tmp_path / "key.json"
        payer = KeyfileSigner.create(keyfile)
        stage.chain.airdrop(payer.public_key, 10**10)
        url = f"http://{stage.clients[0].host}"
        options = {"rpc_urls": [url], "keyfile": keyfile, "rpc_poll_ms": 0, "rows_per_chunk": 3}
        house.settings = Settings(data_dir=tmp_path, relayer=options)
        stop = asyncio.Event()
        task = asyncio.create_task(serve(house.settings, house.engine, stop))
        async with asyncio.timeout(20):
            while len(house.engine.told()) < sum(len(p.payloads) + 1 for p in house.plans):
                await asyncio.sleep(0.01)
            stop.set()
            await task
        house.check()

    on_stage(tmp_path, play)


def test_no_endpoint_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyfile = tmp_path / "key.json"
    KeyfileSigner.create(keyfile)
    options = {"rpc_urls": [], "keyfile": keyfile}
    with pytest.raises(ProcessFailed, match="rpc_urls"):
        asyncio.run(serve(Settings(data_dir=tmp_path, relayer=options), Engine(), asyncio.Event()))
    options["rpc_urls"] = ["http://127.0.0.1:1"]
    monkeypatch.setattr(service, "_ENGINE_PATIENCE_S", 0.1)
    with pytest.raises(JournalError, match="start one"):
        asyncio.run(serve(Settings(data_dir=tmp_path, relayer=options), Engine(), asyncio.Event()))
