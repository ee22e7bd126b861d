"""`godark demo`: seeded order flow through the whole group on this machine, live in the terminal."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import click
import orjson
import uvloop
from rich.console import Console
from rich.live import Live

from engine.app import view
from engine.app.flow import SOURCES, OrderFlow
from engine.app.group import Group, claim, stop_requested
from engine.app.options import raw_settings_options
from engine.app.watch import Watcher, load_kernels
from engine.common import logs
from engine.common.errors import ChecksFailed, GodarkError, SettingsError, UsageError
from engine.common.logs import get_logger
from engine.common.sections import SOCKET_PATH_BYTES_MAX
from engine.common.settings import Settings, load_with_origins
from engine.gateway.client import EngineClient
from engine.venue.simulator import MARKETS_MAX, Simulator

_RATE_WINDOW_S = 2.0
_FOLD_S = 0.01
_SETTLE_POLL_S = 0.02
_SETTLE_STALL_S = 30.0
_CANCEL_S = 0.3
_SLOT_MS = 200
_SEGMENT_BYTES = 16 << 20
_ACCOUNTS = 40
"""Few enough that a second's net deltas fit the transactions that may wait for finality at one time."""
_DARING = 8
"""Accounts beside those that overreach and are liquidated."""


class Display(Protocol):
    """Where snapshots go. `period_s`: how often."""

    period_s: float

    def show(self, now: view.Snapshot) -> None:
        """Show the newest numbers."""


class Lines:
    """One plain line a second."""

    period_s = 1.0

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def show(self, now: view.Snapshot) -> None:
        print(view.line(now), file=self._stream, flush=True)


class Screen:
    """The live view on a terminal, drawn in place."""

    period_s = 0.2

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, now: view.Snapshot) -> None:
        size = self._live.console.size
        self._live.update(view.screen(now, size.width, size.height), refresh=True)


class Demo:
    """One demo: group, order flow, watcher, and how long each phase may take."""

    def __init__(self, settings: Settings, *, markets: int, fills_per_s: int, seconds: int | None) -> None:
        self._seconds = seconds
        self._simulator = Simulator(settings.venue.seed, markets=markets, accounts=_ACCOUNTS, daring=_DARING)
        self._fills_per_s = fills_per_s
        self._group = Group(settings, log_dir=settings.data_dir / "logs")
        self.begun = False
        self._title = f"demo: seeded orders of {_ACCOUNTS} accounts"
        self._began = time.monotonic()
        self._booked: deque[tuple[float, int]] = deque()
        self._watcher: Watcher | None = None
        self._flow: OrderFlow | None = None

    async def start(self) -> None:
        """Start the group and open the books."""
        await self._group.start()
        self._watcher = Watcher(self._group, self._simulator.markets)
        hear = self._simulator.hear
        client = EngineClient(self._group.settings.engine.socket, SOURCES, on_output=hear)
        self._flow = OrderFlow(self._simulator, client, self._fills_per_s)
        await self._flow.open(self._watcher.books_now_ns)
        self._began = time.monotonic()
        self.begun = True

    async def run(self, display: Display) -> None:
        """Show the flow, for so many seconds or until cancelled; after the seconds wait until all is settled."""
        assert self._flow is not None and self._watcher is not None
        lasting = [
            asyncio.create_task(self._fold(), name="fold"),
            asyncio.create_task(self._show(display), name="show"),
            asyncio.create_task(self._group.supervisor.wait(), name="supervisor"),
        ]
        try:
            await _before(lasting, self._flow.run(self._seconds))
            self._title = "demo: orders have ended, the rest is settling"
            lasting.append(asyncio.create_task(self._flow.quote(), name="quote"))
            await _before(lasting, self._settled())
        finally:
            await _cancelled(lasting)

    async def _fold(self) -> None:
        while True:
            await self._quiet()
            folded = self._watcher is not None and self._watcher.fold()
            await asyncio.sleep(0 if folded else _FOLD_S)

    async def _quiet(self) -> None:
        if self._flow is not None:
            await self._flow.quiet()

    async def _show(self, display: Display) -> None:
        while True:
            await self._quiet()
            display.show(self.snapshot())
            await asyncio.sleep(display.period_s)

    async def _settled(self) -> None:
        """Until every fill is in a settled batch. ChecksFailed: nothing moves any more."""
        assert self._watcher is not None
        last, since = self._watcher.progress(), time.monotonic()
        while self._watcher.unsettled():
            await asyncio.sleep(_SETTLE_POLL_S)
            if self._watcher.progress() != last:
                last, since = self._watcher.progress(), time.monotonic()
            if time.monotonic() - since > _SETTLE_STALL_S:
                raise ChecksFailed(f"settling stands still at batch {last[0]} for {_SETTLE_STALL_S:.0f} s")

    def snapshot(self, *, whole: bool = False) -> view.Snapshot:
        """The numbers now; `whole`: latencies and rate of the whole demo, not of its last seconds."""
        assert self._flow is not None and self._watcher is not None
        now_s, booked = time.monotonic(), self._watcher.booked
        self._booked.append((now_s, booked))
        while self._booked[0][0] < now_s - _RATE_WINDOW_S and len(self._booked) > 2:
            self._booked.popleft()
        since_s, before = (self._began, 0) if whole else self._booked[0]
        rate = round((booked - before) / (now_s - since_s)) if now_s > since_s else 0
        flow = self._flow.measured(rate, whole=whole)
        return self._watcher.snapshot(self._title, int(now_s - self._began), flow)

    @property
    def sent(self) -> int:
        """Fills sent and acknowledged."""
        return self._flow.sent if self._flow is not None else 0

    async def stop(self) -> None:
        """End everything, within two seconds."""
        if self._flow is not None:
            await self._flow.close()
        await self._group.stop()


async def _before(lasting: list[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
    """Do the work while the others last; raises what it or one of them raised."""
    doing = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait([doing, *lasting], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await _cancelled([doing])


async def _cancelled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and wait for their ends, but not for one that will not end: a stop must not hang on it."""
    for task in tasks:
        task.cancel()
    done, late = await asyncio.wait(tasks, timeout=_CANCEL_S)
    for task in done:
        if not task.cancelled():
            task.exception()  # what counts was raised already
    for task in late:
        get_logger().error("task_not_cancelled", name=task.get_name())


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work, or leave it when `stop` is set; True if it was done. Raises what it raised."""
    doing, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            doing.result()
            return True
        return False
    finally:
        await _cancelled([doing, stopping])


def demo_settings(settings: Settings, data_dir: Path) -> Settings:
    """Embedded defaults below `data_dir`: the engine ticks, slots pass by themselves.

    SettingsError: the path is too long for a socket.
    """
    socket = data_dir / "engine.sock"
    if len(os.fsencode(socket)) > SOCKET_PATH_BYTES_MAX:
        raise SettingsError(f"{data_dir}: too long for a socket's path; name a shorter one with --data-dir")
    engine = {"clock": "live", "socket": socket, "segment_bytes": _SEGMENT_BYTES}
    relayer = {
        "keyfile": data_dir / "relayer" / "key.json",
        "log_keyfile": data_dir / "relayer" / "log-key.json",
        "page": data_dir / "relayer" / "page",
        "rpc_urls": (),
    }
    risk = {"page": data_dir / "risk" / "page"}
    return settings.model_copy(
        update={
            "data_dir": data_dir,
            "risk": settings.risk.model_copy(update=risk),
            "engine": settings.engine.model_copy(update=engine),
            "devnet": settings.devnet.model_copy(
                update={"slot_ms": _SLOT_MS, "data_dir": data_dir / "devnet"}
            ),
            "relayer": settings.relayer.model_copy(update=relayer),
        }
    )


@contextmanager
def _display(as_json: bool, log: Path) -> Iterator[Display]:
    """The live view on a terminal; lines elsewhere, and on stderr where stdout is for the summary.

    While the view is up, what would be written across it goes to `log`.
    """
    console = Console()
    if as_json or not console.is_terminal or console.is_dumb_terminal:
        yield Lines(sys.stderr if as_json else sys.stdout)
        return
    kept = os.dup(2)
    if os.isatty(2):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab", buffering=0) as quiet:
            os.dup2(quiet.fileno(), 2)
    try:
        with Live(
            console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        ) as live:
            yield Screen(live)
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def _data_dir(chosen: Path | None) -> Iterator[Path]:
    """The directory asked for, which must be new or empty; else a temporary one, which a failure leaves."""
    if chosen is None:
        made = Path(tempfile.mkdtemp(prefix="godark-"))
        try:
            yield made
        except GodarkError:
            if made.exists():
                click.echo(f"godark: journal and logs are kept in {made}", err=True)
            raise
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        shutil.rmtree(made, ignore_errors=True)
        return
    try:
        used = chosen.exists() and any(chosen.iterdir())
    except OSError as error:
        raise SettingsError(f"{chosen}: {(error.strerror or str(error)).lower()}") from error
    if used:
        raise UsageError(f"{chosen}: not empty; a demo starts on empty books, name a new directory")
    yield chosen


async def _run(demo: Demo, as_json: bool, log: Path) -> view.Snapshot | None:
    """A whole demo. The numbers at its end, or None if it was stopped before it began."""
    stop = stop_requested()
    try:
        if not await _unless(stop, demo.start()):
            return None
        with _display(as_json, log) as display:
            await _unless(stop, demo.run(display))
        return demo.snapshot(whole=True)
    finally:
        await demo.stop()


@click.command(
    help="Simulated order flow through everything, live in the terminal, until Ctrl-C."
    " Without --data-dir it all lies in a temporary directory, removed at the end."
)
@click.option("--seconds", type=click.IntRange(1), help="Orders for so long, then wait until all is settled.")
@click.option(
    "--fills-per-second", default=2000, type=click.IntRange(1, 100_000), help="How much order flow [2000]."
)
@click.option("--markets", default=4, type=click.IntRange(1, MARKETS_MAX), help="How many markets [4].")
@click.option("--json", "as_json", is_flag=True, help="A summary as one JSON object on stdout, at the end.")
@raw_settings_options
def command(
    seconds: int | None,
    fills_per_second: int,
    markets: int,
    as_json: bool,
    config: Path | None,
    data_dir: Path | None,
    overrides: tuple[str, ...],
) -> None:
    settings, origins = load_with_origins(config, list(overrides), data_dir)
    logs.configure(settings.logs, process="demo")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without UTF-8 shows question marks
    try:
        with _data_dir(settings.data_dir if "data_dir" in origins else None) as chosen:
            _demo(demo_settings(settings, chosen), seconds, fills_per_second, markets, as_json)
    except KeyboardInterrupt:
        click.echo("godark: stopped before the demo began", err=True)


def _demo(settings: Settings, seconds: int | None, fills_per_s: int, markets: int, as_json: bool) -> None:
    """Run one demo and tell how it went. ChecksFailed: a check is false."""
    click.echo("godark: starting engine, relayer and embedded chain ...", err=True)
    claim(settings.data_dir)
    load_kernels()
    demo = Demo(settings, markets=markets, fills_per_s=fills_per_s, seconds=seconds)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            last = runner.run(_run(demo, as_json, settings.data_dir / "logs" / "demo.log"))
    except GodarkError:
        if not demo.begun:
            shutil.rmtree(settings.data_dir, ignore_errors=True)
        raise
    if last is None:
        raise KeyboardInterrupt
    if as_json:
        click.echo(orjson.dumps({"fills_in": demo.sent, **view.summary(last)}))
    else:
        click.echo(view.farewell(last))
    if not last.ok:
        bad = "; ".join(f"{check.name}: {check.detail}" for check in last.checks if not check.good)
        raise ChecksFailed(f"these checks are false: {bad}")
