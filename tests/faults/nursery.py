"""Engines by the hundred: a process that has everything compiled, and forks one whenever it is asked.

What runs in the child is the command itself, `godark engine`, `keeper` or `standby`; only the start of the
interpreter and the loading of the kernels are not repeated. With the shim preloaded the child arms it with the
variables it was given, so that each one fails at a place of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from engine.common.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SHIM_SOURCE = Path(__file__).with_name("shim.c")
PATIENCE_S = 60.0
_MESSAGE_BYTES = 1 << 16


def build_shim(directory: Path) -> Path | None:
    """The preload library, compiled; None where there is no C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    out = directory / "shim.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", str(SHIM_SOURCE), "-o", str(out)], check=True, timeout=60
    )
    return out


class Child(NamedTuple):
    """A process that the nursery forked. `pidfd` is readable when it has ended."""

    nursery: Nursery
    pid: int
    pidfd: int
    ready_fd: int
    log: Path

    def ready(self, timeout_s: float = PATIENCE_S) -> dict[str, Any] | None:
        """What it says when it serves or, first, that it waits for something; None if it ended. TimeoutError."""
        if not select.select([self.ready_fd], [], [], timeout_s)[0]:
            raise TimeoutError(f"neither ready nor ended: {self.said()}")
        line = os.read(self.ready_fd, 4096)
        return orjson.loads(line) if line else None

    def serves(self) -> bool:
        """Wait until it serves, however long it waits for something itself; False if it ended. TimeoutError."""
        said = self.ready()
        while said is not None and "waiting" in said:
            said = self.ready()
        return said is not None

    def kill(self) -> None:
        """kill -9, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def ended(self) -> bool:
        """Whether it has."""
        return bool(select.select([self.pidfd], [], [], 0)[0])

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit status, or less the signal that ended it. TimeoutError."""
        if not select.select([self.pidfd], [], [], timeout_s)[0]:
            raise TimeoutError(f"still running: {self.said()}")
        os.close(self.pidfd)
        os.close(self.ready_fd)
        return int(self.nursery.ask({"wait": self.pid})["status"])

    def stop(self) -> int:
        """Kill it and wait."""
        self.kill()
        return self.wait()

    def said(self) -> str:
        """What it wrote to stdout and stderr."""
        return self.log.read_text()

    def rss_bytes(self) -> int:
        """Resident memory now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


class Nursery:
    """The forking process, and how to ask it. `shimmed`: its children can be armed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started = 0
        shim = build_shim(directory)
        self.shimmed = shim is not None
        env = {k: v for k, v in os.environ.items() if not k.startswith("GODARK_")}
        env |= {"PYTHONPATH": str(ROOT)} | ({"LD_PRELOAD": str(shim)} if shim else {})
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery", str(theirs.fileno())],
            cwd=ROOT, env=env, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL,
        )  # fmt: skip
        theirs.close()
        self._socket.settimeout(10 * PATIENCE_S)  # the first start on a machine compiles
        self.ask({"hello": True})

    def ask(self, request: Mapping[str, Any], fds: list[int] | None = None) -> dict[str, Any]:
        """One request, one answer."""
        data = orjson.dumps(dict(request))
        socket.send_fds(self._socket, [data], fds or [])
        answer = self._socket.recv(_MESSAGE_BYTES)
        assert answer, "the nursery has ended"
        value: dict[str, Any] = orjson.loads(answer)
        return value

    def start(
        self,
        settings: Settings,
        *,
        command: str = "engine",
        shim: Mapping[str, object] | None = None,
        plant: str = "",
    ) -> Child:
        """Fork a `godark COMMAND`. shim: GODARK_SHIM_ variables by what follows; plant: a bug of `PLANTS`."""
        self._started += 1
        log = self._directory / f"{command}{self._started}.log"
        log.touch()
        env = settings.to_env() | {f"GODARK_SHIM_{k.upper()}": str(v) for k, v in (shim or {}).items()}
        read_fd, write_fd = os.pipe()
        request = {"run": command, "env": env, "log": str(log), "plant": plant}
        pid = int(self.ask(request, [write_fd])["pid"])
        os.close(write_fd)
        return Child(self, pid, os.pidfd_open(pid), read_fd, log)

    def close(self) -> None:
        """End it, and with it all its children."""
        self._socket.close()
        try:
            self._process.wait(10)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()


def _plant_no_sync() -> None:
    os.fdatasync = lambda fd: None  # type: ignore[assignment]


def _plant_late_sync() -> None:
    """Acknowledge first: each sync of a segment happens when the next write begins."""
    sync, pwrite = os.fdatasync, os.pwrite
    owed: list[int] = []

    def later(fd: int) -> None:
        owed.append(fd)

    def write(fd: int, data: Any, offset: int) -> int:
        for old in owed:
            with contextlib.suppress(OSError):
                sync(old)
        owed.clear()
        return pwrite(fd, data, offset)

    os.fdatasync, os.pwrite = later, write  # type: ignore[assignment]


def _plant_no_directory_sync() -> None:
    sync = os.fsync

    def all_but_the_journal(fd: int) -> None:
        if os.path.basename(os.readlink(f"/proc/self/fd/{fd}")) != "journal":
            sync(fd)

    os.fsync = all_but_the_journal  # type: ignore[assignment]


def _plant_no_snapshot_sync() -> None:
    def all_but_snapshots(sync: Any) -> Any:
        return lambda fd: None if ".snap" in _name(fd) or _name(fd).endswith(".part") else sync(fd)

    def _name(fd: int) -> str:
        return os.readlink(f"/proc/self/fd/{fd}")

    os.fsync, os.fdatasync = all_but_snapshots(os.fsync), all_but_snapshots(os.fdatasync)


PLANTS = {
    "no sync": _plant_no_sync,
    "late sync": _plant_late_sync,
    "no directory sync": _plant_no_directory_sync,
    "no snapshot sync": _plant_no_snapshot_sync,
}
"""Bugs that a harness must find, as changes to what a child calls."""


def _die_with_parent(parent_pid: int) -> None:
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)


def _child(request: Mapping[str, Any], ready_fd: int, parent_pid: int) -> None:
    """The forked process: becomes the command. Never returns."""
    status = 1
    try:
        _die_with_parent(parent_pid)
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(request["env"], GODARK_READY_FD=str(ready_fd))
        if "LD_PRELOAD" in os.environ:
            ctypes.CDLL(None).shim_arm()
        if request["plant"]:
            PLANTS[request["plant"]]()
        from engine.app import cli

        status = cli.execute([request["run"]])
        sys.stderr.flush()
    finally:
        os._exit(status)


def _warm() -> None:
    """Import and compile what a child will want, so that its start is the command's own work only."""
    import uvloop  # noqa: F401

    from engine.app import cli, options, standby  # noqa: F401
    from engine.gateway import process
    from engine.gateway.warm import compile_all
    from engine.journal import keeper  # noqa: F401

    compile_all()
    process.compile_all = standby.compile_all = lambda: None


def _serve(channel: socket.socket) -> None:
    children: set[int] = set()
    while True:
        data, fds, _, _ = socket.recv_fds(channel, _MESSAGE_BYTES, 1)
        if not data:
            break
        request = orjson.loads(data)
        answer: dict[str, Any] = {}
        if "run" in request:
            parent_pid = os.getpid()
            pid = os.fork()
            if pid == 0:
                channel.close()
                _child(request, fds[0], parent_pid)
            os.close(fds[0])
            children.add(pid)
            answer = {"pid": pid}
        elif "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            children.discard(request["wait"])
            answer = {"status": os.waitstatus_to_exitcode(status)}
        channel.send(orjson.dumps(answer))
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    _warm()
    import gc

    gc.collect()
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))
