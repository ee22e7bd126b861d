"""The server over a real Unix socket, on a loop of this process."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.common.errors import JournalFull, JournalLocked, SettingsError
from engine.common.settings import Settings
from engine.follower import Follower
from engine.gateway import server as server_module
from engine.gateway.client import EngineClient
from engine.gateway.process import open_engine
from engine.gateway.session import sealed
from engine.journal import writer as writer_module
from engine.journal.head import ACK_US, SYNC_US
from kernels import frames as f
from kernels.frames import FRAME, TICK, Fault, Refusal, Source, Template, TickKind
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
from tests.engine.journal.material import SECOND_NS, START_NS, flow, folded, read_all

ROOT = Path(__file__).resolve().parents[3]
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


def test_a_full_disk_refuses_by_name_and_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, full = writer_module.write_zeros, [False]

    def maybe_full(path: Path, size: int) -> None:
        if full[0]:
            raise JournalFull(f"{path}: no room")
        real(path, size)

    monkeypatch.setattr(writer_module, "write_zeros", maybe_full)
    settings = settings_for(tmp_path, segment_bytes=1 << 16, group_frames_max=256)

    async def main() -> None:
        async with running(settings) as r:
            client = EngineClient(settings.engine.socket, SOURCES)
            await client.connect()
            await client.send(FRAMES)
            await client.drain()
            await client.close()
            await until(lambda: not r.connections)
            follower = Follower(r.journal)
            while follower.poll() is not None:
                continue

            full[0] = True
            peer = await Peer.connect(settings)
            peer.writer.write(hello(Source.MATCHING, acked=608, last_output=-1) + refused_fills(609, 500))
            await peer.expect(Template.WELCOME)
            while int((row := await peer.next())["template"]) != Template.FAULT:
                continue
            assert int(row["code"]) == Fault.JOURNAL_FULL and await peer.ended()
            held = r.engine.durable_seq(Source.MATCHING)
            assert 608 <= held < 1108 and int(r.engine.gate.last_seq[Source.MATCHING]) == held
            while follower.poll() is not None:
                continue
            assert follower.machine.state.digest() == r.engine.digest(), "readers were to go on"

            client = EngineClient(settings.engine.socket, [Source.MATCHING])
            assert (await client.connect())[Source.MATCHING] == held
            waiting = asyncio.ensure_future(
                client.send(np.frombuffer(refused_fills(held + 1, 1108 - held), FRAME))
            )
            await waiting
            await until(lambda: r.engine._owners == {} or not r.connections)
            assert r.engine.durable_seq(Source.MATCHING) < 1108
            full[0] = False
            await client.drain()
            assert r.engine.durable_seq(Source.MATCHING) == 1108 and client.reconnects > 0
            await client.close()
            journaled = read_all(r.journal, 8192)[0]
            assert journaled["seq"][journaled["source"] == Source.MATCHING].tolist() == list(range(1, 1109))

    run(main)


_FAILING = """
import os, sys
from engine.common.settings import load
from engine.gateway import process, server
left = [int(sys.argv[1])]
real = os.fdatasync
def fdatasync(fd):
    if not left[0]:
        raise OSError(5, "Input/output error")
    left[0] -= 1
    real(fd)
compile_all = process.compile_all
def compiled():
    compile_all()
    os.fdatasync = fdatasync
process.compile_all = compiled
process.run(load())
"""


def test_a_failed_sync_ends_the_process_without_an_ack(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, segment_bytes=1 << 16)
    # The new segment's zeros are synced in a slice, its header once, the first group once; then it fails.
    command = [sys.executable, "-c", _FAILING, "3"]
    child = subprocess.Popen(command, cwd=ROOT, env=os.environ | settings.to_env())

    async def main() -> None:
        peer = await _when_served(settings, child)
        peer.writer.write(hello(Source.MATCHING, last_output=-1) + refused_fills(1, 3))
        await peer.expect(Template.WELCOME)
        assert int((await peer.expect(Template.ACK))["durable_seq"]) == 3
        peer.writer.write(refused_fills(4, 3))
        assert await peer.reader.read() == b""

    try:
        run(main)
        assert child.wait(10) == 70
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


_BROKEN = """
from engine.common.settings import load
from engine.gateway import engine, process
def commit(self, count):
    raise RuntimeError("a mistake of ours")
engine.Engine.commit = commit
process.run(load())
"""


def test_a_mistake_in_a_turn_ends_the_process(tmp_path: Path) -> None:
    """What the gate has admitted would be lost in silence if the loop went on."""
    settings = settings_for(tmp_path, segment_bytes=1 << 16)
    child = subprocess.Popen(
        [sys.executable, "-c", _BROKEN], cwd=ROOT, env=os.environ | settings.to_env(), stderr=subprocess.PIPE
    )

    async def main() -> None:
        peer = await _when_served(settings, child)
        peer.writer.write(hello(Source.MATCHING) + refused_fills(1, 3))
        await peer.expect(Template.WELCOME)
        assert await peer.reader.read() == b""

    try:
        run(main)
        _, said = child.communicate(timeout=10)
        assert child.returncode == 1 and b"a mistake of ours" in said
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


async def _when_served(settings: Settings, child: subprocess.Popen[bytes]) -> Peer:
    for _ in range(1000):
        try:
            return await Peer.connect(settings)
        except OSError:
            assert child.poll() is None
            await asyncio.sleep(0.02)
    raise TimeoutError("the engine does not serve")


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


def test_the_socket_is_private_and_goes_with_the_server(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)

    async def main() -> None:
        async with running(settings):
            assert settings.engine.socket.stat().st_mode & 0o777 == 0o600
            with pytest.raises(JournalLocked):
                open_engine(settings)
        assert not settings.engine.socket.exists()
        async with running(settings) as again:
            assert again.engine.epoch == 2

    run(main)


def test_tcp_serves_the_same(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    async def main() -> None:
        async with running(settings_for(tmp_path, tcp=f"127.0.0.1:{port}")):
            peer = Peer(*await asyncio.open_connection("127.0.0.1", port))
            peer.writer.write(hello(Source.API))
            await peer.expect(Template.WELCOME)
            peer.close()

    run(main)


def test_a_tcp_port_in_use_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        async def main() -> None:
            with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{port}"):
                async with running(settings_for(tmp_path, tcp=f"127.0.0.1:{port}")):
                    raise AssertionError("the port was free")

        run(main)


def test_what_lies_at_the_sockets_path_is_removed_only_if_it_is_a_dead_socket(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    path = settings.engine.socket

    async def refused(why: str) -> None:
        with pytest.raises(SettingsError, match=why):
            async with running(settings):
                raise AssertionError("the path was free")

    async def main() -> None:
        path.write_text("kept")
        await refused("no socket")
        assert path.read_text() == "kept"
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen(1)
            await refused("another process listens")
        async with running(settings):
            peer = await Peer.connect(settings)
            peer.close()

    run(main)


def test_a_socket_in_no_directory_is_told_in_one_line(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(SettingsError, match=r"engine\.socket: cannot listen on .*No such file"):
            async with running(settings_for(tmp_path, socket=tmp_path / "missing" / "engine.sock")):
                raise AssertionError("there is no such directory")

    run(main)


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
