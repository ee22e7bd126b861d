"""The engine: recorded text to durable ack, latency of an ack at a steady rate, replay of a journal at rest."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import uvloop

from bench._engine_flows import Flow, flow_of
from bench._engine_parts import parts_us
from bench._engine_peer import SECOND_NS, Frames, attached, bursts, pace, pump, raw_syncs
from bench._engine_rivals import decimal_rival, same_sizes, sqlite_rival
from bench._engine_stores import Positions, engines_positions, lmdb_seconds, postgres
from bench._engine_tigerbeetle import COUNT as TIGERBEETLE_COUNT
from bench._engine_tigerbeetle import Moved, transferred
from bench.harness import Budget, load_1m
from engine.app.cli import ROOT
from engine.app.supervisor import ProcessSpec, Supervisor, python_command
from engine.common.settings import Settings
from engine.core.apply import Machine
from engine.core.views import views_of
from engine.follower import Follower
from engine.gateway.client import EngineClient
from engine.gateway.process import open_engine
from engine.journal.head import HeadPage
from engine.journal.keeper import AHEAD
from engine.journal.reader import JournalReader
from engine.journal.writer import SPARE_DIR
from kernels.crc32c import seal_frames, words_of
from kernels.frames import Source, Template

COUNT = 2_000_000
PACED_COUNT = 400_000
PACED_RATE = 200_000
STORE_COUNT = 400_000
TURNS = 10
BATCH = 8192
BURST = 256
BUSY_POLL_US = 2000
"""More than passes between two paced bursts: the engine that polls never sleeps while they come."""
_SOURCES = [Source.MATCHING, Source.CLOCK, Source.FEEDS, Source.CHAIN, Source.ADMIN]
_READY_S = 120.0


class Sent(NamedTuple):
    """Nanoseconds of each batch in flight, of each paced burst, and of as many raw syncs in between.

    pumped: fills in all those batches. right: the engine booked every fill of them.
    """

    pumped: int
    batch_ns: list[int]
    latency_ns: list[int]
    raw_ns: list[int]
    raw_batch_ns: list[int]
    right: bool

    @property
    def rate(self) -> float:
        """Durable fills a second, one batch in flight."""
        return self.pumped / sum(self.batch_ns) * SECOND_NS

    def over_raw(self, quantile: float) -> float:
        """Latency of an ack over that of a raw sync, both at this quantile."""
        return float(np.percentile(self.latency_ns, quantile) / np.percentile(self.raw_ns, quantile))


class Measured(NamedTuple):
    """What runs of real engine processes gave.

    sleeping: engine and matching engine sleep while they wait. polling: the engine with `busy_poll_us`; to be paced
    also by a matching engine that polls for its acks.
    """

    ingest_s: float
    ingest_right: bool
    machine: Machine
    sleeping: Sent
    polling: Sent
    parts_us: dict[str, float]
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


async def _measure(settings: Settings, flow: Flow, count: int, paced: int) -> Measured:
    async with _engine(settings):
        await _send(settings, [flow.genesis])
        head = HeadPage(settings.data_dir / "journal" / "head")
        seconds, sent, digest = await _send(settings, flow.fills(count))
        machine = _fold([flow.genesis, *sent])
        right = (head.get("booked"), head.get("refused")) == (count, 0)
        right = right and digest == machine.state.digest()
        fills = np.concatenate(sent)
        again = _renumbered(fills, int(fills["seq"][-1]) + 1)
        sleeping = await _pumped_and_paced(settings, again, paced, polls=False)
        _, _, last = await _send(settings, [])
    apart = _apart(settings, "polling", busy_poll_us=BUSY_POLL_US)
    async with _engine(apart):
        await _send(apart, [flow.genesis])
        polling = await _pumped_and_paced(apart, fills, paced, polls=True)
    parts = parts_us(_apart(settings, "parts"), flow.genesis, fills[: 20 * BATCH], BATCH)
    return Measured(seconds, right, machine, sleeping, polling, parts, last)


def _apart(settings: Settings, name: str, **engine: int) -> Settings:
    """The same settings for an engine with a journal of its own."""
    changed = settings.engine.model_copy(update=engine)
    return settings.model_copy(update={"data_dir": settings.data_dir / name, "engine": changed})


async def _pumped_and_paced(settings: Settings, fills: Frames, paced: int, *, polls: bool) -> Sent:
    """Send `fills` with one batch in flight, then `paced` of them once more at a steady rate."""
    journal = settings.data_dir / "journal"
    head, raw = HeadPage(journal / "head"), settings.data_dir / "raw"
    before = head.get("booked")
    more = _renumbered(fills[:paced], int(fills["seq"][-1]) + 1)
    await _spares(journal)
    batch_ns = await asyncio.to_thread(_pumped, settings, fills)
    await _spares(journal)
    latency_ns, raw_ns = await asyncio.to_thread(_paced, settings, more, polls)
    raw_batch_ns = raw_syncs(raw, 100, BATCH, 0)
    right = (head.get("booked") - before, head.get("refused")) == (len(fills) + len(more), 0)
    return Sent(len(fills), batch_ns, latency_ns, raw_ns, raw_batch_ns, right)


async def _spares(journal: Path) -> None:
    """Wait until the keeper has made its segments: they are what an engine in service writes into."""
    async with asyncio.timeout(_READY_S):
        while len(list((journal / SPARE_DIR).glob("*.ready"))) < AHEAD:
            await asyncio.sleep(0.05)


def _pumped(settings: Settings, fills: Frames) -> list[int]:
    with attached(settings.engine.socket, int(fills["seq"][0]) - 1) as peer:
        return pump(peer, fills, BATCH)


def _paced(settings: Settings, fills: Frames, polls: bool) -> tuple[list[int], list[int]]:
    """(acks of bursts, raw syncs of as many frames) in turns, so that both meet the same moods of the machine."""
    acks: list[int] = []
    raw: list[int] = []
    interval_ns = BURST * SECOND_NS // PACED_RATE
    with attached(settings.engine.socket, int(fills["seq"][0]) - 1) as peer:
        for part in bursts(fills, max(BURST, len(fills) // TURNS // BURST * BURST)):
            acks += pace(peer, part, PACED_RATE, BURST, polls=polls)
            raw += raw_syncs(settings.data_dir / "raw", -(-len(part) // BURST), BURST, interval_ns)
    return acks, raw


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
    """Both sides that poll; both that sleep beside it."""
    us = {
        f"{who}_{what}_us": float(np.percentile(ns, quantile)) / 1e3
        for who, sent in (("polling", m.polling), ("sleeping", m.sleeping))
        for what, ns in (("ack", sent.latency_ns), ("raw", sent.raw_ns))
    }
    return Budget(
        name=f"ack latency p{quantile:g} at {PACED_RATE // 1000}k fills/s, over raw pwrite + fdatasync",
        figure=m.polling.over_raw(quantile),
        unit="x",
        goal=goal,
        answer_checked=m.polling.right and m.sleeping.right,
        ratios={
            "raw, engine and matching engine poll": m.polling.over_raw(quantile),
            "raw, both sleep in between": m.sleeping.over_raw(quantile),
        },
        sizes={**us, "load_1m": load_1m()},
    )


def _throughput(m: Measured, flow: Flow, count: int, folder: Path) -> Iterator[Budget]:
    """Both ways of sending `count` fills, against rivals that do the same jobs."""
    sqlite = sqlite_rival(folder / "rival.sqlite", flow.fills(count))
    decimals, book = decimal_rival(flow.fills(count))
    right = m.ingest_right and same_sizes(m.machine.books, book)
    yield Budget(
        name=f"file to durable ack ({flow.name})",
        figure=count / m.ingest_s,
        unit="fills/s",
        goal="≥ 200000",
        answer_checked=right,
        ratios={
            "SQLite WAL FULL, 8192 a commit": sqlite.whole_s / m.ingest_s,
            "dict of Decimal, not durable": decimals.whole_s / m.ingest_s,
        },
        sizes={str(count): count / m.ingest_s},
    )
    fills = np.concatenate(list(flow.fills(min(count, STORE_COUNT))))
    rate, raw_ns = m.sleeping.rate, float(np.median(m.sleeping.raw_batch_ns))
    rivals = {
        "SQLite WAL FULL, 8192 a commit": count / sqlite.work_s,
        "dict of Decimal, not durable": count / decimals.work_s,
        "raw pwrite + fdatasync, nothing booked": BATCH / raw_ns * SECOND_NS,
    }
    lmdb_s = lmdb_seconds(folder / "lmdb", fills)
    if lmdb_s is not None:
        rivals["LMDB, 8192 a commit, nothing booked"] = len(fills) / lmdb_s
    batch_us = {f"batch_p{q}_us": float(np.percentile(m.sleeping.batch_ns, q)) / 1e3 for q in (50, 99)}
    yield Budget(
        name=f"durable two-leg fills, one batch of {BATCH} in flight",
        figure=rate,
        unit="fills/s",
        goal="≥ 8000000",
        answer_checked=m.polling.right and m.sleeping.right,
        ratios={name: rate / other for name, other in rivals.items()},
        sizes={
            str(count): rate,
            "at the median batch": BATCH / float(np.median(m.sleeping.batch_ns)) * SECOND_NS,
            "with busy_poll_us": m.polling.rate,
            **batch_us,
            "raw_batch_p50_us": raw_ns / 1e3,
            **m.parts_us,
            "load_1m": load_1m(),
        },
    )
    machine = _fold([flow.genesis])
    in_order, sums = postgres(machine, fills, in_order=True), postgres(machine, fills, in_order=False)
    if in_order is not None and sums is not None:
        ours = engines_positions(machine, fills)
        right = in_order.positions == ours and _sums(sums.positions) == _sums(ours)
        rates = {
            "fill after fill, cost and result kept": len(fills) / in_order.seconds,
            "sums of a batch": len(fills) / sums.seconds,
        }
        yield _against_postgres(rate, rates, right)


def _sums(positions: Positions) -> dict[tuple[int, int], list[int]]:
    """Size and cash alone."""
    return {key: row[:2] for key, row in positions.items()}


def _against_postgres(rate: float, rates: dict[str, float], right: bool) -> Budget:
    """The first of `rates` does what the engine does: a position's cost and result follow from the fill before."""
    ratios = {name: rate / other for name, other in rates.items()}
    return Budget(
        name="fills a second, over PostgreSQL 18 COPY + exact booking in SQL",
        figure=next(iter(ratios.values())),
        unit="x",
        goal="≥ 100",
        answer_checked=right,
        ratios=ratios,
        sizes={"engine": rate, **rates, "load_1m": load_1m()},
    )


def _against_tigerbeetle(rate: float, moved: Moved, count: int) -> Budget:
    """What its client's Python takes is left out of its time, as making our frames is out of ours."""
    theirs_s = max(moved.seconds - moved.client_s, 1e-9)
    ratio = rate * theirs_s / count
    return Budget(
        name="fills a second, over transfers of the TigerBeetle given",
        figure=ratio,
        unit="x",
        goal="≥ 20",
        answer_checked=moved.right,
        ratios={"its server": ratio, "with its client's Python": rate * moved.seconds / count},
        sizes={
            "engine": rate,
            "its server": count / theirs_s,
            "with its client's Python": count / moved.seconds,
        },
    )


def _shares(journal: Path) -> dict[str, float]:
    """Frames of each template in a journal at rest, in percent of all."""
    reader, counts = JournalReader(journal), np.zeros(128, np.int64)
    while len(frames := reader.read().frames):
        counts += np.bincount(frames["template"], minlength=len(counts))
    reader.close()
    most = np.argsort(-counts, kind="stable")
    return {
        f"% {Template(int(k)).name.lower()}": float(100 * counts[k] / counts.sum()) for k in most if counts[k]
    }


def _replayed(journal: Path, name: str, expected: bytes) -> Budget:
    replays = [_replay(journal) for _ in range(3)]
    seconds, frames, _ = min(replays)
    return Budget(
        name=f"replay of a journal at rest, {name}",
        figure=frames / seconds,
        unit="frames/s",
        goal="≥ 40000000",
        answer_checked=all(digest == expected for *_, digest in replays),
        sizes={"frames": frames, **_shares(journal), "load_1m": load_1m()},
    )


def _mixed(settings: Settings, flow: Flow, count: int) -> Budget:
    """The journal of a replay: observations and ticks between the fills."""
    engine = open_engine(settings)
    left = count
    try:
        for part in flow.mixed():
            for start in range(0, min(len(part), left), len(engine.group)):
                frames = part[start : start + len(engine.group)]
                engine.group[: len(frames)] = frames
                engine.commit(len(frames))
            left -= len(part)
            if left <= 0:
                break
        digest = engine.digest()
    finally:
        engine.close()
    return _replayed(settings.data_dir / "journal", "observations and ticks between fills", digest)


def run(count: int = COUNT, paced: int = PACED_COUNT, tigerbeetle: str | None = None) -> Iterator[Budget]:
    """Measure with `count` fills at full speed, once parsed on the way and once not, and `paced` at a steady rate.

    tigerbeetle: the address of one that is then measured too.
    """
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
        yield from _throughput(m, flow, count, Path(data))
        yield _latency(m, 50, "≤ 1.5")
        yield _latency(m, 99, "≤ 6")
        yield _replayed(settings.data_dir / "journal", "fills", m.digest)
        apart = settings.model_copy(update={"data_dir": Path(data) / "mixed"})
        yield _mixed(apart, flow, count)
        if tigerbeetle is not None:
            fills = np.concatenate(list(flow.fills(min(count, TIGERBEETLE_COUNT))))
            yield _against_tigerbeetle(m.sleeping.rate, transferred(tigerbeetle, fills), len(fills))
