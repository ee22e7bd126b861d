"""Whether the engine lives is told of its process, not of its number; hung only what had its chance."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.common.processes import start_ticks
from engine.journal.head import HeadPage
from engine.standby.watch import EngineWatch, Verdict

SECOND_NS = 10**9
HUNG_NS = 2 * SECOND_NS


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"])
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture
def head(tmp_path: Path) -> HeadPage:
    return HeadPage(tmp_path / "head", create=True)


def name(head: HeadPage, pid: int, started: int | None = None) -> None:
    head.row["pid_started"] = start_ticks(pid) if started is None else started
    head.row["pid"] = pid


def look_after(watch: EngineWatch, now_ns: int, seconds: float) -> Verdict:
    """The verdict so much later, looking ten times a second on the way."""
    for step in range(int(seconds * 10)):
        watch.look(now_ns + step * SECOND_NS // 10)
    return watch.look(now_ns + int(seconds * SECOND_NS))


def test_alive_then_dead(child: subprocess.Popen[bytes], head: HeadPage) -> None:
    name(head, child.pid)
    watch = EngineWatch(head, 0)
    assert watch.look(SECOND_NS) is Verdict.ALIVE
    child.kill()
    began = time.monotonic()
    watch.wait(10_000)
    assert time.monotonic() - began < 5, "its end was noticed"
    assert watch.look(2 * SECOND_NS) is Verdict.DEAD, "though nobody has reaped it yet"
    watch.close()


def test_no_process_or_another_of_that_number_is_dead(child: subprocess.Popen[bytes], head: HeadPage) -> None:
    watch = EngineWatch(head, HUNG_NS)
    assert watch.look(0) is Verdict.DEAD
    name(head, child.pid, start_ticks(child.pid) - 1)
    assert watch.look(1) is Verdict.DEAD
    assert watch.kill(0) and child.poll() is None, "and it is not killed"
    child.kill()
    child.wait()
    name(head, child.pid, 1)
    assert watch.look(2) is Verdict.DEAD


def test_a_new_engine_is_followed(child: subprocess.Popen[bytes], head: HeadPage) -> None:
    watch = EngineWatch(head, 0)
    assert watch.look(0) is Verdict.DEAD
    name(head, child.pid)
    assert watch.look(1) is Verdict.ALIVE
    name(head, os.getpid())
    child.kill()
    child.wait()
    assert watch.look(2) is Verdict.ALIVE
    watch.close()


def test_hung_when_its_heart_stands_still(child: subprocess.Popen[bytes], head: HeadPage) -> None:
    name(head, child.pid)
    watch = EngineWatch(head, HUNG_NS)
    start = 100 * SECOND_NS
    head.row["heartbeat_ns"] = start
    assert look_after(watch, start, 1.9) is Verdict.ALIVE
    assert watch.look(start + HUNG_NS + SECOND_NS // 10) is Verdict.HUNG
    head.row["heartbeat_ns"] = start + HUNG_NS
    assert watch.look(start + HUNG_NS + SECOND_NS // 5) is Verdict.ALIVE
    head.row["heartbeat_ns"] = 0
    assert look_after(EngineWatch(head, 0), start, 5) is Verdict.ALIVE, "0: never"


def test_a_standby_that_was_stopped_itself_gives_the_engine_its_time(
    child: subprocess.Popen[bytes], head: HeadPage
) -> None:
    name(head, child.pid)
    watch = EngineWatch(head, HUNG_NS)
    start = 100 * SECOND_NS
    head.row["heartbeat_ns"] = start
    watch.look(start)
    later = start + 60 * SECOND_NS  # the whole machine stood still
    assert watch.look(later) is Verdict.ALIVE
    assert look_after(watch, later, 1.9) is Verdict.ALIVE
    assert look_after(watch, later, 2.1) is Verdict.HUNG


def test_a_stopped_process_is_killed_and_awaited(child: subprocess.Popen[bytes], head: HeadPage) -> None:
    name(head, child.pid)
    watch = EngineWatch(head, HUNG_NS)
    assert watch.look(0) is Verdict.ALIVE
    os.kill(child.pid, signal.SIGSTOP)
    assert watch.kill(10_000)
    assert child.wait(5) == -signal.SIGKILL
    assert watch.look(1) is Verdict.DEAD


def test_start_ticks_tell_two_lives_apart(child: subprocess.Popen[bytes]) -> None:
    assert start_ticks(child.pid) >= start_ticks(os.getpid()) > 0
    child.kill()
    child.wait()
    assert start_ticks(child.pid) == -1
