"""What a peer can do to the server by being slow, silent, many or loud: nothing that others notice."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from engine.gateway import server as server_module
from engine.gateway.client import EngineClient
from kernels.frames import FRAME_BYTES, Source, Template
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
from tests.engine.journal.material import flow

FRAMES = flow()


def test_a_peer_that_does_not_read_is_bounded_and_holds_up_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with running(settings_for(tmp_path)) as r:
            slow = socket.socket(socket.AF_UNIX)
            slow.setblocking(False)
            await loop.sock_connect(slow, str(r.settings.engine.socket))
            count = 80_000
            sending = asyncio.ensure_future(
                loop.sock_sendall(slow, hello(Source.MATCHING) + refused_fills(1, count))
            )
            await until(lambda: any(not c.writable for c in r.connections))
            await asyncio.sleep(0.1)
            assert not sending.done(), "the engine took what it could not answer"
            (held,) = r.connections
            assert held.transport is not None
            limit = server_module.WRITE_HIGH_WATER + (server_module.OUTPUTS_AT_ONCE + 64) * FRAME_BYTES
            assert held.transport.get_write_buffer_size() <= limit  # type: ignore[attr-defined]
            stopped = r.engine.durable_seq(Source.MATCHING)

            other = EngineClient(r.settings.engine.socket, [Source.ADMIN])
            await other.connect()
            await other.send(FRAMES[FRAMES["source"] == Source.ADMIN])
            await asyncio.wait_for(other.drain(), 5)
            await other.close()
            assert r.engine.durable_seq(Source.MATCHING) == stopped < count

            async def read() -> None:
                while r.engine.durable_seq(Source.MATCHING) < count:
                    await loop.sock_recv(slow, 1 << 20)

            await asyncio.wait_for(read(), 20)
            await sending
            slow.close()

    run(main)


def test_silent_and_halting_peers_do_no_harm(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            silent = [await Peer.connect(r.settings) for _ in range(20)]
            half = await Peer.connect(r.settings)
            half.writer.write(hello(Source.RISK)[:40])
            client = EngineClient(r.settings.engine.socket, SOURCES)
            await client.connect()
            await client.send(FRAMES)
            await asyncio.wait_for(client.drain(), 10)
            assert r.engine.head.get("sessions") == 22
            half.writer.write(hello(Source.RISK)[40:])
            await half.expect(Template.WELCOME)
            await client.close()
            for peer in [*silent, half]:
                peer.close()

    run(main)


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_flood_does_not_grow_the_engine(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            peer = await Peer.connect(r.settings)
            flood = refused_fills(1, 8192)
            peer.writer.write(hello(Source.MATCHING, last_output=-1) + flood)
            await peer.expect(Template.WELCOME)
            await peer.expect(Template.ACK)
            before = _rss_bytes()
            for _ in range(100):  # 50 MiB of equal duplicates
                peer.writer.write(flood)
                await peer.writer.drain()
            junk = [await Peer.connect(r.settings) for _ in range(20)]
            for other in junk:
                other.writer.write(b"\xff" * (1 << 20))
            await until(lambda: len(r.connections) == 1)
            await until(lambda: r.engine.gate.counts[1] >= 100 * 8192)
            assert r.engine.durable_seq(Source.MATCHING) == 8192
            assert _rss_bytes() - before < 50 << 20
            for other in [peer, *junk]:
                other.close()

    run(main)


def test_a_peer_may_have_as_many_frames_waiting_as_the_settings_say(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path, ring_frames=96, group_frames_max=96)) as live:
            peer = await Peer.connect(live.settings)
            await until(lambda: len(live.connections) == 1)
            (held,) = live.connections
            assert len(held.session.room()) == 96 * FRAME_BYTES
            peer.writer.write(hello(Source.MATCHING, last_output=-1) + refused_fills(1, 1000))
            await peer.expect(Template.WELCOME)
            await until(lambda: live.engine.durable_seq(Source.MATCHING) == 1000)

    run(main)


def test_one_peer_too_many_takes_the_place_of_the_longest_mute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "CONNECTIONS_MAX", 2)

    async def main() -> None:
        async with running(settings_for(tmp_path)) as live:
            first, second, third = [await Peer.connect(live.settings) for _ in range(3)]
            assert await first.ended()
            for source, peer in ((Source.MATCHING, second), (Source.FEEDS, third)):
                peer.writer.write(hello(source))
                await peer.expect(Template.WELCOME)
            fourth = await Peer.connect(live.settings)
            assert await fourth.ended(), "those that have said hello are not driven out"
            assert len(live.connections) == 2 == live.engine.head.get("sessions")

    run(main)


def test_a_tcp_peer_that_vanishes_is_noticed_by_the_system(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"

    async def main() -> None:
        async with running(settings_for(tmp_path, tcp=address)) as live:
            host, _, port = address.rpartition(":")
            _, writer = await asyncio.open_connection(host, int(port))
            await until(lambda: len(live.connections) == 1)
            (held,) = live.connections
            assert held.transport is not None
            side = held.transport.get_extra_info("socket")
            assert side.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            limit_ms = server_module.DEAD_AFTER_S * 1000
            assert side.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == limit_ms
            writer.close()

    run(main)
