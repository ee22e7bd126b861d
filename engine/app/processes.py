"""Entry points that need more than one room: here the walls are crossed, and nowhere else."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from engine.app import warm
from engine.common.room import serve_while_full
from engine.common.settings import Settings
from engine.gateway.client import EngineClient
from engine.risk import service as risk_service
from kernels.frames import Source
from relayer import service

_STOP_S = 0.2
"""A turn may wait for a node that is silent. Less than the supervisor gives each one, `supervisor.STOP_SHARE_S`."""


def run_relayer(settings: Settings) -> None:
    """The relayer process, with a client of the engine's gateway as its way back."""

    def serve(stop: asyncio.Event) -> Coroutine[Any, Any, None]:
        return serve_while_full(
            lambda: service.serve(settings, EngineClient(settings.engine.socket, [Source.RELAYER]), stop),
            settings.data_dir / "relayer",
            stop,
        )

    _run(serve)


def run_risk(settings: Settings) -> None:
    """The risk process, with a client that never sends a hint twice."""
    warm.load(warm.RISK_PROCESS)

    def serve(stop: asyncio.Event) -> Coroutine[Any, Any, None]:
        client = EngineClient(settings.engine.socket, [Source.RISK], hints=True)
        return risk_service.serve(settings, client, stop)

    _run(serve)


def _run(serve: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_stopped(serve))


async def _until_stopped(serve: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Serve until SIGTERM or SIGINT sets the event; what has not ended a fifth of a second later is cancelled."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    running = asyncio.ensure_future(serve(stop))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not running.done():
        await asyncio.wait({running}, timeout=_STOP_S)
        running.cancel()
    try:
        await running
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
