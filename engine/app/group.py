"""The process group on one machine: devnet, engine, keeper, relayer, risk, started in order and kept alive."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from urllib.parse import urlsplit

import click

from engine.app.options import settings_options
from engine.app.supervisor import ProcessSpec, ReadyInfo, Supervisor, python_command
from engine.common import logs
from engine.common.errors import ProcessFailed, SettingsError
from engine.common.settings import Settings
from engine.journal.head import HeadPage
from engine.journal.recovery import JournalLock
from engine.journal.segment import make_directory
from engine.risk.page import RiskPage
from relayer.chain.rpc import RpcClient
from relayer.page import RelayerPage
from relayer.signer.keyfile import KeyfileSigner

AIRDROP_LAMPORTS = 1_000 * 10**9
_ENOUGH_LAMPORTS = 100 * 10**9
_READY_S = 120.0
_SPARE = ("risk", "standby", "mirror")
"""Without these the engine goes on settling: nobody is liquidated, nobody takes over, or no one audits the log, until
they are back."""
_LOG_TAIL_BYTES = 8192
_ERROR_PREFIX = "godark: "


class Group:
    """Settings, supervisor and what the processes told when they became ready."""

    def __init__(self, settings: Settings, *, log_dir: Path | None = None) -> None:
        self.settings = settings
        self.supervisor = Supervisor(log_dir)
        self._log_dir = log_dir
        self._names: list[str] = []
        self.rpc_url = ""
        self.payer = ""

    async def start(self) -> None:
        """Start everything, each when those it needs are ready.

        ProcessFailed: one did not come up; JournalLocked: another engine uses the directory; SettingsError:
        the directory cannot be used.
        """
        claim(self.settings.data_dir)
        try:
            async with asyncio.TaskGroup() as tasks:
                if not self.settings.relayer.rpc_urls:
                    tasks.create_task(self._start_devnet())
                else:
                    self.rpc_url = self.settings.relayer.rpc_urls[0]
                for name in ("engine", "keeper"):
                    tasks.create_task(self._start(name))
            async with asyncio.TaskGroup() as tasks:
                relayer = tasks.create_task(self._start("relayer"))
                tasks.create_task(self._start("risk"))
        except BaseExceptionGroup as group:
            # The first to fail says why; the others were cancelled for it.
            raise group.exceptions[0] from group
        if self.settings.standby.enabled:
            await self._start("standby")
            self.supervisor.inherit("engine", "standby")
        if self.settings.relayer.mirror is not None:
            await self._start("mirror")
        self.payer = str(relayer.result()["payer"])

    async def _start(self, name: str) -> ReadyInfo:
        """Start one process. ProcessFailed brings what the process itself said, if that was kept."""
        self._names.append(name)
        try:
            return await self.supervisor.start(self._spec(name, self.settings))
        except ProcessFailed as error:
            said = _last_words(self._log_dir, name)
            if said is None:
                raise
            raise ProcessFailed(f"{name} did not start: {said}", name=name) from error

    def names(self) -> list[str]:
        """The processes of this group that were started, in order."""
        return list(self._names)

    async def _start_devnet(self) -> None:
        info = await self._start("devnet")
        self.rpc_url = str(info["url"])
        update = {"relayer": self.settings.relayer.model_copy(update={"rpc_urls": (self.rpc_url,)})}
        self.settings = self.settings.model_copy(update=update)
        await self._fund(KeyfileSigner.load_or_create(self.settings.relayer.keyfile))

    async def _fund(self, signer: KeyfileSigner) -> None:
        """Give the payer lamports of the embedded chain, which has no value."""
        payer = str(signer.public_key)
        async with RpcClient(self.rpc_url) as rpc:
            if await rpc.balance(payer) < _ENOUGH_LAMPORTS:
                await rpc.request_airdrop(payer, AIRDROP_LAMPORTS)

    def _spec(self, name: str, settings: Settings) -> ProcessSpec:
        return ProcessSpec(
            name, python_command(name), ready_timeout_s=_READY_S, env=settings.to_env(), spare=name in _SPARE
        )

    async def stop(self) -> None:
        """End every process, within two seconds."""
        await self.supervisor.stop()

    def head(self) -> HeadPage:
        """The engine's page."""
        return HeadPage(self.settings.data_dir / "journal" / "head")

    def relayer_page(self) -> RelayerPage:
        """The relayer's page."""
        return RelayerPage(self.settings.relayer.page)

    def risk_page(self) -> RiskPage:
        """The risk process's page; an empty one if it never came up."""
        path = self.settings.risk.page
        return RiskPage(path, create=not path.exists())


def claim(data_dir: Path) -> None:
    """Make the directory if need be, and see that no engine uses it. SettingsError, JournalLocked."""
    try:
        make_directory(data_dir / "journal")
        JournalLock(data_dir / "journal").release()
    except OSError as error:
        raise SettingsError(
            f"data_dir {data_dir}: {(error.strerror or str(error)).lower()};"
            " choose one you may write to with --data-dir"
        ) from error


def _last_words(log_dir: Path | None, name: str) -> str | None:
    """The line that a command ends with when it fails, from the process's log; None if there is none."""
    path = log_dir / f"{name}.log" if log_dir is not None else None
    if path is None or not path.exists():
        return None
    lines = path.read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", "replace").splitlines()
    said = [line.removeprefix(_ERROR_PREFIX) for line in lines if line.startswith(_ERROR_PREFIX)]
    return said[-1] if said else None


def stop_requested() -> asyncio.Event:
    """An event that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def until_stopped(group: Group, stop: asyncio.Event) -> None:
    """Wait for a stop, or for the group to fail (ProcessFailed)."""
    tasks = {asyncio.ensure_future(stop.wait()), asyncio.ensure_future(group.supervisor.wait())}
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*pending)
    for task in done:
        task.result()


@click.command(
    help="Run the group on one machine until Ctrl-C: engine, keeper, relayer, risk, embedded chain."
)
@click.option("--standby", is_flag=True, help="Also start a standby, which takes over when the engine dies.")
@settings_options
def command(settings: Settings, standby: bool) -> None:
    if standby:
        update = {"standby": settings.standby.model_copy(update={"enabled": True})}
        settings = settings.model_copy(update=update)
    logs.configure(settings.logs, process="run")
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    stop = stop_requested()
    group = Group(settings)
    starting = asyncio.ensure_future(group.start())
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            click.echo(places(group))
            await until_stopped(group, stop)
    finally:
        starting.cancel()
        stopping.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)
        await group.stop()


def places(group: Group) -> str:
    """Where to find a running group, a line each. An RPC node that is not ours is named by its host only."""
    settings = group.settings
    embedded = "devnet" in group.names()
    rows = [
        ("socket", str(settings.engine.socket)),
        ("tcp", settings.engine.tcp or ""),
        ("rpc", group.rpc_url if embedded else str(urlsplit(group.rpc_url).hostname)),
        ("payer", group.payer),
        ("data", str(settings.data_dir)),
    ]
    lines = [f"{name:<8}{value}" for name, value in rows if value]
    return "\n".join([*lines, "running; Ctrl-C ends it"])
