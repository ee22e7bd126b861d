"""The engine: recorded text to durable ack, latency of an ack at a steady rate, replay of a journal at rest."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import uvloop
from numpy.typing import NDArray

from bench._engine_rivals import Rival, decimal_rival, raw_syncs, same_sizes, sqlite_rival
from bench.harness import Budget
from engine.app.cli import ROOT
from engine.app.supervisor import ProcessSpec, Supervisor, python_command
from engine.common.errors import ConnectionLost
from engine.common.settings import Settings
from engine.core.apply import Machine
from engine.core.views import views_of
from engine.follower import Follower
from engine.gateway.client import EngineClient
from engine.gateway.session import NO_OUTPUTS, sealed
from engine.journal.head import HeadPage
from engine.journal.segment import list_segments
from engine.venue.recording import load
from engine.venue.simulator import Simulator
from engine.venue.stream import ReplayStream
from kernels.crc32c import seal_frames, words_of
from kernels.frames import DTYPES, FRAME_BYTES, GROUP, Source, Template, new_frames

RECORDING = "hl_non_mm_trades_2023.csv.gz"
COUNT = 2_000_000
PACED_COUNT = 400_000
PACED_RATE = 200_000
BURST = 256
CHUNK = 2048
SECOND_NS = 10**9
_START_NS = 1_700_000_000 * SECOND_NS
_SOURCES = [Source.MATCHING, Source.CLOCK, Source.FEEDS, Source.CHAIN, Source.ADMIN]
_READY_S = 120.0
_ANSWER_S = 30.0

Frames = NDArray[np.void]


class Flow(NamedTuple):
    """Where fills come from. `fills(n)` makes n of them anew, sealed, in the order of their sequence."""

    name: str
    genesis: Frames
    fills: Callable[[int], Iterator[Frames]]


def recorded_flow(path: Path, count: int) -> Flow:
    """The text of a recording over and over, parsed anew in every pass."""
    recording = load(path, seed=7)
    stream = ReplayStream(recording, seed=7, hours=None, batch_window_ns=60 * SECOND_NS)
    return Flow("recorded", stream.genesis(passes=1 + 3 * count // recording.rows), stream.looped)


def simulated_flow() -> Flow:
    """Seeded fills where no recording is at hand: nothing is parsed, so the figure is not the same."""
    venue = Simulator(7, markets=8)
    first = [venue.genesis(_START_NS), venue.tick(_START_NS), venue.register()]
    return Flow("simulated, not parsed", np.concatenate(first), _simulated_fills)


def _simulated_fills(count: int) -> Iterator[Frames]:
    """The same fills at every call."""
    venue = Simulator(7, markets=8)
    venue.genesis(_START_NS)
    venue.register()
    now_ns, left = _START_NS, count
    while left:
        now_ns += SECOND_NS
        frames = venue.step(now_ns, min(left, CHUNK))
        part = frames[frames["template"] == Template.FILL]
        left -= len(part)
        yield part


def flow_of(count: int) -> Flow:
    """The recording under ../shared (or GODARK_SHARED), else the simulator."""
    shared = Path(os.environ.get("GODARK_SHARED", ROOT.parent / "shared"))
    path = shared / "data" / "market" / RECORDING
    return recorded_flow(path, count) if path.exists() else simulated_flow()


class Measured(NamedTuple):
    """What one run of a real engine process gave."""

    ingest_s: float
    parsed_s: float
    ingest_right: bool
    machine: Machine
    latency_ns: list[int]
    raw_ns: list[int]
    paced_right: bool
    digest: bytes


@asynccontextmanager
async def _engine(settings: Settings) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(log_dir=settings.data_dir / "logs")
    try:
        for name in ("engine", "keeper"):
            env = settings.to_env()
            await supervisor.start(ProcessSpec(name, python_command(name), _READY_S, env))
        yield supervisor
    finally:
        await supervisor.stop()


async def _send(settings: Settings, parts: Iterable[Frames]) -> tuple[float, list[Frames], bytes]:
    """(seconds until the last durable ack, making of the frames included; frames sent; engine's digest)."""
    client = EngineClient(settings.engine.socket, _SOURCES)
    await client.connect()
    sent: list[Frames] = []
    began = time.perf_counter()
    for part in parts:
        await client.send(part)
        sent.append(part)
    await client.drain()
    seconds = time.perf_counter() - began
    digest = (await client.status()).digest
    await client.close()
    return seconds, sent, digest


def _fold(parts: list[Frames]) -> Machine:
    """A machine of this process that has applied the same frames."""
    machine = Machine()
    for part in parts:
        machine.apply(views_of(np.ascontiguousarray(part)), 0, len(part))
    return machine


def _renumbered(fills: Frames, first_seq: int) -> Frames:
    out = fills.copy()
    out["seq"] = np.arange(first_seq, first_seq + len(out))
    seal_frames(words_of(out), 0, len(out))
    return out


def paced_acks(path: Path, fills: Frames, rate: int, burst: int) -> list[int]:
    """Nanoseconds from the moment a burst was due to its durable ack, for each burst, `rate` fills a second.

    A burst that could not be sent in time still counts from when it was due. ConnectionLost: silence.
    """
    with _attached(path, int(fills["seq"][0]) - 1) as peer:
        return _pace(peer, fills, burst * SECOND_NS // rate, burst)


def _attached(path: Path, last_seq: int) -> socket.socket:
    """A connection that carries the matching engine's source, once its last owner's has ended."""
    hello = new_frames(Template.HELLO, 1, source=Source.MATCHING, first_seq=0)
    hello["last_output"] = NO_OUTPUTS
    deadline = time.monotonic() + _ANSWER_S
    while True:
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(_ANSWER_S)
        peer.connect(str(path))
        peer.sendall(sealed(hello))
        answer = np.frombuffer(peer.recv(FRAME_BYTES, socket.MSG_WAITALL), DTYPES[Template.WELCOME])
        if len(answer) and int(answer["template"][0]) == Template.WELCOME:
            if int(answer["last_seq"][0]) == last_seq:
                return peer
        peer.close()
        if time.monotonic() > deadline:
            raise ConnectionLost(f"{path}: the engine did not welcome seq {last_seq}")
        time.sleep(0.02)


def _pace(peer: socket.socket, fills: Frames, interval_ns: int, burst: int) -> list[int]:
    ends = [int(part["seq"][-1]) for part in _bursts(fills, burst)]
    data = [part.tobytes() for part in _bursts(fills, burst)]
    taken: list[int] = []
    start_ns = time.perf_counter_ns() + interval_ns
    next_out = 0
    while len(taken) < len(data):
        now_ns = time.perf_counter_ns()
        if next_out < len(data) and now_ns >= start_ns + next_out * interval_ns:
            peer.sendall(data[next_out])
            next_out += 1
        due_ns = start_ns + next_out * interval_ns if next_out < len(data) else now_ns + SECOND_NS
        wait_s = max(due_ns - time.perf_counter_ns() - 30_000, 0) / 1e9
        if not select.select([peer], [], [], wait_s)[0]:
            if now_ns - start_ns - len(taken) * interval_ns > _ANSWER_S * 1e9:
                raise ConnectionLost("no ack in time")
            continue
        acked = _last_ack(peer)
        now_ns = time.perf_counter_ns()
        while len(taken) < len(data) and ends[len(taken)] <= acked:
            taken.append(now_ns - start_ns - len(taken) * interval_ns)
    return taken


def _bursts(fills: Frames, burst: int) -> Iterator[Frames]:
    for start in range(0, len(fills), burst):
        yield fills[start : start + burst]


def _last_ack(peer: socket.socket) -> int:
    """Highest durable seq in what has arrived, 0 if nothing of that kind."""
    data = peer.recv(1 << 16)
    if len(data) % FRAME_BYTES:
        data += peer.recv(FRAME_BYTES - len(data) % FRAME_BYTES, socket.MSG_WAITALL)
    if not data:
        raise ConnectionLost("the engine went away")
    acks = np.frombuffer(data, DTYPES[Template.ACK])
    return int(acks["durable_seq"][acks["template"] == int(Template.ACK)].max(initial=0))


def group_sizes(journal: Path, last: int) -> list[int]:
    """Frames in each of the last groups of a journal, until they hold `last` frames."""
    sizes: list[int] = []
    for segment in reversed(list_segments(journal)):
        slots = np.fromfile(segment.path, GROUP)
        counts = slots["count"][slots["template"] == int(Template.GROUP)]
        for count in counts[::-1].tolist():
            if sum(sizes) >= last:
                return sizes[::-1]
            if count:
                sizes.append(count)
    return sizes[::-1]


async def _measure(settings: Settings, flow: Flow, count: int, paced: int) -> Measured:
    journal = settings.data_dir / "journal"
    async with _engine(settings):
        await _send(settings, [flow.genesis])
        head = HeadPage(journal / "head")
        seconds, sent, digest = await _send(settings, flow.fills(count))
        machine = _fold([flow.genesis, *sent])
        right = (head.get("booked"), head.get("refused")) == (count, 0)
        right = right and digest == machine.state.digest()

        fills = np.concatenate(sent)
        again = _renumbered(fills, int(fills["seq"][-1]) + 1)
        parsed_s, _, _ = await _send(settings, _bursts(again, CHUNK))
        more = _renumbered(fills[:paced], int(again["seq"][-1]) + 1)
        latency_ns = await asyncio.to_thread(paced_acks, settings.engine.socket, more, PACED_RATE, BURST)
        _, _, last = await _send(settings, [])
        paced_right = (head.get("booked"), head.get("refused")) == (2 * count + paced, 0)
    groups = group_sizes(journal, paced)
    raw = raw_syncs(settings.data_dir / "raw", groups, paced * SECOND_NS // PACED_RATE // len(groups))
    return Measured(seconds, parsed_s, right, machine, latency_ns, raw, paced_right, last)


def _replay(journal: Path) -> tuple[float, int, bytes]:
    """(seconds, frames, digest) of folding a journal at rest."""
    follower = Follower(journal, live=False)
    began = time.perf_counter()
    while follower.poll() is not None:
        continue
    seconds = time.perf_counter() - began
    state = follower.machine.state
    follower.close()
    return seconds, state.number("ordinal"), state.digest()


def _latency(m: Measured, quantile: float, goal: str) -> Budget:
    ours, raw = (float(np.percentile(ns, quantile)) / 1e3 for ns in (m.latency_ns, m.raw_ns))
    return Budget(
        name=f"ack latency p{quantile:g} at {PACED_RATE // 1000}k fills/s, over raw pwrite + fdatasync",
        figure=ours / raw,
        unit="x",
        goal=goal,
        answer_checked=m.paced_right,
        ratios={"raw pwrite + fdatasync": ours / raw},
        sizes={"ack_us": ours, "raw_us": raw},
    )


def _throughput(m: Measured, flow: Flow, count: int, path: Path) -> Iterator[Budget]:
    """Both ways of sending `count` fills, against rivals that do the same jobs."""
    sqlite = sqlite_rival(path, flow.fills(count))
    decimals, book = decimal_rival(flow.fills(count))
    right = m.ingest_right and same_sizes(m.machine.books, book)
    jobs: list[tuple[str, float, str, Callable[[Rival], float], bool]] = [
        (f"file to durable ack ({flow.name})", m.ingest_s, "≥ 200000", lambda rival: rival.whole_s, right),
        ("frame to durable ack", m.parsed_s, "≥ 1000000", lambda rival: rival.work_s, m.paced_right),
    ]
    for name, seconds, goal, spent, checked in jobs:
        yield Budget(
            name=name,
            figure=count / seconds,
            unit="fills/s",
            goal=goal,
            answer_checked=checked,
            ratios={
                "SQLite WAL FULL, 8192 a commit": spent(sqlite) / seconds,
                "dict of Decimal, not durable": spent(decimals) / seconds,
            },
            sizes={str(count): count / seconds},
        )


def run(count: int = COUNT, paced: int = PACED_COUNT) -> Iterator[Budget]:
    """Measure with `count` fills at full speed, once parsed on the way and once not, and `paced` at a steady rate."""
    flow = flow_of(count)
    (ROOT / ".cache").mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / ".cache") as data,  # a disk, not a tmpfs
        tempfile.TemporaryDirectory(prefix="godark-") as short,
    ):
        socket_path = Path(short) / "engine.sock"
        settings = Settings(data_dir=Path(data), engine={"clock": "driver", "socket": socket_path})
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            m = runner.run(_measure(settings, flow, count, paced))
        yield from _throughput(m, flow, count, Path(data) / "rival.sqlite")
        yield _latency(m, 50, "≤ 1.5")
        yield _latency(m, 99, "≤ 6")
        replays = [_replay(settings.data_dir / "journal") for _ in range(2)]
        seconds, frames, _ = min(replays)
        yield Budget(
            name="replay of a journal at rest",
            figure=frames / seconds,
            unit="frames/s",
            goal="≥ 5000000",
            answer_checked=all(digest == m.digest for *_, digest in replays),
            sizes={str(frames): frames / seconds},
        )
