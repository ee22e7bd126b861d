"""The whole demo, as a user starts it: it ends well, it stops at once, and its children may be killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.app.cli import ROOT, execute
from engine.app.demo import demo_settings
from engine.common.errors import SettingsError
from engine.common.settings import Settings
from engine.journal.recovery import JournalLock
from tests.patience import within

CHILDREN = ("devnet", "engine", "keeper", "relayer", "risk")
STOP_S = 2.0
END_S = 90.0


class Running:
    """A demo as a process of its own; what it says is read as it comes."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("GODARK_")}
        env |= {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "TMPDIR": str(directory)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "engine.app", "demo", *arguments],
            cwd=directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = [
            threading.Thread(target=into.extend, args=(pipe,), daemon=True)
            for into, pipe in ((self.out, self.process.stdout), (self.err, self.process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def children(self) -> dict[str, int]:
        """Name → process id of the group's processes that live now."""
        found = {}
        for text in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            command = Path(f"/proc/{text}/cmdline").read_bytes().split(b"\0")
            if b"engine.app" in command:
                found[command[command.index(b"engine.app") + 1].decode()] = int(text)
        return found

    def await_line(self, wanted: str, lines: list[str], timeout_s: float = 40.0) -> str:
        """The first line that the pattern `wanted` is found in."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for line in list(lines):
                if re.search(wanted, line):
                    return line
            assert self.process.poll() is None, "".join(self.err)
            time.sleep(0.02)
        raise AssertionError(f"no {wanted!r} in: {''.join(lines)}")

    def end(self) -> int:
        """Wait for the end; the exit status."""
        status = self.process.wait(END_S)
        for reader in self._readers:
            reader.join(5.0)
        return status


@contextmanager
def running(directory: Path, *arguments: str) -> Iterator[Running]:
    demo = Running(directory, *arguments)
    try:
        yield demo
    finally:
        if demo.process.poll() is None:
            demo.process.kill()
            demo.process.wait()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _report(demo: Running) -> dict[str, Any]:
    status = demo.end()
    assert status == 0, "".join(demo.err)
    assert len(demo.out) == 1, demo.out
    report: dict[str, Any] = orjson.loads(demo.out[0])
    return report


def _require_good(report: dict[str, Any]) -> None:
    assert report["checks"] == {"witness": True, "zero_sum": True, "cash": True, "order": True}
    assert report["ok"] is True
    assert report["booked"] == report["fills_in"] == report["log_size"] > 0
    # What risk proposed and had been dealt with by then. Everything else is booked.
    assert report["refused"] <= report["risk"]["candidates"]
    assert report["risk"]["units"] > 0 and report["risk"]["sweep_us"] > 0
    assert report["risk"]["insurance_e6"] > 0
    batches = report["batches"]
    assert batches["settled"] == batches["committed"] == batches["closed"] > 0
    assert report["tx_finalized"] > batches["closed"]
    assert report["tx_failed"] == 0


@pytest.mark.end_to_end
def test_a_demo_of_six_seconds_books_settles_and_leaves_nothing(tmp_path: Path) -> None:
    with running(tmp_path, "--seconds", "6", "--json") as demo:
        report = _report(demo)
    _require_good(report)
    assert 6 * 2000 * 0.5 < report["booked"] <= 6 * 2000 * 1.1
    assert report["batches"]["closed"] >= 5
    assert all(market["seconds_sampled"] >= 4 for market in report["markets"].values())
    assert {market["state"] for market in report["markets"].values()} == {"open"}
    assert report["restarts"] == dict.fromkeys(CHILDREN, 0)
    assert 0 < report["ack_p50_us"] <= report["ack_p99_us"]
    assert not list(tmp_path.glob("godark-*")), "the temporary directory is removed"


@pytest.mark.end_to_end
def test_each_child_may_be_killed_and_catches_up(tmp_path: Path) -> None:
    with running(tmp_path, "--seconds", "12", "--json") as demo:
        demo.await_line(r"batches [1-9]\d* closed", demo.err)
        for name in ("engine", "relayer", "risk", "devnet", "keeper"):
            before = demo.children()
            assert sorted(before) == sorted(CHILDREN)
            os.kill(before[name], signal.SIGKILL)
            deadline = time.monotonic() + 10
            while demo.children().get(name) in (None, before[name]):
                assert time.monotonic() < deadline, f"{name} did not come back"
                time.sleep(0.05)
            time.sleep(1.0)
        report = _report(demo)
    _require_good(report)
    assert report["restarts"] == dict.fromkeys(CHILDREN, 1)
    assert report["epoch"] == 2
    assert report["sent_again"] >= 1


@pytest.mark.end_to_end
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_within_two_seconds_with_one_line(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path) as demo:
        demo.await_line(r"batches [1-9]\d* closed", demo.out)
        pids = list(demo.children().values())
        assert len(pids) == len(CHILDREN)
        with within(STOP_S):
            demo.process.send_signal(number)
            assert demo.end() == 0
    assert not any(map(_alive, pids))
    assert "checks held" in demo.out[-1]
    assert not list(tmp_path.glob("godark-*"))


@pytest.mark.end_to_end
def test_a_signal_during_the_start_ends_it_too(tmp_path: Path) -> None:
    with running(tmp_path) as demo:
        deadline = time.monotonic() + 20
        while not demo.children():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        pids = list(demo.children().values())
        with within(STOP_S):
            demo.process.send_signal(signal.SIGINT)
            assert demo.end() == 0
    assert not any(map(_alive, pids))
    assert "before the demo began" in demo.err[-1]
    assert not list(tmp_path.glob("godark-*"))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("GODARK_")]:
        monkeypatch.delenv(name)
    return tmp_path


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_a_directory_with_something_in_it_is_refused(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    used = elsewhere / "used"
    used.mkdir()
    (used / "file").write_text("mine")
    assert execute(["demo", "--data-dir", str(used)]) == 2
    assert "not empty" in _said(capsys)
    assert [path.name for path in used.iterdir()] == ["file"]


@pytest.mark.parametrize("command", ["run", "demo"])
def test_a_directory_that_cannot_be_is_one_line(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (elsewhere / "file").write_text("")
    assert execute([command, "--data-dir", str(elsewhere / "file" / "below")]) == 2
    assert "not a directory" in _said(capsys)


def test_a_directory_another_engine_holds_is_one_line(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = JournalLock(elsewhere / "held" / "journal")
    try:
        assert execute(["run", "--data-dir", str(elsewhere / "held")]) == 3
    finally:
        lock.release()
    assert "another engine holds this journal" in _said(capsys)


@pytest.mark.parametrize(
    "wrong", [["--markets", "9"], ["--fills-per-second", "0"], ["--seconds", "0"], ["--second", "3"]]
)
def test_wrong_options_are_one_line(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], wrong: list[str]
) -> None:
    assert execute(["demo", *wrong]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert wrong[0] in said[0]


def test_settings_lie_below_the_directory_and_are_embedded(tmp_path: Path) -> None:
    given = Settings(
        data_dir=tmp_path / "other",
        relayer={"rpc_urls": ["http://node:8899"]},
        engine={"clock": "driver"},
        devnet={"slot_ms": 0},
    )
    made = demo_settings(given, tmp_path / "here")
    paths = [made.engine.socket, made.relayer.keyfile, made.relayer.page, made.devnet.data_dir]
    assert all(path.is_relative_to(tmp_path / "here") for path in paths)
    assert made.engine.clock == "live"
    assert made.relayer.rpc_urls == ()
    assert made.devnet.slot_ms == 200


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="too long"):
        demo_settings(Settings(data_dir=tmp_path), tmp_path / ("x" * 100))
