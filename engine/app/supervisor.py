"""Starts, watches and restarts the processes of a group, and ends them together.

A child is ready when it has written its ready line (`engine.common.ready`); one that says it waits for something
is given time anew, and its reason is told once. A child dies with the supervisor, is out of the reach of the
terminal's Ctrl-C (the supervisor alone decides), and never writes on the supervisor's stdout.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from engine.app.cli import ROOT
from engine.common.errors import ProcessFailed
from engine.common.logs import get_logger
from engine.common.ready import READY_BYTES_MAX, READY_FD, WAITING

BACKOFF_FIRST_S = 0.05
BACKOFF_MAX_S = 2.0
RESTARTS_MAX = 20
RESTARTS_WINDOW_S = 60.0
SPARE_PAUSE_S = 60.0
"""A process that others can do without is tried so often once it has used up its restarts."""
STOP_KILL_AFTER_S = 1.2
STOP_SHARE_S = 0.3  # how long one child may hold up the SIGTERM of the next
LOG_BYTES_MAX = 64 << 20

_UNKNOWN_CHILD = "Unknown child process pid"
"""What asyncio warns of when a start is cancelled: its transport has reaped the child before its watcher could."""

_WRAPPER = str(Path(__file__).with_name("die_with_parent.py"))

ReadyInfo = dict[str, Any]
RestartCallback = Callable[[str, int, ReadyInfo], None]


@dataclass(frozen=True)
class ProcessSpec:
    """What to run, and how long it may take until its ready line. `env` adds to the supervisor's own.

    spare: the others can do without it. It never ends the group, however often it fails.
    """

    name: str
    command: list[str]
    ready_timeout_s: float = 30.0
    env: Mapping[str, str] = field(default_factory=dict)
    spare: bool = False


# A spec may depend on what the child said when it was last ready (None at first): a port, once learned,
# is asked for again.
SpecSource = ProcessSpec | Callable[[ReadyInfo | None], ProcessSpec]


def python_command(*arguments: str) -> list[str]:
    """The command that runs `godark ARGUMENTS…` with this interpreter."""
    return [sys.executable, "-m", "engine.app", *arguments]


class _Child:
    """One supervised process over all its lives."""

    def __init__(self, name: str, source: SpecSource) -> None:
        self.name = name
        self.source = source
        self.process: asyncio.subprocess.Process | None = None
        self.ready: ReadyInfo | None = None
        self.restarted = 0
        self.failing = False
        self.ready_s = 0.0
        self.restart_times_s: deque[float] = deque(maxlen=RESTARTS_MAX)
        self.watcher: asyncio.Task[None] | None = None

    def spec(self) -> ProcessSpec:
        return self.source if isinstance(self.source, ProcessSpec) else self.source(self.ready)

    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def settled(self, now_s: float) -> bool:
        """Whether it lives and has for as long as restarts are counted."""
        return self.alive() and self.ready is not None and now_s - self.ready_s >= RESTARTS_WINDOW_S

    def send(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


def _is_worth_telling(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_UNKNOWN_CHILD)


class Supervisor:
    """Use from one event loop on the main thread: `start` in order, `wait`, then `stop`.

    `log_dir`: children's stderr goes to NAME.log there; None: to the supervisor's own stderr.
    `on_restart(name, restarts, ready_info)` is called after each restart, on the loop.
    """

    def __init__(self, log_dir: Path | None = None, on_restart: RestartCallback | None = None) -> None:
        logging.getLogger("asyncio").addFilter(_is_worth_telling)
        self._log_dir = log_dir
        self._on_restart = on_restart
        self._children: dict[str, _Child] = {}
        self._heirs: dict[str, str] = {}
        self._failed: asyncio.Future[None] | None = None
        self._stopping = False

    def inherit(self, name: str, heir: str) -> None:
        """From now on, when `name` ends while `heir` runs, `heir` has taken its place by itself.

        The running process then goes by the name `name`, and a new `heir` is started, not a second `name`.
        """
        self._child(name), self._child(heir)
        self._heirs[name] = heir

    def pid(self, name: str) -> int:
        """Process id of the current life. ProcessFailed: it is not running."""
        child = self._child(name)
        if child.process is None or child.process.returncode is not None:
            raise ProcessFailed(f"process {name} is not running", name=name)
        return child.process.pid

    def restarts(self, name: str) -> int:
        """How often it was restarted and became ready again."""
        return self._child(name).restarted

    def failing(self, name: str) -> bool:
        """Whether the group has to do without it: it failed too often, or never started, and is tried rarely.

        Until it has lived for as long as restarts are counted.
        """
        child = self._child(name)
        return child.failing and not child.settled(asyncio.get_running_loop().time())

    def ready_info(self, name: str) -> ReadyInfo:
        """What it last said when it was ready."""
        return dict(self._child(name).ready or {})

    async def start(self, source: SpecSource) -> ReadyInfo:
        """Start a process, wait for its ready line and return that; from then on it is kept alive.

        ProcessFailed: it ended, or did not become ready in time (it is killed then). A spare one is tried again
        later instead; it says nothing yet.
        """
        if self._failed is None:
            self._failed = asyncio.get_running_loop().create_future()
        spec = source if isinstance(source, ProcessSpec) else source(None)
        if self._stopping or spec.name in self._children:
            raise ProcessFailed(
                f"process {spec.name}: the group is stopping or already has it", name=spec.name
            )
        child = self._children[spec.name] = _Child(spec.name, source)
        try:
            ready = await self._launch(child)
        except ProcessFailed as error:
            if not spec.spare:
                del self._children[spec.name]
                raise
            self._do_without(child, error.line())
            ready = {}
        except BaseException:
            del self._children[spec.name]
            raise
        child.watcher = asyncio.create_task(self._keep_alive(child), name=f"keep {spec.name}")
        return dict(ready)

    async def wait(self) -> None:
        """Until a process cannot be kept alive any more (ProcessFailed) or `stop` was called."""
        if self._failed is not None:
            await asyncio.shield(self._failed)

    async def stop(self) -> None:
        """End all, last started first, within 1.5 s: SIGTERM to each in turn, at 1.2 s SIGKILL to the rest."""
        self._stopping = True
        loop = asyncio.get_running_loop()
        kill_at_s = loop.time() + STOP_KILL_AFTER_S
        children = list(reversed(self._children.values()))
        watchers = [child.watcher for child in children if child.watcher is not None]
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        for child in children:
            child.send(signal.SIGTERM)
            await _ended([child], min(STOP_SHARE_S, kill_at_s - loop.time()))
        await _ended(children, kill_at_s - loop.time())
        for child in children:
            if child.alive():
                get_logger().warning("process_killed", name=child.name, reason="did not end on SIGTERM")
                child.send(signal.SIGKILL)
        await _ended(children, STOP_SHARE_S)
        if self._failed is not None and not self._failed.done():
            self._failed.set_result(None)

    def _child(self, name: str) -> _Child:
        if name not in self._children:
            raise ProcessFailed(f"no process {name} in this group", name=name)
        return self._children[name]

    async def _launch(self, child: _Child) -> ReadyInfo:
        """One life up to its ready line; killed and reaped on any failure, cancellation included."""
        spec = child.spec()
        read_fd, write_fd = os.pipe()
        try:
            child.process = await self._spawn(spec, write_fd)
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        try:
            line = await _ready_line(read_fd, spec)
            if not line.endswith(b"\n"):
                raise ProcessFailed(f"process {spec.name} ended before it was ready", name=spec.name)
            child.ready = dict(orjson.loads(line))
            child.ready_s = asyncio.get_running_loop().time()
            return child.ready
        except BaseException as error:
            child.send(signal.SIGKILL)
            await child.process.wait()
            if isinstance(error, TimeoutError):
                message = f"process {spec.name} was not ready within {spec.ready_timeout_s:g} s"
                raise ProcessFailed(message, name=spec.name) from None
            if isinstance(error, ValueError | TypeError):
                raise ProcessFailed(
                    f"process {spec.name}: its ready line is not JSON", name=spec.name
                ) from None
            raise

    async def _spawn(self, spec: ProcessSpec, write_fd: int) -> asyncio.subprocess.Process:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        env = (
            os.environ
            | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
            | dict(spec.env)
            | {READY_FD: str(write_fd)}
        )
        wrapper = [sys.executable, "-I", "-S", _WRAPPER, str(os.getpid())]
        with self._log_file(spec.name) as log:
            return await asyncio.create_subprocess_exec(
                *wrapper,
                *spec.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                pass_fds=(write_fd,),
                start_new_session=True,
            )

    def _log_file(self, name: str) -> IO[bytes]:
        """Where a child's output goes; a log past its size is begun anew, the old one kept once."""
        if self._log_dir is None:
            return os.fdopen(os.dup(2), "wb", buffering=0)
        self._log_dir.mkdir(parents=True, exist_ok=True)
        path = self._log_dir / f"{name}.log"
        if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
            path.replace(path.with_suffix(".log.1"))
        return path.open("ab", buffering=0)

    async def _keep_alive(self, child: _Child) -> None:
        try:
            loop = asyncio.get_running_loop()
            while child.process is not None:
                since_s = loop.time()
                status = await child.process.wait()
                get_logger().warning("process_ended", name=child.name, status=status)
                child.failing &= loop.time() - since_s < RESTARTS_WINDOW_S
                self._pass_on(child)
                await self._restart(child)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if self._failed is not None and not self._failed.done():
                self._failed.set_exception(error)

    def _pass_on(self, child: _Child) -> None:
        """Let an heir that runs have the name of `child`, which has ended; `child` will be the next heir."""
        name = child.name
        heir = self._children.get(self._heirs.get(name, ""))
        if heir is None or heir.watcher is None or not heir.alive():
            return
        child.name, heir.name = heir.name, child.name
        child.source, heir.source = heir.source, child.source
        self._children[child.name], self._children[heir.name] = child, heir
        heir.restarted, child.restarted = child.restarted + 1, heir.restarted
        heir.failing = child.failing = False
        get_logger().warning("process_replaced", name=name, pid=self.pid(name))
        if self._on_restart is not None:
            self._on_restart(name, heir.restarted, dict(heir.ready or {}))

    def _do_without(self, child: _Child, reason: str) -> None:
        """Say loudly that the group goes on without a spare process."""
        child.failing = True
        get_logger().error("process_failing", name=child.name, reason=reason, again_s=SPARE_PAUSE_S)

    async def _restart(self, child: _Child) -> None:
        """Start it again until it is ready. ProcessFailed: more than 20 attempts within 60 s.

        The others go on without a spare one then. It is tried once a minute, until it has lived for one.
        """
        loop = asyncio.get_running_loop()
        times_s = child.restart_times_s
        while True:
            while times_s and times_s[0] < loop.time() - RESTARTS_WINDOW_S:
                times_s.popleft()
            if len(times_s) == RESTARTS_MAX and not child.failing:
                message = (
                    f"process {child.name} ended {RESTARTS_MAX + 1} times within {RESTARTS_WINDOW_S:g} s"
                )
                if not child.spec().spare:
                    raise ProcessFailed(message, name=child.name)
                self._do_without(child, message)
            pause_s = min(BACKOFF_FIRST_S * 2 ** len(times_s), BACKOFF_MAX_S)
            await asyncio.sleep(SPARE_PAUSE_S if child.failing else pause_s)
            times_s.append(loop.time())
            name = child.name
            try:
                ready = await self._launch(child)
            except ProcessFailed as error:
                get_logger().warning("restart_failed", name=child.name, reason=error.line())
                continue
            if child.name != name:
                return  # an heir that got its name while it started: that was told and counted then
            child.restarted += 1
            get_logger().info("process_restarted", name=child.name, restarts=child.restarted)
            if self._on_restart is not None:
                self._on_restart(child.name, child.restarted, dict(ready))
            return


async def _ended(children: list[_Child], timeout_s: float) -> None:
    """Wait until all have ended, at most `timeout_s`."""
    waits = [asyncio.ensure_future(c.process.wait()) for c in children if c.process is not None and c.alive()]
    if waits:
        _, late = await asyncio.wait(waits, timeout=max(timeout_s, 0.0))
        for wait in late:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def _ready_line(fd: int, spec: ProcessSpec) -> bytes:
    """The line a child says when it is ready, or what came before the end of the pipe `fd`, which is closed.

    TimeoutError: neither that nor a word of what it waits for came in time.
    """
    reader = asyncio.StreamReader(limit=READY_BYTES_MAX)
    pipe = os.fdopen(fd, "rb", buffering=0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    told = ""
    try:
        while True:
            async with asyncio.timeout(spec.ready_timeout_s):
                line = await reader.readline()
            reason = _waits_for(line)
            if reason is None:
                return line
            if reason != told:
                get_logger().warning("process_waiting", name=spec.name, reason=reason)
            told = reason
    finally:
        transport.close()


def _waits_for(line: bytes) -> str | None:
    """What a child waits for that has written `line`; None: it is ready, or wrote something else."""
    try:
        said = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return str(said[WAITING]) if isinstance(said, dict) and said.keys() == {WAITING} else None
