"""What the tests of the C programs and of the ring share: the fills, who runs a program, what provokes each fault."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.gateway.client import EngineClient
from engine.gateway.session import NO_OUTPUTS, sealed
from kernels import frames as f
from kernels.frames import Fault, Source, Template
from tests.engine.gateway.running import PATIENCE_S, SOURCES, Running, hello
from tests.engine.journal.material import flow

Frames = NDArray[np.void]
C = Path(__file__).resolve().parents[3] / "engine" / "gateway" / "c"
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-std=c99", "-O2"]

FLOW = flow()
FIRST_FILL = int(np.flatnonzero(FLOW["template"] == Template.FILL)[0])
OPENING, FILLS = FLOW[:FIRST_FILL], FLOW[FLOW["template"] == Template.FILL].view(f.FILL)


async def ran(program: Path, *arguments: object, given: bytes = b"") -> tuple[int, list[str]]:
    """(exit status, lines of stdout)."""
    child = await asyncio.create_subprocess_exec(
        program, *map(str, arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        out, _ = await asyncio.wait_for(child.communicate(given), PATIENCE_S)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode is not None
    return child.returncode, out.decode().splitlines()


def csv(fills: Frames) -> bytes:
    columns = ("market", "time_ns", "trade_id", "price", "size", "maker", "taker")
    return b"".join(b",".join(b"%d" % row[name] for name in columns) + b"\n" for row in fills)


async def open_books(r: Running) -> None:
    """Parameters, accounts and deposits, by the Python client."""
    client = EngineClient(r.settings.engine.socket, SOURCES, last_output=NO_OUTPUTS)
    await client.connect()
    await client.send(OPENING)
    await client.drain()
    await client.close()


def fill(seq: int, **fields: int) -> bytes:
    frame = f.new_frames(Template.FILL, 1, source=Source.MATCHING, first_seq=seq)
    for name, value in {"market": 99, **fields}.items():
        frame[name] = value
    return sealed(frame)


def broken(data: bytes) -> bytes:
    return data[:20] + bytes([data[20] ^ 1]) + data[21:]


HELLO = hello(Source.MATCHING, last_output=NO_OUTPUTS)
PROVOKED: dict[Fault, tuple[bytes, str]] = {
    Fault.BAD_CRC: (HELLO + broken(fill(1)), "FAULT BAD_CRC 1 1"),
    Fault.WRONG_SCHEMA: (HELLO + fill(1, version=2), "FAULT WRONG_SCHEMA 1 1"),
    Fault.UNKNOWN_TEMPLATE: (HELLO + fill(1, template=33), "FAULT UNKNOWN_TEMPLATE 1 1"),
    Fault.SPARE_NOT_ZERO: (HELLO + fill(1, flags=1), "FAULT SPARE_NOT_ZERO 1 1"),
    Fault.GAP: (HELLO + fill(1) + fill(3), "FAULT GAP 3 2"),
    Fault.CONFLICT: (HELLO + fill(1) + fill(1, price=7), "FAULT CONFLICT 1 2"),
    Fault.DUPLICATE_UNVERIFIED: (HELLO + fill(1) + fill(2), "FAULT DUPLICATE_UNVERIFIED 1 2"),
    Fault.NO_HELLO: (fill(1), "FAULT NO_HELLO 1 1"),
    Fault.SOURCE_TAKEN: (HELLO, "FAULT SOURCE_TAKEN 0 0"),
    Fault.LOST_DATA: (hello(Source.MATCHING, acked=9), "FAULT LOST_DATA 9 0"),
    Fault.JOURNAL_FULL: (HELLO + fill(1), "FAULT JOURNAL_FULL 0 0"),
    Fault.SOURCE_FORBIDDEN: (hello(Source.ENGINE), "FAULT SOURCE_FORBIDDEN 0 0"),
}
