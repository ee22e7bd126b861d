"""`godark` commands as processes of their own: in a directory of their own, and never left behind.

Every process started from here inherits one environment variable, by which it and all its children are found
again in /proc, whatever sessions they have put themselves into.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("GODARK_SHARED", ROOT.parent / "shared"))
SEGMENT_BYTES = 1 << 20
"""Small, so that a replay crosses many segments and little is zeroed ahead."""
_MARK = "END_TO_END_ROOM"


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    status: int
    out: str
    err: str
    seconds: float

    def report(self) -> dict[str, Any]:
        """The one JSON object on stdout; what stderr said if there is none."""
        assert self.out.count("\n") == 1, (self.status, self.out, self.err)
        value = orjson.loads(self.out)
        assert isinstance(value, dict)
        return value


class Command:
    """A command that runs."""

    def __init__(self, room: Room, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.room, self.process = room, process
        self._out, self._err = out, err
        self._began_s = time.monotonic()

    def wait(self, timeout_s: float = 90.0) -> Result:
        """Its end. AssertionError: it has not come; what it said is shown."""
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout_s} s: {self._err.read_text()}") from None
        seconds = time.monotonic() - self._began_s
        return Result(status, self._out.read_text(), self._err.read_text(), seconds)

    def pid_of(self, name: str) -> int | None:
        """Process id of a member of its group, by the name of its command."""
        return next((pid for pid, line in self.room.alive().items() if line[-1:] == [name]), None)

    def until(self, seen: Callable[[], Any], every_s: float = 0.05, timeout_s: float = 60.0) -> Any:
        """What `seen` gives as soon as it is true. AssertionError: the command ended, or it took too long."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            with contextlib.suppress(FileNotFoundError):
                if value := seen():
                    return value
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode}: {self._err.read_text()}")
            time.sleep(every_s)
        raise AssertionError(f"not seen within {timeout_s} s: {self._err.read_text()}")


class Room:
    """A working directory with a directory for temporary files, and what was started in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = path / "tmp"
        self.temporary.mkdir()
        self._mark = f"{_MARK}={uuid.uuid4().hex}"
        self._count = 0

    def start(self, *arguments: object) -> Command:
        """Start `godark ARGUMENTS…` with stdout and stderr in files, as another program would."""
        self._count += 1
        out, err = self.path / f"out{self._count}", self.path / f"err{self._count}"
        clean = {k: v for k, v in os.environ.items() if not k.startswith("GODARK_")}
        name, _, value = self._mark.partition("=")
        clean |= {name: value, "TMPDIR": str(self.temporary), "PYTHONPATH": str(ROOT)}
        clean["GODARK_ENGINE__SEGMENT_BYTES"] = str(SEGMENT_BYTES)
        with out.open("wb") as to, err.open("wb") as to_err:
            process = subprocess.Popen(
                [sys.executable, "-m", "engine.app", *map(str, arguments)],
                cwd=self.path, env=clean, stdin=subprocess.DEVNULL, stdout=to, stderr=to_err,
                start_new_session=True,
            )  # fmt: skip
        return Command(self, process, out, err)

    def run(self, *arguments: object, timeout_s: float = 90.0) -> Result:
        """Run to the end."""
        return self.start(*arguments).wait(timeout_s)

    def alive(self) -> dict[int, list[str]]:
        """Command lines of all processes of this room, by process id."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            with contextlib.suppress(OSError):
                if self._mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    line = (entry / "cmdline").read_bytes().decode().split("\0")[:-1]
                    found[int(entry.name)] = line
        return found

    def left(self) -> list[str]:
        """Temporary files that were not removed, and files in the working directory that we did not make."""
        ours = {self.temporary.name} | {
            f"{kind}{k + 1}" for kind in ("out", "err") for k in range(self._count)
        }
        return [p.name for p in [*self.temporary.iterdir(), *self.path.iterdir()] if p.name not in ours]

    def close(self) -> list[list[str]]:
        """End what is still there; returns its command lines. Ending it is not what is tested."""
        left = self.alive()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return list(left.values())


@contextlib.contextmanager
def room() -> Iterator[Room]:
    """A room with a short path (a socket's path has at most 107 bytes), empty of processes at the end."""
    path = Path(tempfile.mkdtemp(prefix="gd-"))
    made = Room(path)
    try:
        yield made
    finally:
        left = made.close()
        shutil.rmtree(path, ignore_errors=True)
    assert left == [], "processes were left behind"


def recorded(name: str) -> Path:
    """A recorded file, or a visible skip."""
    path = SHARED / "data" / "market" / name
    if not path.exists():
        pytest.skip(f"{path} is absent: set GODARK_SHARED to replay recorded trades")
    return path
