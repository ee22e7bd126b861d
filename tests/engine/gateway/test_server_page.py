"""What a server does by itself and tells through its page: ticks, heartbeats, counts, few lines in the log."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np

from engine.gateway.client import EngineClient
from engine.gateway.process import open_engine
from engine.gateway.session import sealed
from engine.journal.head import ACK_US, SYNC_US
from kernels import frames as f
from kernels.frames import FRAME, TICK, Source, Template, TickKind
from tests.engine.gateway.running import (
    SOURCES,
    Peer,
    run,
    running,
    settings_for,
    until,
)
from tests.engine.journal.material import SECOND_NS, START_NS, flow, read_all

FRAMES = flow()


def test_the_clock_opens_then_ticks_whole_seconds_and_waits_when_set_back(tmp_path: Path) -> None:
    engine = open_engine(settings_for(tmp_path))
    kinds = []
    for wall_ns in (
        START_NS + 5,
        START_NS + SECOND_NS // 20,
        START_NS + SECOND_NS,
        START_NS - 9,
        START_NS + 4 * SECOND_NS,
    ):
        tick = engine.tick_frame(wall_ns)
        if tick is None:
            kinds.append(None)
            continue
        engine.commit_own(tick)
        row = tick.view(TICK)[0]
        assert int(row["now_ns"]) % SECOND_NS == 0 and int(row["now_ns"]) <= wall_ns
        kinds.append((TickKind(int(row["kind"])), int(row["interval_ns"]) // SECOND_NS))
    assert kinds == [(TickKind.OPEN, 0), None, (TickKind.SECOND, 1), None, (TickKind.SECOND, 3)]
    assert engine.now_ns() == START_NS + 4 * SECOND_NS and engine.head.get("refused") == 0
    engine.close()


def test_a_live_engine_ticks_by_itself(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path, clock="live")) as r:
            await until(lambda: r.engine.durable_seq(Source.CLOCK) >= 12, 4)
            ticks = read_all(r.journal, 8192)[0].view(TICK)
            kinds = ticks["kind"].tolist()
            assert kinds[0] == TickKind.OPEN and set(kinds[1:]) == {TickKind.SECOND, TickKind.RISK}
            assert (np.diff(ticks["now_ns"]) == ticks["interval_ns"][1:]).all()
            assert (ticks["prev_ns"][1:] == ticks["now_ns"][:-1]).all()
            assert r.engine.head.get("refused") == 0

    run(main)


def test_an_idle_engine_beats(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            beats = set()
            for _ in range(40):
                beats.add(r.engine.head.get("heartbeat_ns"))
                await asyncio.sleep(0.01)
            assert len(beats) >= 4

    run(main)


def test_a_hostile_peer_gets_ten_lines_a_second_and_the_rest_is_counted(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            for _ in range(30):
                peer = await Peer.connect(r.settings)
                peer.writer.write(b"\xff" * 64)
                assert await peer.ended()
            head = r.engine.head
            assert head.get("faults") == 30 and head.get("logged") + head.get("unlogged") == 30
            assert 10 <= head.get("logged") <= 30 and head.get("unlogged") > 0

    run(main)


def test_the_head_page_counts_groups_frames_and_times(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            client = EngineClient(r.settings.engine.socket, SOURCES)
            await client.connect()
            await client.send(FRAMES)
            await client.drain()
            head = r.engine.head
            groups = head.get("groups")
            assert head.get("frames") == len(FRAMES) and 1 <= groups <= len(FRAMES)
            assert head.get("bytes") == 64 * (len(FRAMES) + groups)
            assert sum(head.histogram(SYNC_US)) == groups == sum(head.histogram(ACK_US))
            assert head.get("grown") == 0
            await client.close()

    run(main)


def test_books_that_outgrow_their_room_are_told_of(tmp_path: Path) -> None:
    engine = open_engine(settings_for(tmp_path, reserve_accounts=0))
    room = len(engine.machine.books.accounts)
    count = room // len(engine.group) + 1
    frames = f.new_frames(Template.ACCOUNT, count * len(engine.group), source=Source.MATCHING)
    frames["key0"] = np.arange(len(frames)) + 1
    for start in range(0, len(frames), len(engine.group)):
        part = np.frombuffer(sealed(frames[start : start + len(engine.group)]), FRAME)
        engine.group[: len(part)] = part
        engine.commit(len(part))
    assert engine.head.get("grown") >= 1 and len(engine.machine.books.accounts) > room
    engine.close()
