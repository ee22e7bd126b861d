"""When the engine dies: from SIGKILL to the first durable ack; and what snapshots cost and what a start takes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import uvloop

from bench._fills import CHUNK, Frames, Traders
from bench.harness import Budget
from engine.app.cli import ROOT
from engine.app.supervisor import ProcessSpec, Supervisor, python_command
from engine.common.errors import ConnectionLost
from engine.common.settings import Settings
from engine.core.apply import Machine
from engine.core.views import views_of
from engine.gateway.session import NO_OUTPUTS, sealed
from engine.journal.head import HeadPage
from engine.journal.reader import Cursor
from engine.journal.recovery import Tail
from engine.journal.snapshot import SNAPSHOT_DIR, load_snapshot, verify_snapshot, write_snapshot
from engine.journal.writer import SPARE_DIR, JournalWriter
from kernels.admission import Gate, new_gate, remember
from kernels.crc32c import seal_frames, words_of
from kernels.frames import DTYPES, FRAME, FRAME_BYTES, Source, StatusKind, Template, new_frames

TAKEOVERS = 20
POSITIONS = 1_000_000
MARKETS = 10
BURST = 64
_READY_S = 120.0
_ANSWER_S = 30.0
_RETRY_S = 0.001
_SUFFIX = 100_000
_BURSTS_MAX = 500
_SEGMENT_BYTES = 64 << 20


class Lost(Exception):
    """The engine no longer has what it acknowledged."""


class Peer:
    """A matching engine that sends fills in bursts, and after a break resends what was not acked.

    frames: all it will ever send, sealed; sent, acked: how many of them, counted from the first.
    """

    def __init__(self, path: Path, frames: Frames) -> None:
        self._path, self.frames = str(path), frames
        self._first = int(frames["seq"][0])
        self.sent = self.acked = 0
        self.epoch = 0
        self._socket = self._attached()

    def burst(self) -> None:
        """Send the next fills, and wait until they are acked. OSError, ConnectionLost: the engine is gone."""
        stop = min(self.sent + BURST, len(self.frames))
        self._socket.sendall(self.frames[self.sent : stop].tobytes())
        self.sent = stop
        self._until_acked(stop)

    def go_on(self) -> None:
        """Find an engine again, resend, and return at its first ack of a frame that it did not have."""
        deadline = time.monotonic() + _ANSWER_S
        while True:
            self._socket.close()
            try:
                self._socket = self._attached()
                self._socket.sendall(self.frames[self.acked : self.acked + BURST].tobytes())
                self.sent = max(self.sent, self.acked + BURST)
                return self._until_acked(self.acked + 1)
            except (OSError, ConnectionLost):
                if time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_S)

    def status(self) -> tuple[int, bytes]:
        """(ordinal, digest) of the engine."""
        request = new_frames(Template.STATUS_REQUEST, 1, source=Source.ENGINE, first_seq=0)
        request["kind"] = int(StatusKind.DIGEST)
        self._socket.sendall(sealed(request))
        row = self._next(Template.STATUS)
        return int(row["ordinal"]), b"".join(row[f"digest{k}"].tobytes() for k in range(4))

    def close(self) -> None:
        self._socket.close()

    def _attached(self) -> socket.socket:
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(_ANSWER_S)
        try:
            peer.connect(self._path)
            self._socket = peer
            hello = new_frames(Template.HELLO, 1, source=Source.MATCHING, first_seq=0)
            hello["last_output"] = NO_OUTPUTS
            peer.sendall(sealed(hello))
            welcome = self._next(Template.WELCOME)
        except (OSError, ConnectionLost):
            peer.close()
            raise
        durable = int(welcome["last_seq"]) - self._first + 1
        if durable < self.acked:
            raise Lost(f"{self.acked} fills were acked, the engine has {durable}")
        self.acked, self.epoch = durable, int(welcome["epoch"])
        return peer

    def _until_acked(self, count: int) -> None:
        while self.acked < count:
            ack = self._next(Template.ACK)
            self.acked = max(self.acked, int(ack["durable_seq"]) - self._first + 1)

    def _next(self, template: Template) -> np.void:
        while True:
            data = self._socket.recv(FRAME_BYTES, socket.MSG_WAITALL)
            if len(data) < FRAME_BYTES:
                raise ConnectionLost("the engine went away")
            if int(np.frombuffer(data, FRAME)["template"][0]) == template:
                return np.frombuffer(data, DTYPES[template])[0]


class Prepared(NamedTuple):
    """A journal at rest with a snapshot some way before its end, and its books."""

    settings: Settings
    machine: Machine
    traders: Traders
    snapshot: Path
    write_s: float


def prepare(data: Path, short: Path, positions: int) -> Prepared:
    """Open `positions` positions, snapshot the books, book a tenth of a million fills more."""
    journal = data / "journal"
    journal.mkdir(parents=True)
    traders = Traders(MARKETS, positions // MARKETS)
    machine, gate = Machine(capacity=CHUNK), new_gate()
    writer = JournalWriter(
        journal, Tail(Cursor(), 0, 0),
        segment_bytes=_SEGMENT_BYTES, group_frames_max=CHUNK, time_ns=1, witness=0,
    )  # fmt: skip
    for part in traders.opening():
        _append(writer, machine, gate, part)
    began = time.perf_counter()
    cursor = Cursor(writer.position, writer.epoch, writer.chain)
    path = write_snapshot(journal, machine, gate, cursor)
    write_s = time.perf_counter() - began
    _append(writer, machine, gate, traders.fills(_SUFFIX))
    writer.close()
    engine = {"clock": "driver", "socket": short / "engine.sock", "segment_bytes": _SEGMENT_BYTES}
    return Prepared(Settings(data_dir=data, engine=engine), machine, traders, path, write_s)


def _append(writer: JournalWriter, machine: Machine, gate: Gate, part: Frames) -> None:
    words = words_of(part)
    seal_frames(words, 0, len(part))
    for start in range(0, len(part), CHUNK):
        rows = part[start : start + CHUNK]
        writer.frames[: len(rows)] = rows
        writer.commit(len(rows), 1, machine.witness)
        machine.apply(views_of(writer.frames), 0, len(rows))
        remember(gate, words_of(rows), rows, 0, len(rows))


def _spec(name: str, settings: Settings) -> ProcessSpec:
    return ProcessSpec(name, python_command(name), _READY_S, settings.to_env())


def _sealed_fills(traders: Traders, count: int) -> Frames:
    fills = traders.fills(count)
    seal_frames(words_of(fills), 0, len(fills))
    return fills


class Started(NamedTuple):
    """A start: seconds from spawning the process to its first ack; resident bytes; the peer's last word."""

    seconds: float
    rss_bytes: int
    digest_right: bool


async def _start(prepared: Prepared, fills: Frames) -> Started:
    supervisor = Supervisor(log_dir=prepared.settings.data_dir / "logs")
    try:
        await supervisor.start(_spec("keeper", prepared.settings))
        await asyncio.sleep(0.5)
        began = time.perf_counter()
        await supervisor.start(_spec("engine", prepared.settings))
        peer = Peer(prepared.settings.engine.socket, fills)
        peer.burst()
        seconds = time.perf_counter() - began
        rss = _rss_bytes(supervisor.pid("engine"))
        _fold(prepared.machine, fills[: peer.sent])
        right = peer.status()[1] == prepared.machine.state.digest()
        peer.close()
    finally:
        await supervisor.stop()
    return Started(seconds, rss, right)


def _rss_bytes(pid: int) -> int:
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _fold(machine: Machine, frames: Frames) -> None:
    views = views_of(np.ascontiguousarray(frames))
    for start in range(0, len(frames), CHUNK):
        machine.apply(views, start, min(start + CHUNK, len(frames)))


async def _failovers(prepared: Prepared, takeovers: int, *, keeper: bool = True) -> tuple[list[float], bool]:
    """(seconds from SIGKILL to the first durable ack, per takeover; whether nothing was lost or doubled).

    keeper: without one no prezeroed segment is ready, and whoever takes over zeros its first one itself.
    """
    settings = prepared.settings
    supervisor = Supervisor(log_dir=settings.data_dir / "logs")
    fills = _sealed_fills(prepared.traders, takeovers * (_BURSTS_MAX + 2) * BURST + BURST)
    chance = random.Random(7)
    seconds = []
    try:
        for name in ("keeper", "engine", "standby") if keeper else ("engine", "standby"):
            await supervisor.start(_spec(name, settings))
        supervisor.inherit("engine", "standby")
        peer = Peer(settings.engine.socket, fills)
        for done in range(takeovers):
            for _ in range(chance.randrange(_BURSTS_MAX)):
                peer.burst()
            pid, epoch = HeadPage(settings.data_dir / "journal" / "head").get("pid"), peer.epoch
            peer._socket.sendall(fills[peer.sent : peer.sent + BURST].tobytes())  # in flight when it dies
            began = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            peer.go_on()
            seconds.append(time.perf_counter() - began)
            if peer.epoch != epoch + 1:
                raise Lost(f"epoch {peer.epoch} followed epoch {epoch}")
            while supervisor.restarts("standby") <= done:
                await asyncio.sleep(0.02)
        peer.burst()
        _fold(prepared.machine, fills[: peer.acked])
        prepared.traders.go_on_from(int(fills["seq"][0]) + peer.acked)
        ordinal, digest = peer.status()
        state = prepared.machine.state
        peer.close()
        return seconds, (ordinal, digest) == (state.number("ordinal"), state.digest())
    finally:
        await supervisor.stop()


def _raw_write_s(path: Path, size: int) -> float:
    """Seconds to write and sync as many bytes at once."""
    block = os.urandom(1 << 20)
    began = time.perf_counter()
    with path.open("wb") as file:
        for _ in range(size // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - began


def _snapshot_budget(prepared: Prepared) -> Budget:
    size = prepared.snapshot.stat().st_size
    began = time.perf_counter()
    loaded = load_snapshot(prepared.snapshot)
    load_s = time.perf_counter() - began
    verify_snapshot(prepared.snapshot)
    header_digest = loaded.state.digest()
    again = load_snapshot(prepared.snapshot, check_digest=False).state.digest()
    raw_s = _raw_write_s(prepared.snapshot.with_suffix(".raw"), size)
    return Budget(
        name="snapshot, synced slice by slice",
        figure=size / prepared.write_s / 1e6,
        unit="MB/s",
        goal="≥ 100",
        answer_checked=header_digest == again,
        ratios={"raw write + fsync": raw_s / prepared.write_s},
        sizes={"bytes": size, "write_s": prepared.write_s, "load_s": load_s},
    )


def run(takeovers: int = TAKEOVERS, positions: int = POSITIONS) -> Iterator[Budget]:
    """Measure with so many positions in the books; every takeover has a standby that was caught up."""
    (ROOT / ".cache").mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / ".cache") as data,  # a disk, not a tmpfs
        tempfile.TemporaryDirectory(prefix="godark-") as short,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        prepared = prepare(Path(data), Path(short), positions)
        yield _snapshot_budget(prepared)
        started = runner.run(_start(prepared, _sealed_fills(prepared.traders, BURST)))
        hidden = prepared.snapshot.parent.rename(Path(data) / SNAPSHOT_DIR)
        replayed = runner.run(_start(prepared, _sealed_fills(prepared.traders, BURST)))
        hidden.rename(prepared.snapshot.parent)
        yield Budget(
            name="start to first durable ack",
            figure=started.seconds,
            unit="s",
            goal="≤ 2",
            answer_checked=started.digest_right and replayed.digest_right,
            ratios={"replay of the whole journal": started.seconds / replayed.seconds},
            sizes={"positions": positions, "replay_s": replayed.seconds},
        )
        yield Budget(
            name="resident memory of the engine, in all",
            figure=started.rss_bytes / 1e6,
            unit="MB",
            goal="≤ 500",
            answer_checked=started.digest_right,
            sizes={"positions": positions},
        )
        seconds, right = runner.run(_failovers(prepared, takeovers))
        yield Budget(
            name="SIGKILL to first durable ack, median",
            figure=statistics.median(seconds) * 1e3,
            unit="ms",
            goal="≤ 30",
            answer_checked=right,
            ratios={"start from a snapshot, no standby": statistics.median(seconds) / started.seconds},
            sizes={"takeovers": takeovers, "min_ms": min(seconds) * 1e3, "max_ms": max(seconds) * 1e3},
        )
        yield _without_spares(prepared, runner, max(1, takeovers // 4), statistics.median(seconds))


def _without_spares(
    prepared: Prepared, runner: asyncio.Runner, takeovers: int, with_spares_s: float
) -> Budget:
    for spare in (prepared.settings.data_dir / "journal" / SPARE_DIR).glob("*"):
        spare.unlink()
    seconds, right = runner.run(_failovers(prepared, takeovers, keeper=False))
    return Budget(
        name="the same, no spare segment ready",
        figure=statistics.median(seconds) * 1e3,
        unit="ms",
        goal="≤ 30",
        answer_checked=right,
        ratios={"with a spare segment": statistics.median(seconds) / with_spares_s},
        sizes={"takeovers": takeovers, "min_ms": min(seconds) * 1e3, "max_ms": max(seconds) * 1e3},
    )
