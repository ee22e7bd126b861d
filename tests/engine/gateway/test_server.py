"""The server over a real Unix socket, on a loop of this process."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import numpy as np
import pytest

from engine.gateway import server as server_module
from engine.gateway.client import EngineClient
from engine.gateway.session import sealed
from kernels import frames as f
from kernels.frames import FRAME, Fault, Refusal, Source, Template
from tests.engine.gateway.running import (
    SOURCES,
    Peer,
    hello,
    refused_fills,
    run,
    running,
    settings_for,
    until,
)
from tests.engine.journal.material import flow, folded, read_all

FRAMES = flow()


def test_frames_become_durable_booked_and_acked(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            client = EngineClient(r.settings.engine.socket, SOURCES)
            assert set((await client.connect()).values()) == {0}
            for start in range(0, len(FRAMES), 50):
                await client.send(FRAMES[start : start + 50])
            status = await client.status()
            assert status.digest == folded(FRAMES).state.digest() and status.ordinal == len(FRAMES)
            assert read_all(r.journal, 8192)[0].tobytes() == FRAMES.tobytes()
            assert r.engine.head.get("booked") == 600 and r.engine.head.get("refused") == 0
            await client.close()
            await until(lambda: r.engine.head.get("sessions") == 0)

    run(main)


def test_nothing_is_acked_before_its_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written, synced, acks = [0], [0], []
    pwrite, fdatasync, ack_frame = os.pwrite, os.fdatasync, server_module.ack_frame

    def seen_pwrite(fd: int, data: memoryview, offset: int) -> int:
        frames = np.frombuffer(data, FRAME)
        written[0] = max(written[0], int(frames["seq"][frames["source"] == Source.MATCHING].max(initial=0)))
        return pwrite(fd, data, offset)

    def seen_fdatasync(fd: int) -> None:
        fdatasync(fd)
        synced[0] = written[0]

    def seen_ack(source: int, durable: int, ordinal: int, epoch: int) -> bytes:
        if source == Source.MATCHING:
            acks.append((durable, synced[0]))
        return ack_frame(source, durable, ordinal, epoch)

    monkeypatch.setattr(os, "pwrite", seen_pwrite)
    monkeypatch.setattr(os, "fdatasync", seen_fdatasync)
    monkeypatch.setattr(server_module, "ack_frame", seen_ack)

    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            client = EngineClient(r.settings.engine.socket, SOURCES, window_frames=100)
            await client.connect()
            for start in range(0, len(FRAMES), 20):
                await client.send(FRAMES[start : start + 20])
            await client.drain()
            await client.close()

    run(main)
    assert len(acks) > 5 and acks[-1][0] == 608
    assert all(durable == at_sync for durable, at_sync in acks)


def test_outputs_are_numbered_and_resumed_where_the_client_stopped(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            seen: list[bytes] = []
            client = EngineClient(
                r.settings.engine.socket, SOURCES, on_output=lambda row: seen.append(row.tobytes())
            )
            await client.connect()
            await client.send(FRAMES)
            bad = f.new_frames(Template.FILL, 2, source=Source.MATCHING, first_seq=609)
            bad["market"], bad["maker"], bad["taker"] = [99, 0], 1, 2
            bad["price"], bad["size"] = 5, 1
            await client.send(np.frombuffer(sealed(bad), FRAME))
            await client.drain()
            await until(lambda: len(seen) == r.engine.outputs())
            await client.close()

            rows = np.frombuffer(b"".join(seen), FRAME)
            assert rows["seq"].tolist() == list(range(1, len(rows) + 1))
            kinds = rows["template"].tolist()
            assert kinds.count(Template.ACCOUNT_ASSIGNED) == 8
            assert kinds[-3:] == [Template.REFUSAL, Template.REFUSAL, Template.MARKET_STATE]
            reasons = rows[-3:-1].view(f.REFUSAL)
            assert reasons["reason"].tolist() == [Refusal.UNKNOWN_MARKET, Refusal.PRICE_OFF_SCALE]
            assert reasons["refused_seq"].tolist() == [609, 610]

            await until(lambda: not r.connections)
            for stopped in (0, 3, len(rows) - 1):
                peer = await Peer.connect(r.settings)
                peer.writer.write(hello(Source.MATCHING, acked=610, last_output=stopped))
                welcome = await peer.expect(Template.WELCOME)
                assert int(welcome["first_missing_output"]) == stopped + 1
                for k in range(stopped, len(rows)):
                    assert (await peer.next()).tobytes() == seen[k]
                peer.close()
                await until(lambda: not r.connections)

    run(main)


def test_who_keeps_up_misses_no_output_of_large_groups(tmp_path: Path) -> None:
    """An output a frame and more, in groups larger than the gateway sends at once."""

    async def main() -> None:
        async with running(settings_for(tmp_path, ring_frames=32_768, group_frames_max=32_768)) as r:
            seen: list[int] = []
            client = EngineClient(
                r.settings.engine.socket, SOURCES, on_output=lambda row: seen.append(int(row["seq"]))
            )
            await client.connect()
            await client.send(FRAMES)
            await client.send(np.frombuffer(refused_fills(609, 25_000), FRAME))
            await client.drain()
            await until(lambda: len(seen) == r.engine.outputs())
            assert seen == list(range(1, len(seen) + 1)) and len(seen) > 25_000
            await client.close()

    run(main)


def test_a_fault_closes_and_names_itself(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            peer = await Peer.connect(r.settings)
            peer.writer.write(hello(Source.MATCHING) + refused_fills(5, 1))
            await peer.expect(Template.WELCOME)
            row = await peer.expect(Template.FAULT)
            assert (int(row["code"]), int(row["expected_seq"])) == (Fault.GAP, 1)
            assert await peer.ended()
            await until(lambda: not r.connections)
            assert r.engine.ordinal() == 0 and r.engine.head.get("faults") == 1

    run(main)


def test_a_source_is_free_again_when_its_session_ends(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            first = await Peer.connect(r.settings)
            first.writer.write(hello(Source.MATCHING))
            await first.expect(Template.WELCOME)
            second = await Peer.connect(r.settings)
            second.writer.write(hello(Source.MATCHING))
            assert int((await second.expect(Template.FAULT))["code"]) == Fault.SOURCE_TAKEN
            assert await second.ended()
            first.close()
            await until(lambda: not r.connections)
            third = await Peer.connect(r.settings)
            third.writer.write(hello(Source.MATCHING))
            await third.expect(Template.WELCOME)
            third.close()

    run(main)


def test_what_arrives_together_is_one_group(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path, group_frames_max=100)) as r:
            peer = await Peer.connect(r.settings)
            groups = r.engine.head.get("groups")
            peer.writer.write(hello(Source.MATCHING, last_output=-1) + refused_fills(1, 250))
            while int((row := await peer.next())["template"]) != Template.ACK or row["durable_seq"] < 250:
                continue
            assert r.engine.head.get("groups") - groups == 3
            peer.close()

    run(main)


def test_an_engine_that_polls_stays_awake_after_a_group_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = [0]
    poll = server_module.Hub._poll

    def counted(hub: server_module.Hub) -> None:
        turns[0] += 1
        poll(hub)

    monkeypatch.setattr(server_module.Hub, "_poll", counted)

    async def main(polled_us: int) -> int:
        turns[0] = 0
        settings = settings_for(tmp_path / str(polled_us), busy_poll_us=polled_us)
        async with running(settings) as r:
            client = EngineClient(settings.engine.socket, SOURCES)
            await client.connect()
            await asyncio.sleep(0.05)
            assert turns[0] == 0  # nothing was journaled yet
            await client.send(FRAMES)
            assert (await client.status()).digest == folded(FRAMES).state.digest()
            await until(lambda: not r.server._hub._awake)
            while_awake = turns[0]
            await asyncio.sleep(0.05)
            assert turns[0] == while_awake
            await client.close()
        return while_awake

    async def both() -> None:
        assert await main(0) == 0
        assert await main(20_000) > 20

    run(both)
