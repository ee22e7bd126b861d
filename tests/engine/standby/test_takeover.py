"""Real processes: the engine is killed or hangs under load, the standby is the engine, nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path

import orjson
import pytest

from engine.app.cli import ROOT
from engine.app.supervisor import ProcessSpec, Supervisor, python_command
from engine.common.settings import Settings
from engine.gateway.client import EngineClient
from engine.journal.head import HeadPage
from engine.journal.segment import list_segments
from engine.journal.snapshot import list_snapshots, load_snapshot
from kernels.frames import FRAME_BYTES, Source
from tests.engine.gateway.running import SOURCES, run, settings_for, until
from tests.engine.journal.material import flow, folded, read_all

pytestmark = pytest.mark.end_to_end
FRAMES = flow(steps=120, fills=250)


async def group_of(settings: Settings, *names: str) -> Supervisor:
    """These processes of `godark`, ready; the name before a colon is what the supervisor calls one."""
    supervisor = Supervisor(log_dir=settings.data_dir / "logs")
    for name in names:
        called, _, command = name.partition(":")
        await supervisor.start(
            ProcessSpec(called, python_command(command or called), 60.0, settings.to_env())
        )
    return supervisor


def parts_of(step: int = 97) -> list:
    return [FRAMES[at : at + step] for at in range(0, len(FRAMES), step)]


def test_kills_under_load_with_resends(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, segment_bytes=1 << 18)
    standby = settings.standby.model_copy(update={"snapshot_bytes": 6_000 * FRAME_BYTES})
    settings = settings.model_copy(update={"standby": standby})
    parts = parts_of()
    kill_at = {len(parts) // 3, 2 * len(parts) // 3}
    in_flight: list[int] = []

    async def main() -> None:
        supervisor = await group_of(settings, "engine", "standby")
        supervisor.inherit("engine", "standby")
        client = EngineClient(settings.engine.socket, SOURCES, window_frames=4096)
        try:
            await client.connect()
            for k, part in enumerate(parts):
                await client.send(part)
                if k in kill_at:
                    heir = supervisor.pid("standby")
                    in_flight.append(client._unacked_frames)
                    os.kill(supervisor.pid("engine"), signal.SIGKILL)
                    await client.drain()
                    await until(lambda heir=heir: supervisor.pid("engine") == heir)  # type: ignore[misc]
                    count = len(in_flight)
                    await until(lambda count=count: supervisor.restarts("standby") == count, 60)  # type: ignore[misc]
            await client.drain()
            status = await client.status()
            await until(lambda: bool(list_snapshots(journal)), 60)
        finally:
            await client.close()
            await supervisor.stop()
        assert (status.ordinal, status.digest) == (len(FRAMES), folded(FRAMES).state.digest())

    journal = tmp_path / "journal"
    run(main)
    assert min(in_flight) > 0, "a kill with nothing in flight shows nothing"
    assert read_all(journal, 8192)[0].tobytes() == FRAMES.tobytes(), (
        "each frame once, in the order it was sent"
    )
    assert {s.epoch for s in list_segments(journal)} == {1, 2, 3}, (
        "a standby took over each time, no second engine"
    )
    for path in list_snapshots(journal):
        state = load_snapshot(path).state
        assert state.digest() == folded(FRAMES[: state.number("ordinal")]).state.digest()
    assert list_snapshots(journal)
    said = [x for path in (tmp_path / "logs").glob("*.log") for x in path.read_text().splitlines()]
    told = [(line["event"], line["process"]) for line in map(orjson.loads, said)]
    assert told.count(("taking_over", "standby")) == 2
    assert [who for event, who in told if event == "stopped"] == ["engine"], (
        "what took over is the engine now"
    )


def test_a_hung_engine_is_killed_one_of_two_standbys_replaces_it(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    standby = settings.standby.model_copy(update={"hung_after_ms": 700})
    settings = settings.model_copy(update={"standby": standby})
    parts = parts_of(500)

    async def main() -> None:
        watched = await group_of(settings, "one:standby", "two:standby")
        client = EngineClient(settings.engine.socket, SOURCES)
        head = HeadPage(tmp_path / "journal" / "head")
        try:
            await client.connect()
            await client.send(parts[0])
            await client.drain()
            await asyncio.sleep(1.0)
            assert head.get("pid") == engine.pid, "an idle engine is not a hung one"
            engine.send_signal(signal.SIGSTOP)
            await client.send(parts[1])
            await until(lambda: head.get("epoch") == 2)
            assert engine.wait(0) == -signal.SIGKILL, "it is gone before another acknowledges: it cannot wake"
            both = {watched.pid("one"), watched.pid("two")}
            assert head.get("pid") in both
            for part in parts[2:5]:
                await client.send(part)
            status = await client.status()
            other = (both - {head.get("pid")}).pop()
            os.kill(head.get("pid"), signal.SIGKILL)
            await client.send(parts[5])
            await until(lambda: head.get("epoch") == 3)
            assert head.get("pid") == other, "the one that had not won took over next"
            await client.drain()
            last = await client.status()
        finally:
            await client.close()
            await watched.stop()
        assert status.digest == folded(FRAMES[: 500 * 5]).state.digest()
        assert (last.ordinal, last.digest) == (3000, folded(FRAMES[:3000]).state.digest())
        assert client.acked[Source.MATCHING] > 0

    # Nobody starts a second engine here: between the standbys it must be decided.
    engine = subprocess.Popen(python_command("engine"), cwd=ROOT, env=os.environ | settings.to_env())
    try:
        _await_head(tmp_path / "journal" / "head")
        run(main)
    finally:
        engine.kill()
        engine.wait()
    assert read_all(tmp_path / "journal", 8192)[0].tobytes() == FRAMES[:3000].tobytes()


def _await_head(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() or HeadPage(path).get("durable") == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
