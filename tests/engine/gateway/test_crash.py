"""A real engine process, killed in the middle: nothing acked is lost, nothing is booked twice."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import orjson
import pytest

from engine.app.supervisor import ProcessSpec, Supervisor, python_command
from engine.common.settings import Settings
from engine.follower import Follower
from engine.gateway.client import EngineClient
from engine.journal.head import HeadPage
from engine.journal.segment import list_segments
from kernels.frames import Source
from tests.engine.gateway.running import SOURCES, run, settings_for, until
from tests.engine.journal.material import flow, folded, read_all
from tests.patience import within

pytestmark = pytest.mark.end_to_end
ROOT = Path(__file__).resolve().parents[3]
KILLS = 6


def test_kills_in_the_middle_lose_and_double_nothing(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, segment_bytes=1 << 18)
    journal = tmp_path / "journal"
    frames = flow(steps=120, fills=250)
    parts = [frames[at : at + 97] for at in range(0, len(frames), 97)]
    kill_at = {len(parts) * (k + 1) // (KILLS + 1) for k in range(KILLS)}
    acked_then: list[int] = []
    in_flight: list[int] = []

    async def main() -> None:
        supervisor = Supervisor(log_dir=tmp_path / "logs")
        spec = ProcessSpec("engine", python_command("engine"), 60.0, settings.to_env())
        await supervisor.start(spec)
        client = EngineClient(settings.engine.socket, SOURCES, window_frames=4096)
        try:
            await client.connect()
            for k, part in enumerate(parts):
                await client.send(part)
                if k in kill_at:
                    await until(lambda k=k: client.acked[Source.MATCHING] > 0)  # type: ignore[misc]
                    acked_then.append(client.acked[Source.MATCHING])
                    in_flight.append(client._unacked_frames)
                    os.kill(supervisor.pid("engine"), signal.SIGKILL)
            await client.drain()
            status = await client.status()
            assert supervisor.restarts("engine") == KILLS and client.reconnects >= KILLS
        finally:
            await client.close()
            await supervisor.stop()
        machine = folded(frames)
        assert status.ordinal == len(frames)
        assert status.digest == machine.state.digest()

    run(main)
    assert acked_then == sorted(acked_then) and len(acked_then) == KILLS
    assert min(in_flight) > 0, "a kill with nothing in flight shows nothing"
    journaled, _ = read_all(journal, 8192)
    assert journaled.tobytes() == frames.tobytes(), "each frame once, in the order it was sent"
    assert {s.epoch for s in list_segments(journal)} == set(range(1, KILLS + 2))
    follower = Follower(journal, live=False, capacity=8192)
    while follower.poll() is not None:
        continue
    assert follower.machine.state.digest() == folded(frames).state.digest()
    follower.close()


@contextmanager
def _engine(settings: Settings) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, object]]]:
    """An engine process that is ready, and what it said."""
    read_fd, write_fd = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-m", "engine.app", "engine"],
        cwd=ROOT,
        env=os.environ | settings.to_env() | {"GODARK_READY_FD": str(write_fd)},
        pass_fds=(write_fd,),
    )
    os.close(write_fd)
    try:
        with os.fdopen(read_fd, "rb") as pipe:
            yield child, orjson.loads(pipe.readline())
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_within_two_seconds_and_a_start_goes_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    settings = settings_for(tmp_path)
    frames = flow(steps=20)
    half = len(frames) // 2

    async def send(part: np.ndarray, expected: int) -> None:
        client = EngineClient(settings.engine.socket, SOURCES)
        last = await client.connect()
        assert last[Source.MATCHING] == expected
        await client.send(part)
        status = await client.status()
        assert status.digest == folded(frames[: status.ordinal]).state.digest()
        await client.close()

    done = int(frames["seq"][:half][frames["source"][:half] == Source.MATCHING].max())
    for epoch, (part, expected) in enumerate([(frames[:half], 0), (frames[half:], done)], 1):
        with _engine(settings) as (child, ready):
            assert ready["epoch"] == epoch
            run(lambda part=part, expected=expected: send(part, expected))  # type: ignore[misc]
            with within(2):
                child.send_signal(number)
                assert child.wait(20) == 0
        assert not settings.engine.socket.exists()
    assert read_all(tmp_path / "journal", 8192)[0].tobytes() == frames.tobytes()
    assert HeadPage(tmp_path / "journal" / "head").get("epoch") == 2


def test_the_second_engine_is_refused_and_the_first_serves_on(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    with _engine(settings):
        second = subprocess.run(
            [sys.executable, "-m", "engine.app", "engine"],
            cwd=ROOT,
            env=os.environ | settings.to_env(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert second.returncode == 3 and b"another engine holds this journal" in second.stderr

        async def main() -> None:
            client = EngineClient(settings.engine.socket, SOURCES)
            await client.connect()
            await client.send(flow(steps=1))
            await asyncio.wait_for(client.drain(), 10)
            await client.close()

        run(main)
