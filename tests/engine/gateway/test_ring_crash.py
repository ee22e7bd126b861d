"""A real engine process behind the ring, killed in the middle: the producer finds the next one's ring and resends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from engine.app.supervisor import ProcessSpec, Supervisor, python_command
from engine.gateway.client import EngineClient
from kernels.frames import Source
from tests.engine.gateway.running import SOURCES, run, settings_for, until
from tests.engine.journal.material import flow, folded

pytestmark = pytest.mark.end_to_end


def test_a_kill_in_the_middle_loses_and_doubles_nothing(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, ring=tmp_path / "ring", ring_slots=512)
    frames = flow(steps=30, fills=200)
    parts = [frames[at : at + 97] for at in range(0, len(frames), 97)]

    async def main() -> None:
        supervisor = Supervisor(log_dir=tmp_path / "logs")
        await supervisor.start(ProcessSpec("engine", python_command("engine"), 60.0, settings.to_env()))
        client = EngineClient(f"ring:{settings.engine.ring}", SOURCES, window_frames=2048)
        try:
            await client.connect()
            for k, part in enumerate(parts):
                await client.send(part)
                if k == len(parts) // 2:
                    await until(lambda: client.acked[Source.MATCHING] > 0)
                    os.kill(supervisor.pid("engine"), signal.SIGKILL)
            await client.drain()
            status = await client.status()
            assert client.reconnects >= 1 and supervisor.restarts("engine") == 1
        finally:
            await client.close()
            await supervisor.stop()
        assert status.ordinal == len(frames)
        assert status.digest == folded(frames).state.digest()

    run(main)
