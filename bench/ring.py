"""The shared-memory ring against the Unix socket: the same engine, fills and producer, in one run.

Both ends of a ring want a core of their own. On a machine with two shared ones the engine's polling takes time
from whoever else runs, so what the ring saves in system calls the scheduler takes back: believe the ratios, and
measure again where it is to be used. `busy`: an engine pinned to one core that polls without pause.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import uvloop

from bench._engine_flows import simulated_flow
from bench._engine_peer import Frames
from bench._ring_peer import drain
from bench.harness import Budget
from engine.app.cli import ROOT
from engine.app.supervisor import ProcessSpec, Supervisor, python_command
from engine.common.errors import ConnectionLost
from engine.common.settings import Settings
from engine.core.apply import Machine
from engine.core.views import views_of
from engine.gateway.client import EngineClient
from engine.gateway.ring import EngineEnd, ProducerEnd
from engine.gateway.session import NO_OUTPUTS, sealed
from engine.gateway.wire import widen
from kernels.frames import DTYPES, FRAME_BYTES, Source, Template, new_frames

COUNT = 400_000
BATCH = 8192
WINDOW = 65_536
PINGS, PING = 400, 64
THROUGH = 4_000_000
SLOTS = 1 << 17
_PATIENCE_S = 30.0
_SOURCES = [Source.MATCHING, Source.CLOCK, Source.FEEDS, Source.CHAIN, Source.ADMIN]


class Peer(Protocol):
    """A producer's raw connection."""

    def send(self, data: memoryview) -> None:
        """All of it."""

    def receive(self) -> bytes | bytearray:
        """What has come, at least one frame. ConnectionLost after a silence."""

    def close(self) -> None:
        """Leave."""


class SocketPeer:
    """By system calls."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_PATIENCE_S)
        self._socket.connect(str(path))
        widen(self._socket)

    def send(self, data: memoryview) -> None:
        self._socket.sendall(data)

    def receive(self) -> bytes:
        data = self._socket.recv(1 << 16)
        if len(data) % FRAME_BYTES:
            data += self._socket.recv(FRAME_BYTES - len(data) % FRAME_BYTES, socket.MSG_WAITALL)
        if not data:
            raise ConnectionLost("the engine went away")
        return data

    def close(self) -> None:
        self._socket.close()


class RingPeer:
    """By shared memory. While nothing comes it gives way: on a shared core the engine could not run otherwise."""

    def __init__(self, path: Path) -> None:
        self._end = ProducerEnd(path)
        self._until(lambda: self._end.opened())

    def _until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not holds():
            os.sched_yield()
            if time.monotonic() > deadline:
                raise ConnectionLost("the engine is silent")

    def send(self, data: memoryview) -> None:
        while len(data):
            done = self._end.send(data)
            data = data[done:]
            if not done:
                os.sched_yield()

    def receive(self) -> bytearray:
        got = bytearray()

        def came() -> bool:
            nonlocal got
            got = self._end.receive()
            return len(got) > 0

        self._until(came)
        return got

    def close(self) -> None:
        self._end.close()


class Timed(NamedTuple):
    """What one transport gave. `right`: the engine's digest is that of an independent fold."""

    fills_per_s: float
    ping_us: float
    right: bool


def _hello(peer: Peer) -> None:
    hello = new_frames(Template.HELLO, 1, source=Source.MATCHING, first_seq=0)
    hello["last_output"] = NO_OUTPUTS
    peer.send(memoryview(sealed(hello)))
    peer.receive()


def _acked(peer: Peer, upto: int, so_far: int) -> int:
    while so_far < upto:
        said = np.frombuffer(peer.receive(), DTYPES[Template.ACK])
        so_far = int(said["durable_seq"][said["template"] == int(Template.ACK)].max(initial=so_far))
    return so_far


def _push(peer: Peer, fills: Frames) -> float:
    """Seconds for all of `fills`, in batches, at most a window of them in flight."""
    acked = int(fills["seq"][0]) - 1
    began = time.perf_counter()
    for at in range(0, len(fills), BATCH):
        part = fills[at : at + BATCH]
        acked = _acked(peer, int(part["seq"][-1]) - WINDOW, acked)
        peer.send(part.view(np.uint8).data)
    _acked(peer, int(fills["seq"][-1]), acked)
    return time.perf_counter() - began


def _ping(peer: Peer, fills: Frames) -> float:
    """Median microseconds from sending a small batch to its durable ack, one in flight."""
    taken = []
    for at in range(0, len(fills), PING):
        part = fills[at : at + PING]
        began = time.perf_counter_ns()
        peer.send(part.view(np.uint8).data)
        _acked(peer, int(part["seq"][-1]), int(part["seq"][0]) - 1)
        taken.append(time.perf_counter_ns() - began)
    return float(np.median(taken)) / 1e3


def _command(cores: str | None) -> list[str]:
    return ["taskset", "-c", cores, *python_command("engine")] if cores else python_command("engine")


@asynccontextmanager
async def _engine(settings: Settings, cores: str | None) -> AsyncIterator[None]:
    supervisor = Supervisor(log_dir=settings.data_dir / "logs")
    try:
        await supervisor.start(ProcessSpec("engine", _command(cores), 120.0, settings.to_env()))
        await supervisor.start(ProcessSpec("keeper", python_command("keeper"), 120.0, settings.to_env()))
        yield
    finally:
        await supervisor.stop()


async def _measure(
    where: Path, name: str, count: int, poll_us: int = 1000, cores: str | None = None
) -> Timed:
    """One engine of its own, empty books, fed through one transport."""
    flow = simulated_flow()
    fills = np.concatenate(list(flow.fills(count + PINGS * PING)))
    with tempfile.TemporaryDirectory(prefix="godark-") as short:
        ring = Path("/dev/shm" if os.path.isdir("/dev/shm") else short) / f"godark-bench-{os.getpid()}"
        engine = {
            "clock": "driver",
            "socket": Path(short) / "s",
            "ring_poll_us": poll_us,
            "ring_slots": SLOTS,
        }
        settings = Settings(
            data_dir=where / name, engine=engine | ({} if name == "socket" else {"ring": ring})
        )
        async with _engine(settings, cores):
            async with EngineClient(settings.engine.socket, _SOURCES, last_output=NO_OUTPUTS) as client:
                await client.send(flow.genesis)
                await client.drain()

            def feed() -> tuple[float, float]:
                peer: Peer = SocketPeer(settings.engine.socket) if name == "socket" else RingPeer(ring)
                _hello(peer)
                seconds = _push(peer, fills[:count])
                micros = _ping(peer, fills[count:])
                peer.close()
                return seconds, micros

            await asyncio.sleep(0.2)  # the client's sources are free
            seconds, micros = await asyncio.to_thread(feed)
            await asyncio.sleep(0.2)
            async with EngineClient(
                settings.engine.socket, [Source.MATCHING], last_output=NO_OUTPUTS
            ) as client:
                digest = (await client.status()).digest
    return Timed(count / seconds, micros, digest == _folded([flow.genesis, fills]))


def _folded(parts: list[Frames]) -> bytes:
    machine = Machine()
    for part in parts:
        for at in range(0, len(part), WINDOW):
            piece = np.ascontiguousarray(part[at : at + WINDOW])
            machine.apply(views_of(piece), 0, len(piece))
    return machine.state.digest()


def _through(count: int) -> tuple[float, float, bool]:
    """(seconds by ring, by socket, the last frame arrived as sent): to a process that only takes what comes."""
    data = np.random.default_rng(1).integers(0, 256, BATCH * FRAME_BYTES, np.uint8).data
    rounds = count // BATCH
    with tempfile.TemporaryDirectory(prefix="godark-") as short:
        path = Path(short) / "ring"
        engine = EngineEnd(path, SLOTS)
        seconds, same = [], []
        for name in ("ring", "socket"):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(Path(short) / name) + ".sock")
            listener.listen()
            listener.settimeout(_PATIENCE_S)
            where = str(path) if name == "ring" else str(Path(short) / name) + ".sock"
            child = subprocess.Popen([sys.executable, "-m", "bench._ring_peer", name, where, str(rounds)],
                                     stdin=subprocess.PIPE, cwd=ROOT)  # fmt: skip
            try:
                assert child.stdin is not None
                child.stdin.write(data)
                child.stdin.close()
                spent, last = drain(engine if name == "ring" else listener.accept()[0], rounds * len(data))
                seconds.append(spent)
                same.append(last == bytes(data[-FRAME_BYTES:]))
            finally:
                listener.close()
                child.kill()
                child.wait()
        engine.close()
    return seconds[0], seconds[1], all(same)


def run(count: int = COUNT, through: int = THROUGH) -> Iterator[Budget]:
    """Frames through the bare transport, then fills through an engine until they are durable."""
    ring_s, socket_s, same = _through(through)
    frames = through // BATCH * BATCH
    yield Budget(
        name=f"bare ring, {BATCH} frames at a time, nobody journals",
        figure=frames / ring_s,
        unit="frames/s",
        goal="≥ 5000000",
        answer_checked=same,
        ratios={"Unix socket": socket_s / ring_s},
    )
    (ROOT / ".cache").mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / ".cache") as data,  # a disk, not a tmpfs
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        where = Path(data)
        rival = runner.run(_measure(where, "socket", count))
        timed = {"ring, looked at every ms": runner.run(_measure(where, "ring", count))}
        if shutil.which("taskset"):
            core = str(max(os.sched_getaffinity(0)))
            timed["ring, busy on one core"] = runner.run(_measure(where, "busy", count, 0, core))
    for name, ours in timed.items():
        yield Budget(
            name=f"{name}: fills to durable ack, over the Unix socket",
            figure=ours.fills_per_s / rival.fills_per_s,
            unit="x",
            goal="≥ 0.5",
            answer_checked=ours.right and rival.right,
            ratios={"Unix socket": ours.fills_per_s / rival.fills_per_s},
            sizes={"fills_per_s": ours.fills_per_s, "socket_fills_per_s": rival.fills_per_s,
                   f"ack_of_{PING}_us": ours.ping_us, f"socket_ack_of_{PING}_us": rival.ping_us},
        )  # fmt: skip
