"""Tiny children under a real supervisor: readiness, restart, stopping, and no orphans."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvloop

from engine.app import supervisor as subject
from engine.app.supervisor import ProcessSpec, ReadyInfo, Supervisor
from engine.common.errors import ProcessFailed
from tests.patience import within

ROOT = Path(__file__).resolve().parents[3]

SAY_READY = """
import os, signal, sys, time
fd = int(os.environ["GODARK_READY_FD"])
os.write(fd, b'{"pid": %d, "port": %s}\\n' % (os.getpid(), sys.argv[1].encode()))
os.close(fd)
"""
SLEEPER = SAY_READY + "time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + SAY_READY + "time.sleep(60)"


def _spec(name: str, code: str, *args: str, timeout_s: float = 10.0) -> ProcessSpec:
    return ProcessSpec(name, [sys.executable, "-I", "-S", "-c", code, *(args or ("1",))], timeout_s)


def _run(main: Coroutine[Any, Any, None], loop_factory: Callable[[], Any] | None = None) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(main, 30)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(bounded())


def _gone(pid: int) -> bool:
    """True if no process has this id, or only a zombie nobody has reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _wait_until(condition: Callable[[], bool], timeout_s: float = 5.0) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("loop_factory", [None, uvloop.new_event_loop])
def test_a_killed_child_is_restarted_with_what_it_learned(
    loop_factory: Callable[[], Any] | None, tmp_path: Path
) -> None:
    seen: list[tuple[str, int, ReadyInfo]] = []

    def spec(before: ReadyInfo | None) -> ProcessSpec:
        return _spec("chain", SLEEPER, "4711" if before is None else str(before["port"] + 1))

    async def main() -> None:
        restarted = asyncio.Event()

        def on_restart(name: str, count: int, info: ReadyInfo) -> None:
            seen.append((name, count, info))
            restarted.set()

        group = Supervisor(tmp_path, on_restart)
        first = await group.start(spec)
        assert first == {"pid": group.pid("chain"), "port": 4711}
        for _ in range(2):
            restarted.clear()
            os.kill(group.pid("chain"), signal.SIGKILL)
            await restarted.wait()
        assert group.restarts("chain") == 2
        assert group.ready_info("chain") == {"pid": group.pid("chain"), "port": 4713}
        await group.stop()
        assert all(_gone(info["pid"]) for _, _, info in seen)

    _run(main(), loop_factory)
    assert [(name, count, info["port"]) for name, count, info in seen] == [
        ("chain", 1, 4712),
        ("chain", 2, 4713),
    ]


def test_an_heir_takes_the_name_and_a_new_heir_is_started(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []

    async def main() -> None:
        restarted = asyncio.Event()

        def on_restart(name: str, count: int, info: ReadyInfo) -> None:
            seen.append((name, count))
            if name == "standby":
                restarted.set()

        group = Supervisor(tmp_path, on_restart)
        await group.start(_spec("engine", SLEEPER))
        await group.start(_spec("standby", SLEEPER))
        group.inherit("engine", "standby")
        pids = [group.pid("engine"), group.pid("standby")]
        for _ in range(2):
            restarted.clear()
            os.kill(group.pid("engine"), signal.SIGKILL)
            await restarted.wait()
            pids.append(group.pid("standby"))
            assert group.pid("engine") == pids[-2], "the heir goes by its name now"
        assert len(set(pids)) == 4 and all(_gone(pid) for pid in pids[:2])
        assert (group.restarts("engine"), group.restarts("standby")) == (2, 2)

        # The heir is the first to end: it is started again, and nothing else happens.
        restarted.clear()
        os.kill(group.pid("standby"), signal.SIGKILL)
        await restarted.wait()
        assert group.pid("engine") == pids[2] and group.restarts("engine") == 2
        await group.stop()
        assert _gone(group._children["engine"].process.pid)  # type: ignore[union-attr]

    _run(main())
    assert seen == [("engine", 1), ("standby", 1), ("engine", 2), ("standby", 2), ("standby", 3)]


def test_an_heir_that_is_not_ready_yet_inherits_too_and_is_counted_once(tmp_path: Path) -> None:
    slow = (
        "import os, sys, time\ntime.sleep(0.6 * os.path.exists(sys.argv[2]))\nopen(sys.argv[2], 'w')\n"
        + SLEEPER
    )

    async def main() -> None:
        group = Supervisor(tmp_path)
        await group.start(_spec("engine", SLEEPER))
        await group.start(_spec("standby", slow, "1", str(tmp_path / "second")))
        group.inherit("engine", "standby")
        first = group.pid("standby")
        os.kill(first, signal.SIGKILL)
        while True:
            await asyncio.sleep(0.01)
            with contextlib.suppress(ProcessFailed):
                if group.pid("standby") != first:
                    break
        second = group.pid("standby")
        os.kill(group.pid("engine"), signal.SIGKILL)
        while group.restarts("standby") < 1:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.7)
        assert group.pid("engine") == second
        assert (group.restarts("engine"), group.restarts("standby")) == (1, 1)
        await group.stop()

    _run(main())


def test_without_a_living_heir_the_process_itself_is_started_again(tmp_path: Path) -> None:
    async def main() -> None:
        group = Supervisor(tmp_path)
        await group.start(_spec("engine", SLEEPER))
        await group.start(_spec("standby", SLEEPER))
        group.inherit("engine", "standby")
        first = {name: group.pid(name) for name in ("engine", "standby")}
        for name in ("standby", "engine"):
            os.kill(first[name], signal.SIGKILL)
        while group.restarts("engine") + group.restarts("standby") < 2:
            await asyncio.sleep(0.01)
        assert {group.pid(name) for name in first} & set(first.values()) == set()
        with pytest.raises(ProcessFailed, match="no process relayer"):
            group.inherit("engine", "relayer")
        await group.stop()

    _run(main())


def test_stop_ends_in_reverse_order_within_two_seconds_though_one_ignores_sigterm(tmp_path: Path) -> None:
    trace = tmp_path / "ended"
    note = (
        SAY_READY + "def end(*_):\n open(sys.argv[2], 'a').write(sys.argv[3] + ' '); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\ntime.sleep(60)"
    )

    async def main() -> None:
        group = Supervisor()
        await group.start(_spec("a", note, "1", str(trace), "a"))
        await group.start(_spec("b", note, "1", str(trace), "b"))
        await group.start(_spec("stubborn", STUBBORN))
        pids = [group.pid(name) for name in ("a", "b", "stubborn")]
        with within(2):
            await group.stop()
        assert all(_gone(pid) for pid in pids)
        await asyncio.wait_for(group.wait(), 1)

    _run(main())
    assert trace.read_text() == "b a "


def test_no_orphans_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    script = f"""
import asyncio, sys
from engine.app.supervisor import ProcessSpec, Supervisor
async def main():
    group = Supervisor()
    for name in ("one", "two"):
        await group.start(ProcessSpec(name, [sys.executable, "-I", "-S", "-c", {STUBBORN!r}, "1"], 10.0))
    print(group.pid("one"), group.pid("two"), flush=True)
    await group.wait()
asyncio.run(main())
"""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=env, text=True)
    try:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert not any(_gone(pid) for pid in pids)
    finally:
        parent.kill()
        parent.communicate(timeout=10)
    assert _wait_until(lambda: all(_gone(pid) for pid in pids))


def test_a_child_that_ends_or_stays_silent_is_not_ready(tmp_path: Path) -> None:
    async def main() -> None:
        group = Supervisor(tmp_path)
        with pytest.raises(ProcessFailed, match="gone ended before it was ready"):
            await group.start(_spec("gone", "raise SystemExit(3)"))
        with pytest.raises(ProcessFailed, match="missing ended before it was ready"):
            await group.start(ProcessSpec("missing", ["/no/such/program"], 10.0))
        with pytest.raises(ProcessFailed, match=r"silent was not ready within 0\.5 s"):
            await group.start(_spec("silent", "import time; time.sleep(60)", timeout_s=0.5))
        with pytest.raises(ProcessFailed, match="garbled: its ready line is not JSON"):
            await group.start(_spec("garbled", SLEEPER, "x"))
        with pytest.raises(ProcessFailed, match="no process silent"):
            group.pid("silent")
        await group.stop()

    _run(main())
    assert "/no/such/program: No such file" in (tmp_path / "missing.log").read_text()


def test_a_child_that_says_it_waits_is_given_time_and_told_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    waiter = (
        "import os, time\nfor _ in range(6):\n"
        " os.write(int(os.environ['GODARK_READY_FD']), b'{\"waiting\":\"no room\"}\\n'); time.sleep(0.3)\n"
        + SLEEPER
    )

    async def main() -> None:
        group = Supervisor(tmp_path)
        began_s = time.monotonic()
        ready = await group.start(_spec("waiter", waiter, timeout_s=1.0))
        assert time.monotonic() - began_s > 1.5 and ready["pid"] == group.pid("waiter")
        await group.stop()

    _run(main())
    told = capfd.readouterr()
    assert (told.out + told.err).count("process_waiting") == 1


def test_a_child_that_keeps_ending_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(subject, "BACKOFF_MAX_S", 0.01)

    async def main() -> None:
        group = Supervisor(tmp_path)
        await group.start(_spec("brief", SAY_READY))
        with pytest.raises(ProcessFailed, match="brief ended 21 times within 60 s"):
            await group.wait()
        assert group.restarts("brief") == 20
        await group.stop()

    _run(main())


@pytest.mark.parametrize("code", [SAY_READY, "pass"])
def test_the_others_go_on_without_a_spare_one_that_keeps_ending(
    code: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It may end after each start, or never come up: the group stays, says so, and tries rarely."""
    said: list[str] = []
    do_without = Supervisor._do_without
    monkeypatch.setattr(
        Supervisor, "_do_without", lambda *given: (said.append(given[1].name), do_without(*given))[1]
    )
    monkeypatch.setattr(subject, "BACKOFF_MAX_S", 0.01)
    monkeypatch.setattr(subject, "SPARE_PAUSE_S", 0.3)

    async def main() -> None:
        group = Supervisor(tmp_path)
        await group.start(_spec("engine", SLEEPER))
        await group.start(replace(_spec("risk", code), spare=True))
        waiting = asyncio.ensure_future(group.wait())
        while not group.failing("risk"):
            await asyncio.sleep(0.01)
        tried = group._child("risk").restart_times_s
        before = (len(tried), tried[-1] if tried else 0.0)
        for _ in range(2):
            while (len(tried), tried[-1] if tried else 0.0) == before:
                await asyncio.sleep(0.01)
            assert tried[-1] - before[1] >= 0.3 or not before[0]
            before = (len(tried), tried[-1])
        assert not waiting.done() and not group.failing("engine")
        assert group.pid("engine") == group.ready_info("engine")["pid"]
        await group.stop()
        await waiting

    _run(main())
    assert said == ["risk"]


def test_a_spare_one_that_lives_again_is_no_longer_failing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in (("SPARE_PAUSE_S", 0.01), ("RESTARTS_WINDOW_S", 0.2)):
        monkeypatch.setattr(subject, name, value)
    # The first life never comes up.
    mark = tmp_path / "been"
    code = f"import pathlib, sys\nbeen = pathlib.Path({str(mark)!r})\n"
    code += "if not been.exists(): been.touch(); sys.exit(1)\n"

    async def main() -> None:
        group = Supervisor(tmp_path)
        assert await group.start(replace(_spec("risk", code + SLEEPER), spare=True)) == {}
        assert group.failing("risk")
        while group.failing("risk"):
            await asyncio.sleep(0.01)
        assert group.pid("risk") == group.ready_info("risk")["pid"]
        await group.stop()

    _run(main())


def test_stop_during_a_restart_leaves_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "second"
    slow_second = (
        "import os, sys, time\nif os.path.exists(sys.argv[2]):\n"
        " open(sys.argv[2] + '.pid', 'w').write(str(os.getpid()))\n"
        " time.sleep(60)\nopen(sys.argv[2], 'w').close()\n" + SLEEPER
    )

    async def main() -> None:
        group = Supervisor(tmp_path)
        await group.start(_spec("slow", slow_second, "1", str(marker)))
        os.kill(group.pid("slow"), signal.SIGKILL)
        pid_file = Path(f"{marker}.pid")
        while not (pid_file.exists() and pid_file.read_text()):
            await asyncio.sleep(0.01)
        await group.stop()
        assert _gone(int(pid_file.read_text()))

    _run(main())


def test_output_goes_to_the_log_and_never_to_our_stdout(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    talker = (
        SAY_READY
        + "print('on stdout', flush=True)\nprint('on stderr', file=sys.stderr, flush=True)\ntime.sleep(60)"
    )

    async def main(log_dir: Path | None) -> None:
        group = Supervisor(log_dir)
        await group.start(_spec("talker", talker))
        await asyncio.sleep(0.2)
        await group.stop()

    _run(main(tmp_path))
    assert (tmp_path / "talker.log").read_text().split("\n") == ["on stdout", "on stderr", ""]
    assert "on std" not in "".join(capfd.readouterr())
    _run(main(None))
    out, err = capfd.readouterr()
    assert out == ""
    assert "on stdout\non stderr\n" in err


def test_what_asyncio_says_of_a_cancelled_start_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    Supervisor()
    logging.getLogger("asyncio").warning("Unknown child process pid %d, will report returncode 255", 7)
    logging.getLogger("asyncio").warning("something else")
    assert [record.getMessage() for record in caplog.records] == ["something else"]
