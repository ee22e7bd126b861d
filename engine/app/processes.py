"""Entry points that need more than one room: here the walls are crossed, and nowhere else."""

from __future__ import annotations

import asyncio
import signal

import uvloop

from engine.common.settings import Settings
from engine.gateway.client import EngineClient
from kernels.frames import Source
from relayer import service


def run_relayer(settings: Settings) -> None:
    """The relayer process, with a client of the engine's gateway as its way back."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_relayer(settings))


async def _relayer(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    engine = EngineClient(settings.engine.socket, [Source.RELAYER])
    running = asyncio.ensure_future(service.serve(settings, engine, stop))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not running.done():
        await asyncio.wait({running}, timeout=0.5)
        running.cancel()
    try:
        await running
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
