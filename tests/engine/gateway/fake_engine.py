"""An engine that takes frames and says what it is told to say, for tests of the client."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.gateway.session import ack_frame, fault_frame, sealed
from kernels import frames as f
from kernels.frames import FRAME, FRAME_BYTES, Fault, Source, Template

Frames = NDArray[np.void]


def fills(first: int, count: int, source: Source = Source.MATCHING) -> Frames:
    return np.frombuffer(sealed(f.new_frames(Template.FILL, count, source=source, first_seq=first)), FRAME)


def output(number: int) -> bytes:
    return sealed(f.new_frames(Template.FREE_COLLATERAL, 1, source=Source.ENGINE, first_seq=number))


class FakeEngine:
    """Welcomes every hello and keeps every frame; acks and all else are said by the test."""

    def __init__(self) -> None:
        self.last: dict[int, int] = {}
        self.lives: list[list[bytes]] = []
        self.hellos: list[np.void] = []
        self.refuse: Fault | None = None
        self.silent = False
        self.writer: asyncio.StreamWriter | None = None

    def frames(self, life: int = -1) -> Frames:
        """What arrived in one connection, hellos left out."""
        return np.frombuffer(b"".join(self.lives[life]), FRAME)

    def say(self, data: bytes) -> None:
        assert self.writer is not None
        self.writer.write(data)

    def ack(self, seq: int, source: Source = Source.MATCHING) -> None:
        self.last[source] = seq
        self.say(ack_frame(source, seq, 0, 1))

    def hang_up(self) -> None:
        assert self.writer is not None
        self.writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.lives.append([])
        try:
            while True:
                data = await reader.readexactly(FRAME_BYTES)
                if int(np.frombuffer(data, FRAME)["template"][0]) == Template.HELLO:
                    self._welcome(np.frombuffer(data, f.DTYPES[Template.HELLO])[0])
                else:
                    self.lives[-1].append(data)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _welcome(self, row: np.void) -> None:
        self.hellos.append(row)
        source = int(row["source"])
        if self.refuse is not None:
            self.say(fault_frame(self.refuse, source, int(row["acked_seq"]), 0))
            return
        if self.silent:
            return
        welcome = f.new_frames(Template.WELCOME, 1, source=Source.ENGINE)
        welcome["source"], welcome["last_seq"] = source, self.last.get(source, 0)
        self.say(sealed(welcome))


@asynccontextmanager
async def engine() -> AsyncIterator[tuple[FakeEngine, Path]]:
    fake = FakeEngine()
    with tempfile.TemporaryDirectory(prefix="gd-") as directory:
        path = Path(directory) / "s"
        server = await asyncio.start_unix_server(fake.serve, path)
        try:
            yield fake, path
        finally:
            server.close()
            if fake.writer is not None:
                fake.hang_up()
