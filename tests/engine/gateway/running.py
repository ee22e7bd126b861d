"""An engine on a loop of this process, and peers that speak raw frames to it."""

from __future__ import annotations

import asyncio
import atexit
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import uvloop
from numpy.typing import NDArray

from engine.common.settings import Settings
from engine.gateway.engine import Engine
from engine.gateway.process import open_reachable, recovered
from engine.gateway.server import Connection, Listeners, serve
from engine.gateway.session import sealed
from kernels import frames as f
from kernels.frames import FRAME, FRAME_BYTES, Source, Template

SOURCES = [Source.MATCHING, Source.CLOCK, Source.FEEDS, Source.CHAIN, Source.ADMIN]
PATIENCE_S = 30.0

Frames = NDArray[np.void]


class Running(NamedTuple):
    """A served engine."""

    settings: Settings
    engine: Engine
    server: Listeners

    @property
    def connections(self) -> set[Connection]:
        """Those that the server holds now."""
        return set(self.server._hub._connections)

    @property
    def journal(self) -> Path:
        """Where its segments lie."""
        return self.settings.data_dir / "journal"


def settings_for(data_dir: Path, **engine: Any) -> Settings:
    """Settings with the clock left to the test, and a socket path that is short enough."""
    short = Path(tempfile.mkdtemp(prefix="gd-"))
    atexit.register(shutil.rmtree, short, ignore_errors=True)
    return Settings(data_dir=data_dir, engine={"clock": "driver", "socket": short / "s", **engine})


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """Open and serve an engine; close both."""
    places, engine = open_reachable(settings, *recovered(settings))
    stop = asyncio.get_running_loop().create_future()
    server = await serve(settings, engine, places, stop)
    try:
        yield Running(settings, engine, server)
    finally:
        stop.set_result(None)
        server.close()
        await asyncio.sleep(0)
        engine.close()


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test's coroutine on the loop that the engine uses, bounded."""

    async def bounded() -> None:
        await asyncio.wait_for(main(), 2 * PATIENCE_S)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait until it holds. TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


def hello(source: int, *, acked: int = 0, last_output: int = 0) -> bytes:
    """A sealed hello."""
    frame = f.new_frames(Template.HELLO, 1, source=Source.ENGINE, first_seq=0)
    frame["source"], frame["acked_seq"], frame["last_output"] = source, acked, last_output
    return sealed(frame)


def refused_fills(first: int, count: int) -> bytes:
    """Sealed fills of a market that does not exist: each is journaled, refused, and makes one output."""
    frames = f.new_frames(Template.FILL, count, source=Source.MATCHING, first_seq=first)
    frames["market"] = 99
    return sealed(frames)


class Peer:
    """Raw frames over the socket, read one at a time by their own template."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, settings: Settings) -> Peer:
        return cls(*await asyncio.open_unix_connection(str(settings.engine.socket)))

    async def next(self) -> np.void:
        """The next frame."""
        data = await asyncio.wait_for(self.reader.readexactly(FRAME_BYTES), PATIENCE_S)
        template = Template(int(np.frombuffer(data, FRAME)["template"][0]))
        return np.frombuffer(data, f.DTYPES[template])[0]

    async def expect(self, template: Template) -> np.void:
        """The next frame, which must be of this template."""
        row = await self.next()
        assert int(row["template"]) == template, Template(int(row["template"])).name
        return row

    async def ended(self) -> bool:
        """Whether the server has closed, after whatever it still sent."""
        try:
            while await asyncio.wait_for(self.reader.read(1 << 16), PATIENCE_S):
                continue
        except ConnectionError:
            return True
        return True

    def close(self) -> None:
        self.writer.close()
