"""`godark replay FILE`: recorded trades through the whole group, and every check on what came out."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
import orjson
from numpy.typing import NDArray

from engine.app.group import Group, stop_requested
from engine.app.options import settings_options
from engine.app.supervisor import python_command
from engine.app.verify import require_ok, show
from engine.common import logs
from engine.common.errors import ChecksFailed, ProcessFailed, UsageError
from engine.common.settings import Settings
from engine.gateway.client import EngineClient
from engine.venue.recording import load
from engine.venue.stream import ReplayStream
from kernels.frames import Source, Template
from relayer.store import Store

SECOND_NS = 1_000_000_000
SOURCES = (Source.MATCHING, Source.CLOCK, Source.FEEDS, Source.CHAIN, Source.ADMIN)
_SEND_FRAMES = 8192
_STALL_S = 120.0
_SHOW_S = 0.5


class Progress:
    """One line on a terminal's stderr, or one line a phase elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self._tty = sys.stderr.isatty()
        self._quiet = quiet
        self._shown = ""

    def show(self, text: str, *, done: bool = False) -> None:
        """Replace the line; `done` keeps it."""
        if self._quiet or not (done or self._tty):
            return
        end = "\n" if done else ""
        lead = "\r\x1b[K" if self._tty else ""
        sys.stderr.write(f"{lead}godark: {text}{end}")
        sys.stderr.flush()


class Replay:
    """One replay: stream, group, and what was measured on the way."""

    def __init__(self, settings: Settings, stream: ReplayStream, speed: str, progress: Progress) -> None:
        self.settings, self.stream = settings, stream
        self.speed = speed
        self.progress = progress
        self.stages_ms: dict[str, int] = {}
        self.group = Group(settings, log_dir=settings.data_dir / "logs")
        self.digest = b""

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.stages_ms[name] = round((time.perf_counter() - began) * 1000)

    async def run(self) -> dict[str, Any]:
        """Start the group, replay, wait for finality, verify in a fresh process, stop. The report."""
        try:
            with self._stage("start"):
                self.progress.show("starting engine, relayer and embedded chain")
                await self.group.start()
            with self._stage("ingest"):
                await self._unless_failed(self._drive())
            with self._stage("settle"):
                await self._unless_failed(self._settle())
            with self._stage("verify"):
                self.progress.show("verifying in a fresh process: journal, books, chain")
                report = await self._verify()
        finally:
            with self._stage("stop"):
                await self.group.stop()
        report["stages_ms"] = self.stages_ms
        return report

    async def _unless_failed(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`; ProcessFailed at once if a process of the group cannot be kept alive meanwhile."""
        tasks = [asyncio.ensure_future(work), asyncio.ensure_future(self.group.supervisor.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _drive(self) -> None:
        client = EngineClient(self.settings.engine.socket, SOURCES)
        await client.connect()
        self._client = client
        total, sent = self.stream.totals.frames, 0
        shown = 0.0
        for frames in self._frames():
            for k in range(0, len(frames), _SEND_FRAMES):
                await client.send(frames[k : k + _SEND_FRAMES])
            sent += len(frames)
            if time.monotonic() - shown > _SHOW_S:
                shown = time.monotonic()
                self.progress.show(f"replaying {sent:,} of {total:,} frames")
            await self._pace(frames)
        await client.drain()
        self.progress.show(
            f"replayed {self.stream.totals.fills:,} fills in {total:,} frames, all acknowledged", done=True
        )

    def _frames(self) -> Iterator[NDArray[np.void]]:
        yield self.stream.genesis()
        if self.speed == "max":
            yield from self.stream.chunks()
            return
        for chunk in self.stream.chunks():
            ticks = np.flatnonzero(chunk["template"] == int(Template.TICK))
            start = 0
            for tick in ticks:
                yield chunk[start : tick + 1]
                start = int(tick) + 1
            yield chunk[start:]

    async def _pace(self, frames: NDArray[np.void]) -> None:
        """At speed 1 or 10 a replayed second takes a second, or a tenth of one."""
        if self.speed == "max" or not len(frames) or frames[-1]["template"] != int(Template.TICK):
            return
        self._due = getattr(self, "_due", time.monotonic()) + 1 / int(self.speed)
        await asyncio.sleep(max(0.0, self._due - time.monotonic()))

    async def _settle(self) -> None:
        """Wait until every batch is finalized and the engine has been told. A stall is an error."""
        page, head = self.group.relayer_page(), self.group.head()
        last, since = (-1, -1), time.monotonic()
        while True:
            batches, settled = page.get("batches"), page.get("settled")
            caught_up = page.get("position") >= head.get("durable")
            if caught_up and batches == settled == head.get("settled_batch"):
                break
            mark = (page.get("tx_finalized"), page.get("position"))
            if mark != last:
                last, since = mark, time.monotonic()
            if time.monotonic() - since > _STALL_S:
                raise ProcessFailed(
                    f"settling stands still at batch {settled} of {batches} for {_STALL_S:.0f} s"
                )
            self.progress.show(
                f"settling batch {settled:,} of {batches:,}; {page.get('tx_finalized'):,} transactions finalized"
            )
            await asyncio.sleep(0.02)
        self.progress.show(
            f"settled {settled:,} batches, {page.get('tx_finalized'):,} transactions", done=True
        )
        self.digest = (await self._client.status()).digest
        await self._client.close()

    async def _verify(self) -> dict[str, Any]:
        head = self.group.head()
        arguments = ["verify", "--json", "--rpc", self.group.rpc_url]
        arguments += ["--digest", self.digest.hex(), "--payer", self.group.payer]
        process = await asyncio.create_subprocess_exec(
            *python_command(*arguments),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **self.group.settings.to_env()},
        )
        try:
            out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode not in (0, ChecksFailed.exit_code):
            raise ProcessFailed(f"the verifier ended with status {process.returncode}")
        report: dict[str, Any] = orjson.loads(out)
        report["fills_in"] = self.stream.totals.fills
        report["duplicate"] = head.get("duplicates")
        report["tx_sent"] = self._signed()
        report["restarts"] = {n: self.group.supervisor.restarts(n) for n in ("engine", "relayer", "devnet")}
        return report

    def _signed(self) -> int:
        """Transactions signed over all lives of the relayer; its page counts only the present one's."""
        store = Store(self.settings.data_dir / "relayer" / "store.sqlite")
        try:
            return store.total_signatures()
        finally:
            store.close()


def replay_settings(settings: Settings, data_dir: Path) -> Settings:
    """Settings of a replay: the driver ticks, slots pass on demand, polls do not wait."""
    engine = settings.engine.model_copy(update={"clock": "driver", "socket": data_dir / "engine.sock"})
    devnet = settings.devnet.model_copy(update={"slot_ms": 0, "data_dir": data_dir / "devnet"})
    relayer = settings.relayer.model_copy(
        update={
            "rpc_poll_ms": 0,
            "keyfile": data_dir / "relayer" / "key.json",
            "log_keyfile": data_dir / "relayer" / "log-key.json",
            "page": data_dir / "relayer" / "page",
            "rpc_urls": (),
        }
    )
    risk = settings.risk.model_copy(update={"page": data_dir / "risk" / "page"})
    return settings.model_copy(
        update={"data_dir": data_dir, "engine": engine, "devnet": devnet, "relayer": relayer, "risk": risk}
    )


@click.command(
    help="Replay recorded trades through engine, relayer and an embedded chain, and check everything."
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--batch-window", "window_s", default=60, type=click.IntRange(1, 3600), help="Seconds a batch spans [60]."
)
@click.option("--hours", type=click.IntRange(min=1), help="Only the busiest so many hours in a row [all].")
@click.option(
    "--speed", type=click.Choice(["1", "10", "max"]), default="max", help="Replayed seconds a second [max]."
)
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON object on stdout.")
@settings_options
def command(
    file: Path, window_s: int, hours: int | None, speed: str, as_json: bool, settings: Settings
) -> None:
    logs.configure(settings.logs, process="replay")
    progress = Progress(quiet=False)
    chosen = _chosen_dir(settings)
    recording = load(file, seed=settings.venue.seed)
    stream = ReplayStream(
        recording, seed=settings.venue.seed, hours=hours, batch_window_ns=window_s * SECOND_NS
    )
    for remark in recording.remarks:
        progress.show(remark, done=True)
    with _data_dir(chosen) as data_dir:
        replay = Replay(replay_settings(settings, data_dir), stream, speed, progress)
        report = asyncio.run(_guarded(replay))
    show(report, as_json)
    require_ok(report)


def _chosen_dir(settings: Settings) -> Path | None:
    """The data directory somebody named, None for a temporary one. UsageError: it is in use."""
    chosen = settings.data_dir
    named = click.get_current_context().params.get("data_dir") is not None
    if not named and chosen == Path("data").absolute():
        return None
    if chosen.exists() and (not chosen.is_dir() or any(chosen.iterdir())):
        raise UsageError(f"{chosen}: not empty; a replay starts on empty books, name a new directory")
    return chosen


@contextmanager
def _data_dir(chosen: Path | None) -> Iterator[Path]:
    """The directory chosen, made if need be; or a temporary one, removed at the end."""
    if chosen is not None:
        yield chosen
        return
    made = Path(tempfile.mkdtemp(prefix="godark-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


async def _guarded(replay: Replay) -> dict[str, Any]:
    """Run, or stop the group on a signal."""
    stop = asyncio.ensure_future(stop_requested().wait())
    run = asyncio.ensure_future(replay.run())
    try:
        await asyncio.wait({run, stop}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.cancel()
    if not run.done():
        run.cancel()
        try:
            await run
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
    return run.result()
