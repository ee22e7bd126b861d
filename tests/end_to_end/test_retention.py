"""A group with relayer and standby, segments of 64 KiB: what everybody is done with goes while it runs, and with
relayer and engine killed in the middle the same batches are settled as by a fold of everything. What the relayer's
record says of them goes too, so the chain is asked.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from pathlib import Path

import pytest

from engine.app.cli import execute
from engine.common.errors import JournalGone
from engine.core.apply import Machine
from engine.follower import Follower
from engine.gateway.client import EngineClient
from engine.journal.head import HeadPage
from engine.journal.retention import holds
from engine.journal.segment import list_segments
from engine.journal.snapshot import list_snapshots, position_of
from relayer.chain.rpc import RpcClient
from relayer.core.graph import Node
from relayer.core.lifecycle import State
from relayer.core.payload import Commit, decode
from relayer.store import Store
from relayer.verify.chain import ChainEvidence, read_chain
from tests.engine.gateway.running import SOURCES
from tests.engine.journal.material import append, flow, folded, open_writer
from tests.relayer.test_planner import plans_of

from .running import Command, Room

pytestmark = pytest.mark.end_to_end

FRAMES = flow(steps=40, fills=250)
SETTINGS = {
    "engine.clock": "driver",
    "engine.segment_bytes": 1 << 16,
    "standby.snapshot_bytes": 40_000,
    "devnet.slot_ms": 0,
    "relayer.rpc_poll_ms": 5,
}


def memo_of(payload: bytes) -> object:
    """A memo without ordinals: outcomes and candidates of a live group stand between the frames of ours."""
    value = decode(payload)
    return value._replace(first=0, last=0) if isinstance(value, Commit) else value


def expected(directory: Path) -> dict[Node, object]:
    """What is to be settled, folded from the first frame of a journal of its own."""
    writer = open_writer(directory)
    append(writer, FRAMES, itertools.repeat(500), Machine(capacity=1024))
    writer.close()
    plans = plans_of(directory, rows_per_chunk=6)
    return {node: memo_of(memo) for plan in plans for node, memo in plan.payloads.items()}


class Group:
    """A group under way."""

    def __init__(self, room: Room) -> None:
        sets = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
        self.command: Command = room.start("run", "--standby", "--data-dir", "data", *sets)
        self.data_dir = room.path / "data"
        self.journal = self.data_dir / "journal"
        self.command.until(lambda: "running" in (room.path / "out1").read_text())
        self.head = HeadPage(self.journal / "head")

    def settled(self) -> dict[Node, list[object]]:
        """Every memo that the chain holds as final, by what it settles."""
        words = (self.command.room.path / "out1").read_text().split()
        url, payer = (words[words.index(name) + 1] for name in ("rpc", "payer"))

        async def read() -> ChainEvidence:
            async with RpcClient(url) as rpc:
                return await read_chain(rpc, payer)

        found = asyncio.run(read()).transactions
        return {node: [memo_of(one.memo) for one in landed] for node, landed in found.items()}

    def first(self) -> int:
        """First position of the journal that is left."""
        return list_segments(self.journal)[0].first_position

    def kill(self, name: str) -> None:
        pid = self.head.get("pid") if name == "engine" else self.command.pid_of(name)
        assert pid
        os.kill(pid, signal.SIGKILL)

    def followed(self) -> bool:
        """Whether snapshots and the relayer's hold are near the journal's end."""
        newest = max(map(position_of, list_snapshots(self.journal)), default=0)
        end = self.head.get("durable")
        return newest >= end - 2000 and holds(self.journal)["relayer"] >= end - 3500

    async def feed(self) -> list[str]:
        """Send everything, no faster than it is followed; kill the relayer once a segment has gone, the engine some
        segments later. Returns whom it killed.
        """
        client, killed = EngineClient(self.data_dir / "engine.sock", SOURCES), []
        await client.connect()
        try:
            for at in range(0, len(FRAMES), 500):
                await client.send(FRAMES[at : at + 500])
                await client.drain()
                if not killed and self.first() > 0:
                    self.kill("relayer")
                    killed.append("relayer")
                elif len(killed) == 1 and at >= 6500:
                    self.kill("engine")
                    killed.append("engine")
                await asyncio.to_thread(self.command.until, self.followed)
        finally:
            await client.close()
        return killed


def test_segments_go_while_relayer_and_engine_are_killed(
    room: Room, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = expected(tmp_path / "whole")
    batches = max(node.batch for node in wanted)
    group = Group(room)
    assert asyncio.run(group.feed()) == ["relayer", "engine"]
    group.command.until(lambda: group.head.get("settled_batch") == batches)
    kept = [position_of(path) for path in list_snapshots(group.journal)]
    assert group.head.get("epoch") == 2, "the standby took over"
    assert 3 * 1024 < group.first() < kept[0], "most of the journal is gone, what a start needs is not"
    assert holds(group.journal)["relayer"] > group.first()
    for command in (["verify", "--rpc", "http://127.0.0.1:1", "--payer", "x"], ["prices"]):
        assert execute([*command, "--data-dir", str(group.data_dir)]) == JournalGone.exit_code
        assert "the journal begins at position" in capsys.readouterr().err
    assert group.settled() == {node: [memo] for node, memo in wanted.items()}
    group.command.process.send_signal(signal.SIGINT)
    assert group.command.wait(20).status == 0

    follower = Follower(group.journal, live=False, from_snapshot=True)
    while follower.poll() is not None:
        continue
    follower.close()
    books, plain = follower.machine.books, folded(FRAMES).books
    for name in ("accounts", "positions"):
        count = int(plain.meta[0][name])
        assert getattr(books, name)[:count].tobytes() == getattr(plain, name)[:count].tobytes()
    store = Store(group.data_dir / "relayer" / "store.sqlite")
    rows = store._db.execute("SELECT batch, chunk, payload FROM intent").fetchall()
    pruned = store.pruned()
    assert {Node(b, c): memo_of(memo) for b, c, memo in rows} == {
        node: memo for node, memo in wanted.items() if node.batch > pruned.batch
    }
    assert store.counts() == {State.FINALIZED: len(wanted)} and pruned.batch > 0
    point = store.resume_point()
    assert point is not None and point.batch > batches // 2
