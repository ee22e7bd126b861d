"""The devnet as a process: `run(settings)` serves until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any, Final, Protocol

import uvloop

from engine.common.errors import SettingsError
from engine.common.ready import notify_ready
from engine.common.room import serve_while_full
from relayer.devnet.faults import Faults
from relayer.devnet.node import Node
from relayer.devnet.server import Server

FAULTS_ENVIRONMENT: Final = "GODARK_DEVNET_FAULTS"
_PORT_FILE: Final = "port"


class DevnetSettings(Protocol):
    """What the devnet is told. `slot_ms` 0: slots advance when someone polls."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def slot_ms(self) -> int: ...
    @property
    def data_dir(self) -> Path: ...


class Settings(Protocol):
    """The part of the settings read here."""

    @property
    def devnet(self) -> DevnetSettings: ...


def run(settings: Settings) -> None:
    """Serve the embedded chain; return after SIGTERM or SIGINT, within a second.

    Raises StoreError (ledger held, damaged, or not repeatable), SyncFailed, SettingsError. Faults can be set
    by RPC only where GODARK_DEVNET_FAULTS=1 is in the environment.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_until_stopped(settings.devnet))


async def _serve_until_stopped(settings: DevnetSettings) -> None:
    stopped = asyncio.Event()
    await serve_while_full(lambda: _serve(settings, stopped), settings.data_dir, stopped)


async def _serve(settings: DevnetSettings, stopped: asyncio.Event) -> None:
    # Re-executing the ledger may take seconds, in which a signal ends the process as usual.
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)
    node = Node.open(settings.data_dir, on_demand=settings.slot_ms == 0)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    server = Server(node, Faults(), control=os.environ.get(FAULTS_ENVIRONMENT) == "1")
    try:
        await _start(server, settings)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        url = f"{host}:{server.port}"
        notify_ready({"url": f"http://{url}", "ws_url": f"ws://{url}", "genesis": node.bank.genesis_hash})
        tasks: list[asyncio.Future[Any]] = [asyncio.create_task(stopped.wait()), server.failed]
        if settings.slot_ms:
            tasks.append(asyncio.create_task(_tick(server, settings.slot_ms)))
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        for task in done:
            # A failed sync or a broken ticker ends the process with its error.
            task.result()
    finally:
        await server.close()
        node.close()


async def _start(server: Server, settings: DevnetSettings) -> None:
    """Listen. A port chosen by the system is kept, so that clients find a restarted devnet again."""
    kept = settings.data_dir / _PORT_FILE
    if settings.port == 0 and kept.exists():
        text = kept.read_text("ascii", "replace").strip()
        if text.isdecimal() and 0 < int(text) < 65536:
            try:
                await server.start(settings.host, int(text))
            except SettingsError:
                # Somebody else has it by now: a free one will do.
                kept.unlink()
            else:
                return
    await server.start(settings.host, settings.port)
    if settings.port == 0:
        kept.write_text(f"{server.port}\n", "ascii")


async def _tick(server: Server, slot_ms: int) -> None:
    """Open a slot every `slot_ms`, without drift; slots missed while busy are not made up for."""
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    while True:
        due_s = max(due_s + slot_ms / 1000, loop.time())
        await asyncio.sleep(due_s - loop.time())
        await server.advance()
