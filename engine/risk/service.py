"""The risk process: follow, sweep, propose. One loop, one turn after the other; nothing of it is kept on disk."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import ConnectionLost, JournalError
from engine.common.logs import get_logger
from engine.common.ready import notify_ready
from engine.common.settings import Settings
from engine.follower import Follower
from engine.risk.pace import Pace
from engine.risk.page import RiskPage
from engine.risk.proposals import Proposal, frames_of, propose
from engine.risk.sweeper import Found, Sweeper
from kernels.frames import CandidateKind, Source, Template

_TICK = int(Template.TICK)
_CHUNKS_AT_ONCE: Final = 4
_LATE: Final = 4
"""Intervals that a sweep may wait for the books to catch up."""
_JOURNAL_PATIENCE_S: Final = 30.0
_AWAY_PAUSE_S: Final = 0.2
_SHARE: Final = 4
"""Of an interval, one part in so many goes to rooms that are late, and as much to the first check of everyone."""


class EngineLink(Protocol):
    """The way back to the engine; the composition root brings it. It never sends anything twice."""

    acked: list[int]

    async def connect(self) -> dict[int, int]:
        """Say hello; the last durable seq of each source. What was not acked before is forgotten."""

    async def send(self, frames: NDArray[np.void]) -> None:
        """Send sealed frames in order. ConnectionLost: the engine went away, connect again."""

    async def close(self) -> Any:
        """Leave."""


class Risk:
    """A follower with its sweeper: what is to be proposed, and when. Time is an argument (ns, monotonic)."""

    def __init__(self, settings: Settings) -> None:
        own = settings.risk
        self._follower = Follower(settings.data_dir / "journal", from_snapshot=True)
        self._sweeper = Sweeper(self._follower.machine)
        self._interval_ns = own.sweep_ms * 1_000_000
        self._slices = max(1, own.check_s * 1_000 // own.sweep_ms)
        self._most = own.candidates_max
        self._rooms, self._checks = (Pace(self._interval_ns // _SHARE) for _ in range(2))
        self._swept_ns = self._check_spent_ns = 0
        self._ticked = False
        self._found: Found | None = None
        self._jumps = 0
        self.caught_up = False
        self.page = RiskPage(own.page, create=True)

    @property
    def ordinal(self) -> int:
        """The last frame folded."""
        return self._follower.machine.state.number("ordinal")

    def follow(self) -> bool:
        """Fold a few stretches of journal; True if there was any. WitnessMismatch, JournalDamaged."""
        for turn in range(_CHUNKS_AT_ONCE):
            followed = self._follower.poll()
            if followed is None:
                self.caught_up = True
                return turn > 0
            if self._follower.jumps != self._jumps:
                self._jumps = self._follower.jumps
                # No room taken in the books before counts; whom they found comes first.
                self._sweeper = Sweeper(self._follower.machine, self._found)
            self._sweeper.touch(followed)
            self._ticked |= bool((followed.frames["template"] == _TICK).any())
        self.caught_up = False
        return True

    def due(self, now_ns: int) -> bool:
        """Whether to sweep now: an interval has passed, or half of one and the prices are new. While there is more
        to fold a sweep waits, but not for long."""
        since_ns = now_ns - self._swept_ns
        if not self.caught_up:
            return since_ns >= _LATE * self._interval_ns
        return since_ns >= self._interval_ns or (self._ticked and 2 * since_ns >= self._interval_ns)

    def sweep(self, now_ns: int) -> list[Proposal]:
        """Sweep, rank, and check the answer against exact margins, of a slice of all, so that each `risk.check_s`
        everyone has had a turn; the first round goes as fast as turns permit. SweepMismatch."""
        self._swept_ns, self._ticked = now_ns, False
        machine, sweeper = self._follower.machine, self._sweeper
        began_ns = time.perf_counter_ns()
        used = sweeper.take_rooms(self._rooms.units())
        self._rooms.took(used, time.perf_counter_ns() - began_ns)
        found = self._found = sweeper.look()
        ranked = propose(machine, sweeper, found, self._most)
        spent_ns = time.perf_counter_ns() - began_ns
        row, counts = self.page.row, sweeper.counts
        if self._check(found):
            row["checks"] += 1
            row["check_ns"], self._check_spent_ns = self._check_spent_ns, 0
        row["sweeps"] += 1
        row["sweep_ns"], row["sweep_max_ns"] = spent_ns, max(int(row["sweep_max_ns"]), spent_ns)
        row["units"], row["valued"], row["late"] = counts.units, counts.valued, counts.late
        row["anchors"] += counts.anchored
        row["found"], row["faults"] = len(found.slots) + len(found.accounts), ranked.faults
        row["worst_e6"] = min(sweeper.counts.worst_e6, ranked.worst_e6)
        row["ordinal"] = self.ordinal
        row["lag_frames"] = max(0, self._follower.durable - self._follower.position)
        row["heartbeat_ns"] = now_ns
        return ranked.proposals

    def _check(self, found: Found) -> bool:
        """The next slice; True if everyone has been checked since the last True. The first round begins when every
        room has been taken, and has as few slices as fit into turns."""
        sweeper, slices = self._sweeper, self._slices
        began_ns = time.perf_counter_ns()
        if not self.page.row["checks"]:
            if sweeper.counts.late:
                return False
            slices = -(-sweeper.counts.units // self._checks.units())
        done = sweeper.check_slice(found, slices)
        spent_ns = time.perf_counter_ns() - began_ns
        self._checks.took(sweeper.counts.units // slices, spent_ns)
        self._check_spent_ns += spent_ns
        return done

    def close(self) -> None:
        """Let go of the journal."""
        self._follower.close()


class Proposer:
    """Numbers proposals and sends them: from last + 1 on, never twice. What an engine has not got is lost."""

    def __init__(self, link: EngineLink, page: RiskPage, most_unacked: int) -> None:
        self._link, self._page, self._most = link, page, most_unacked
        self._seq = 0
        self._away = True

    async def connect(self) -> None:
        """Meet the engine and go on where it stands. ConnectionLost: it does not answer."""
        last = (await self._link.connect())[Source.RISK]
        self._page.row["unsent"] += max(0, self._seq - last) if self._seq else 0
        self._seq, self._away = last, False

    async def propose(self, proposals: list[Proposal], seen_ordinal: int) -> int:
        """Send them, or drop them where the engine is away or has too many unread; how many were sent."""
        if self._away:
            try:
                await self.connect()
            except ConnectionLost:
                await asyncio.sleep(_AWAY_PAUSE_S)
                return 0
        if not proposals or self._seq - self._link.acked[Source.RISK] > self._most:
            return 0
        try:
            await self._link.send(frames_of(proposals, self._seq + 1, seen_ordinal))
        except ConnectionLost as error:
            get_logger().warning("engine_away", reason=error.line())
            self._away = True
            return 0
        self._seq += len(proposals)
        row = self._page.row
        row["candidates"] += len(proposals)
        row["deleverage"] += sum(one.kind is CandidateKind.DELEVERAGE for one in proposals)
        return len(proposals)


async def serve(settings: Settings, link: EngineLink, stop: asyncio.Event) -> None:
    """Run until `stop`. Ready when the whole journal is folded, and sweeps have agreed with everyone."""
    await _await_journal(settings, stop)
    risk = Risk(settings)
    proposer = Proposer(link, risk.page, settings.risk.candidates_max)
    try:
        while risk.follow() and not stop.is_set():
            await asyncio.sleep(0)
        await proposer.connect()
        ready = False
        while not stop.is_set():
            moved = risk.follow()
            now_ns = time.monotonic_ns()
            if risk.due(now_ns):
                await proposer.propose(risk.sweep(now_ns), risk.ordinal)
                if not ready and risk.page.get("checks"):
                    notify_ready({"units": risk.page.get("units")})
                    ready = True
            await asyncio.sleep(0 if moved else settings.risk.poll_ms / 1000)
    finally:
        risk.close()
        await link.close()


async def _await_journal(settings: Settings, stop: asyncio.Event) -> None:
    """Wait for the engine's head page: risk may start first."""
    head = settings.data_dir / "journal" / "head"
    deadline = time.monotonic() + _JOURNAL_PATIENCE_S
    while not head.exists() and not stop.is_set():
        if time.monotonic() > deadline:
            raise JournalError(f"{head}: no engine has run here; start one")
        await asyncio.sleep(0.05)
