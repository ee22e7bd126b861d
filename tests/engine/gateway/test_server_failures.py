"""A full disk is waited out; a failed sync, or a mistake in a turn, ends the process before an ack."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.common.errors import JournalFull
from engine.common.settings import Settings
from engine.follower import Follower
from engine.gateway.client import EngineClient
from engine.journal import writer as writer_module
from kernels.frames import FRAME, Fault, Source, Template
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
from tests.engine.journal.material import flow, read_all

ROOT = Path(__file__).resolve().parents[3]
FRAMES = flow()


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
