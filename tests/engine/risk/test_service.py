"""The risk process: when it sweeps, how it numbers what it sends, and what its end and return change: nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.app.supervisor import python_command
from engine.common.errors import ConnectionLost, JournalError, SweepMismatch
from engine.common.settings import Settings
from engine.follower import Follower
from engine.gateway.client import EngineClient
from engine.journal import reader
from engine.journal.retention import unlink_segments
from engine.journal.snapshot import list_snapshots, position_of
from engine.risk import pace, service
from engine.risk.page import RiskPage
from engine.risk.proposals import Proposal
from engine.risk.service import Proposer, Risk, serve
from kernels.crc32c import seal_frames, words_of
from kernels.frames import CANDIDATE, FRAME, CandidateKind, SettingKind, Source, Template
from tests.engine.core.builders import PRICE, Script, array_of, genesis
from tests.engine.gateway.running import Running, run, running, settings_for, until
from tests.engine.journal.material import flow
from tests.relayer.journals import journal_with_snapshots

USDC = 10**6
MS = 10**6
ONE = [Proposal(CandidateKind.LIQUIDATE, 1, 0, 900_000)]


def under_water() -> Script:
    """Account 1 is long of ten lots of 30,000 USD at leverage 20, and the price has fallen by 4 %."""
    script = genesis(accounts=2, deposit_e6=16_000 * USDC)
    script.setting(1, SettingKind.LEVERAGE, 20)
    script.fill(2, 1, 10, PRICE)
    for feed in range(3):
        script.observe(PRICE * 96 // 100, feed=feed)
    script.seconds(1)
    return script


def frames_of(script: Script, start: int = 0) -> NDArray[np.void]:
    frames = array_of(script.frames[start:])
    seal_frames(words_of(frames), 0, len(frames))
    return frames


@asynccontextmanager
async def an_engine(data_dir: Path, script: Script) -> AsyncIterator[tuple[Running, EngineClient]]:
    """A served engine that has booked the script, and the client that drives it on."""
    async with running(settings_for(data_dir)) as held:
        sources = sorted({Source(source) for source in script.last_seq})
        client = EngineClient(held.settings.engine.socket, sources)
        await client.connect()
        await client.send(frames_of(script))
        await client.drain()
        try:
            yield held, client
        finally:
            await client.close()


def risk_settings(settings: Settings, **risk: int) -> Settings:
    return settings.model_copy(update={"risk": settings.risk.model_copy(update=risk)})


def candidates_in(settings: Settings) -> NDArray[np.void]:
    """CANDIDATE frames in the journal."""
    follower = Follower(settings.data_dir / "journal")
    parts = [np.zeros(0, FRAME)]
    while (followed := follower.poll()) is not None:
        parts.append(followed.frames[followed.frames["template"] == int(Template.CANDIDATE)].copy())
    follower.close()
    return np.concatenate(parts).view(CANDIDATE)


class Link:
    """An engine that takes what it is sent, or is away."""

    def __init__(self) -> None:
        self.acked = [0] * 16
        self.sent: list[int] = []
        self.last, self.away = 0, False

    async def connect(self) -> dict[int, int]:
        if self.away:
            raise ConnectionLost("away")
        self.acked[Source.RISK] = self.last
        return {Source.RISK: self.last}

    async def send(self, frames: NDArray[np.void]) -> None:
        if self.away:
            raise ConnectionLost("away")
        self.sent += frames["seq"].tolist()

    async def close(self) -> None:
        self.away = True


def test_it_goes_on_at_the_last_number_and_sends_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_AWAY_PAUSE_S", 0.0)
    link, page = Link(), RiskPage(tmp_path / "page", create=True)
    link.last = 7

    async def main() -> None:
        proposer = Proposer(link, page, most_unacked=3)
        await proposer.connect()
        assert await proposer.propose(ONE, 5) == 1
        assert await proposer.propose([], 5) == 0
        link.away = True
        assert await proposer.propose(ONE, 5) == 0  # notices that the engine is away
        assert await proposer.propose(ONE, 5) == 0  # and again, at the hello
        link.away, link.last = False, 7  # seq 8 had not become durable
        assert await proposer.propose(ONE * 2, 5) == 2
        assert await proposer.propose(ONE * 2, 5) == 2  # two unread, three are allowed
        assert await proposer.propose(ONE, 5) == 0  # four unread: dropped, not queued
        link.acked[Source.RISK] = 11
        assert await proposer.propose(ONE, 5) == 1

    asyncio.run(main())
    assert link.sent == [8, 8, 9, 10, 11, 12]
    assert (page.get("candidates"), page.get("unsent")) == (6, 1)


def test_when_it_sweeps(tmp_path: Path) -> None:
    async def main() -> None:
        script = under_water()
        async with an_engine(tmp_path, script) as (held, client):
            risk = Risk(held.settings)
            while risk.follow():
                assert risk.ordinal <= len(script.frames)
            assert risk.caught_up
            assert risk.due(100 * MS)
            (proposal,) = risk.sweep(1000 * MS)
            assert (proposal.account, proposal.market) == (1, 0)
            assert not risk.due(1099 * MS) and risk.due(1100 * MS)
            script.deposit(2, 1)
            await client.send(frames_of(script, len(script.frames) - 1))
            await client.drain()
            assert risk.follow() and not risk.due(1060 * MS), "new frames, but no new prices"
            script.seconds(1)
            await client.send(frames_of(script, len(script.frames) - 1))
            await client.drain()
            assert risk.follow() and not risk.due(1049 * MS) and risk.due(1050 * MS)
            risk.caught_up = False
            assert not risk.due(1399 * MS) and risk.due(1400 * MS)
            page = RiskPage(held.settings.risk.page)
            told = {name: page.get(name) for name in ("sweeps", "checks", "found", "faults", "anchors")}
            assert told == {"sweeps": 1, "checks": 1, "found": 1, "faults": 0, "anchors": 1}
            assert page.get("worst_e6") == proposal.ratio_e6 and page.get("ordinal") == len(script.frames) - 2
            risk.close()

    run(main)


def test_large_books_are_begun_in_turns_and_checked_in_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One unit a turn: two positions and three accounts, insurance among them. The page tells how far it is."""
    monkeypatch.setattr(pace, "LEAST_UNITS", 1)
    monkeypatch.setattr(pace, "FIRST_NS", 10**9)
    monkeypatch.setattr(pace.Pace, "took", lambda self, units, spent_ns: None)

    async def main() -> None:
        async with an_engine(tmp_path, under_water()) as (held, _):
            risk = Risk(held.settings)
            while risk.follow():
                continue
            told, proposed = [], []
            for k in range(1, 12):
                proposed.append(len(risk.sweep(k * 10**9)))
                told.append((risk.page.get("late"), risk.page.get("checks")))
            assert told[:9] == [(4, 0), (3, 0), (2, 0), (1, 0), (0, 0), (0, 0), (0, 1), (0, 1), (0, 1)]
            assert proposed == [1] * 11, (
                "the first slot is the one under water: found at once, never lost again"
            )
            risk.close()

    run(main)


def test_the_check_is_repeated_and_ends_the_process_when_it_fails(tmp_path: Path) -> None:
    async def main() -> None:
        async with an_engine(tmp_path, under_water()) as (held, _):
            risk = Risk(risk_settings(held.settings, check_s=1))
            while risk.follow():
                continue
            risk.sweep(10**9)
            assert risk.page.get("checks") == 1, "of everyone at the start"
            rounds = []
            for k in range(1, 11):
                risk.sweep(10**9 + k * 100 * MS)
                rounds.append(risk.page.get("checks"))
            # Few units: a tenth of them, rounded up, goes round sooner.
            assert rounds[0] == 1 and rounds[-1] >= 2
            risk._sweeper.rooms.slots[:] = 10**9
            with pytest.raises(SweepMismatch, match="only the full sweep marks slot 0 "):
                for k in range(11, 22):
                    risk.sweep(10**9 + k * 100 * MS)
            risk.close()

    run(main)


def test_candidates_reach_the_journal_again_and_again_while_the_account_is_under(tmp_path: Path) -> None:
    async def main() -> None:
        script = under_water()
        async with an_engine(tmp_path, script) as (held, _):
            settings = risk_settings(held.settings, sweep_ms=5)
            stop = asyncio.Event()
            link = EngineClient(settings.engine.socket, [Source.RISK], hints=True)
            serving = asyncio.ensure_future(serve(settings, link, stop))
            before = held.engine.machine.state.number("outputs")
            await until(lambda: held.engine.durable_seq(Source.RISK) >= 3)
            stop.set()
            await serving
            told = candidates_in(settings)
            assert {(int(r["account"]), int(r["market"]), int(r["kind"])) for r in told} == {(1, 0, 1)}
            assert told["seq"].tolist() == list(range(1, len(told) + 1))
            assert (told["seen_position"] >= len(script.frames)).all()
            # Two sweeps in a row may have seen the same frames, where the machine is busy.
            assert (np.diff(told["seen_position"]) >= 0).all()
            assert held.engine.machine.state.number("outputs") >= before

    run(main)


def test_without_an_engine_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_JOURNAL_PATIENCE_S", 0.0)
    with pytest.raises(JournalError, match="no engine has run here"):
        asyncio.run(serve(Settings(data_dir=tmp_path), Link(), asyncio.Event()))


def start(settings: Settings) -> subprocess.Popen[bytes]:
    return subprocess.Popen(python_command("risk"), env=os.environ | settings.to_env())


@pytest.mark.end_to_end
def test_killed_and_started_again_it_goes_on(tmp_path: Path) -> None:
    """Each life numbers on from what is durable, and what it says changes nothing that a replay would not."""

    async def main() -> None:
        async with an_engine(tmp_path, under_water()) as (held, _):
            settings = risk_settings(held.settings, sweep_ms=20)
            reached = 0
            for life in range(2):
                process = start(settings)
                try:
                    wanted = reached + 5
                    await until(lambda: held.engine.durable_seq(Source.RISK) >= wanted, 60.0)  # noqa: B023
                    assert RiskPage(settings.risk.page).get("pid") == process.pid
                finally:
                    process.send_signal(signal.SIGKILL if life < 1 else signal.SIGTERM)
                    status = process.wait(timeout=20)
                assert status == (-signal.SIGKILL if life < 1 else 0)
                with contextlib.suppress(TimeoutError):
                    await until(lambda: not held.engine._owners.get(Source.RISK), 1.0)
                reached = held.engine.durable_seq(Source.RISK)
            told = candidates_in(settings)
            assert told["seq"].tolist() == list(range(1, reached + 1))
            follower = Follower(settings.data_dir / "journal")
            while follower.poll() is not None:
                continue
            assert follower.machine.state.digest() == held.engine.digest()
            follower.close()

    run(main)


def test_risk_starts_from_a_snapshot_and_goes_on_from_one_where_its_place_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "AT_ONCE", 40)
    journal = journal_with_snapshots(tmp_path / "journal", flow(steps=24, fills=30), every=8)
    settings = Settings(data_dir=tmp_path)
    whole = Risk(settings)
    first, newest = (position_of(list_snapshots(journal)[k]) for k in (0, -1))
    assert whole._follower.position == newest
    while whole.follow():
        continue
    hidden = journal.rename(tmp_path / "hidden")
    journal.mkdir()
    for path in (*hidden.glob("*.seg"), hidden / "head"):
        path.rename(journal / path.name)
    late = Risk(settings)
    late._follower._head.row["durable"] = first
    while late.follow():
        continue
    late.sweep(1)
    (hidden / "snapshots").rename(journal / "snapshots")
    late._follower._reader.close()
    unlink_segments(journal, newest)
    late._follower._head.row["durable"] = whole._follower.position
    while late.follow():
        continue
    assert late._follower.jumps == 1 and late.ordinal == whole.ordinal
    assert late.sweep(10**12) == whole.sweep(10**12)
    late._sweeper.check(late._sweeper.sweep())
    late.close()
    whole.close()
