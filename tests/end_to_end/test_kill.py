"""`kill -9` of each process in the middle of a replay: it runs on, loses nothing, doubles nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.common.errors import JournalError
from engine.journal.head import HeadPage
from engine.venue.recording import load
from engine.venue.stream import ReplayStream
from kernels.frames import FILL, Template
from relayer.core.leaf import leaves_of
from relayer.core.log import MerkleLog

from .recordings import hyperliquid
from .running import Command, Room

pytestmark = pytest.mark.end_to_end

ROWS = 2500
HOURS = 6
SEED = 7
WINDOW_S = 60
# Of what is to be booked or settled: where the kills fall.
MOMENTS = (0.2, 0.4, 0.6)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, int]:
    """(file, root of its fills computed here, minutes with fills): six hours of two coins."""
    path = tmp_path_factory.mktemp("kill") / "trades.csv"
    hyperliquid(path, rows=ROWS, seconds=HOURS * 3600)
    loaded = load(path, seed=SEED)
    stream = ReplayStream(loaded, seed=SEED, hours=None, batch_window_ns=WINDOW_S * 10**9)
    keys = np.frombuffer(b"".join([bytes(32), *loaded.accounts]), np.uint8).reshape(-1, 32)
    log = MerkleLog()
    for chunk in stream.chunks():
        fills = chunk[chunk["template"] == int(Template.FILL)].view(FILL)
        log.append(leaves_of(fills, keys))
    minutes = len(np.unique(loaded.trades["time_ns"] // (WINDOW_S * 10**9)))
    return path, log.root().hex(), minutes


class Watched:
    """A replay under way, and how far it is."""

    def __init__(self, room: Room, path: Path, batches: int) -> None:
        self.batches = batches
        self.data_dir = room.path / "kept"
        self.booked_at_kill = 0
        self._head: HeadPage | None = None
        self.command: Command = room.start(
            "replay", path, "--json", "--data-dir", "kept", "--batch-window", WINDOW_S
        )

    def _of_head(self, field: str) -> int:
        """A field of the engine's page; 0 before there is an engine. The page outlives the engine."""
        try:
            self._head = self._head or HeadPage(self.data_dir / "journal" / "head")
        except JournalError:
            return 0
        return self._head.get(field)

    def booked(self) -> int:
        """Fills in the engine's books."""
        return self._of_head("booked")

    def settled(self) -> int:
        """Batches settled, as the engine has been told: this number survives the relayer."""
        return self._of_head("settled_batch")

    def kill(self, name: str, when: Callable[[], bool]) -> None:
        """Kill one process at the moment, and wait until another has taken its place."""
        pid = self.command.until(lambda: self.command.pid_of(name))
        self.command.until(when, every_s=0.0005)
        os.kill(pid, signal.SIGKILL)
        self.booked_at_kill = self.booked()
        self.command.until(lambda: self.command.pid_of(name) not in (None, pid))

    def kill_at_settled(self, name: str, batches: int) -> None:
        """Kill when so many batches are settled, and see that it was not late: some are still to come."""
        self.kill(name, lambda: self.settled() >= batches)
        assert self.settled() < self.batches, "killed too late to mean anything"


def assert_nothing_lost_or_doubled(watched: Watched, name: str, kills: int, root: str) -> None:
    result = watched.command.wait(100)
    report = result.report()
    assert (result.status, report["ok"]) == (0, True), (report, result.err)
    assert report["booked"] == report["fills_in"] == report["log_size"] == ROWS
    assert report["refused"] == 0
    assert report["root"] == root
    assert all(report["checks"].values())
    assert report["restarts"][name] == kills
    assert sum(report["restarts"].values()) == kills
    assert report["tx_finalized"] <= report["tx_sent"] <= report["tx_finalized"] + 256 * kills
    assert watched.command.room.alive() == {}


@pytest.mark.parametrize("name", ["relayer", "devnet"])
def test_killed_while_batches_are_settled(room: Room, recording: tuple[Path, str, int], name: str) -> None:
    path, root, minutes = recording
    watched = Watched(room, path, minutes)
    for part in MOMENTS:
        watched.kill_at_settled(name, round(part * minutes))
    assert_nothing_lost_or_doubled(watched, name, len(MOMENTS), root)


def test_the_engine_killed_while_fills_are_booked_and_settled(
    room: Room, recording: tuple[Path, str, int]
) -> None:
    path, root, minutes = recording
    watched = Watched(room, path, minutes)
    watched.kill("engine", lambda: watched.booked() >= 0.2 * ROWS)
    assert 0.2 * ROWS <= watched.booked_at_kill < ROWS, "killed too late to mean anything"
    for part in MOMENTS[1:]:
        watched.kill_at_settled("engine", round(part * minutes))
    assert_nothing_lost_or_doubled(watched, "engine", len(MOMENTS), root)
