"""Exit statuses, one-line errors, laziness."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
import types
from collections.abc import Callable
from pathlib import Path

import click
import orjson
import pytest

from engine.app.cli import ROOT, TABLE, Entry, ends_by_itself, execute
from engine.common.errors import InvariantBroken, JournalLocked
from tests.patience import within


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("GODARK_")]:
        monkeypatch.delenv(name)


class _Here(Entry):
    """An entry whose module exists only in sys.modules."""

    def exists(self) -> bool:
        return True


@pytest.fixture
def status_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs `godark act ARGS…` where act's body is the given function."""

    def run(body: Callable[[], object], *arguments: str) -> int:
        module = types.ModuleType("planted_commands")
        module.act = click.command("act")(body)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "planted_commands", module)
        return execute(["act", *arguments], (_Here("act", "planted_commands:act", "Act."),))

    return run


def _raise(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (JournalLocked("journal x:\n held by 7"), 3, "godark: journal x: held by 7\n"),
        (
            ExceptionGroup("tasks", [ValueError("v"), InvariantBroken("cash differs")]),
            71,
            "godark: cash differs\n",
        ),
        (ValueError("odd\nvalue"), 70, "godark: unexpected ValueError: odd value (--debug shows where)\n"),
        (KeyboardInterrupt(), 130, ""),
        (asyncio.CancelledError(), None, ""),
        (BrokenPipeError(32, "Broken pipe"), 141, ""),
        (click.UsageError("no\nsuch"), 2, "godark: no such (see godark act --help)\n"),
    ],
)
def test_an_error_becomes_one_line_and_a_status(
    status_of: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int | None,
    line: str,
) -> None:
    if status is None:
        with pytest.raises(asyncio.CancelledError):
            status_of(_raise(error))
        return
    assert status_of(_raise(error)) == status
    assert capsys.readouterr().err.lstrip("\n") == line


def test_debug_anywhere_shows_the_traceback(
    status_of: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(_raise(ValueError("odd")), "--debug") == 70
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("godark: unexpected ValueError: odd\n")


def test_success_is_zero(status_of: Callable[..., int]) -> None:
    assert status_of(lambda: None) == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["confg"], "godark: no command 'confg'; did you mean 'config'?\n"),
        (["xyzzy"], "godark: no command 'xyzzy'; see godark --help\n"),
        (["config", "--bogus"], "godark: No such option '--bogus'. (see godark config --help)\n"),
        (["config", "--config", "none.toml"], "godark: file none.toml: not found\n"),
    ],
)
def test_a_wrong_command_line(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(arguments) == 2
    assert capsys.readouterr().err == line


def test_config_shows_values_and_origins(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    url = "https://user:canary@node.example:8899/v2/canary?key=canary"
    arguments = ["config", "--json", "--set", "venue.seed=9", "--set", f"relayer.rpc_urls={url}"]
    assert execute(arguments) == 0
    out = capsys.readouterr().out
    rows = orjson.loads(out)
    assert rows["venue.seed"] == {"value": 9, "origin": "flag --set venue.seed"}
    assert rows["data_dir"] == {"value": str(tmp_path / "data"), "origin": "default"}
    assert rows["relayer.rpc_urls"]["value"] == ["https://node.example:8899/…"]
    assert "canary" not in out
    assert execute(["config", "--set", "venue.seed=9"]) == 0
    assert any(
        line.split() == ["venue.seed", "9", "flag", "--set", "venue.seed"]
        for line in capsys.readouterr().out.splitlines()
    )


def test_a_process_command_gets_settings_and_logs(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    module = types.ModuleType("planted_process")

    def run(settings: object) -> None:
        from engine.common.logs import get_logger

        get_logger().warning("running", port=settings.devnet.port)  # type: ignore[attr-defined]

    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "planted_process", module)
    table = (_Here("devnet", "planted_process:run", "Chain.", process=True),)
    assert execute(["devnet", "--set", "devnet.port=4711"], table) == 0
    row = orjson.loads(capfd.readouterr().err)
    assert (row["event"], row["port"], row["process"]) == ("running", 4711, "devnet")


def test_the_table_hides_what_this_build_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    table = (*TABLE, Entry("later", "engine.app.no_such_module:command", "Not here."))
    assert execute(["--help"], table) == 0
    out = capsys.readouterr().out
    assert "later" not in out
    assert "config" in out
    assert "keeper" not in out
    assert execute(["later"], table) == 2


@pytest.mark.parametrize("entry", [entry for entry in TABLE if entry.exists()], ids=lambda entry: entry.name)
def test_every_command_of_this_build_explains_itself(
    entry: Entry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute([entry.name, "--help"]) == 0
    assert "Usage: godark" in capsys.readouterr().out


def _child(*arguments: str, code: str | None = None, **kwargs: object) -> subprocess.Popen[str]:
    command = [sys.executable, *(["-c", code] if code else ["-m", "engine.app"]), *arguments]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **kwargs,  # type: ignore[call-overload, no-any-return]
    )


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from engine.app.cli import execute; execute(['--help'])\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    child = _child(code=code)
    out, err = child.communicate(timeout=30)
    assert "Usage" in out
    heavy = {"numba", "numpy", "pydantic", "structlog", "rich", "solders", "aiohttp", "asyncio", "orjson"}
    assert not heavy & set(err.split())


def test_a_reader_that_stops_reading_is_no_error() -> None:
    child = _child("config")
    assert child.stdout is not None
    child.stdout.close()
    assert child.stderr is not None
    assert child.stderr.read() == ""
    assert child.wait(10) == 141


def test_ctrl_c_ends_with_130_and_no_traceback(tmp_path: Path) -> None:
    code = textwrap.dedent(
        """
        import sys, time, types, click
        from engine.app import cli
        def act(): print("up", flush=True); time.sleep(30)
        module = types.ModuleType("planted"); module.act = click.command("act")(act)
        sys.modules["planted"] = module
        cli.Entry.exists = lambda self: True
        sys.exit(cli.execute(["act"], (cli.Entry("act", "planted:act", ""),)))
        """
    )
    child = _child(code=code)
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    with within(2):
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=10)
    assert (child.returncode, err.strip()) == (130, "")


@pytest.mark.parametrize(
    ("line", "slowly"),
    [("engine --data-dir bench", False), ("--debug bench", True), ("demo --seconds 3", False), ("", False)],
)
def test_what_is_left_to_the_interpreters_end(line: str, slowly: bool) -> None:
    assert ends_by_itself(line.split()) is slowly


def test_output_that_finds_no_room_is_told_in_one_line() -> None:
    command = [sys.executable, "-m", "engine.app", "schema"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=30,
        )
    assert done.returncode == 74
    assert done.stderr == b"godark: cannot write the output: No space left on device\n"


def test_a_process_that_was_told_to_end_is_gone_at_once(tmp_path: Path) -> None:
    """To take the interpreter apart would cost a tenth of a second of CPU: that is what is measured here."""
    read_fd, write_fd = os.pipe()
    env = os.environ | {"PYTHONPATH": str(ROOT), "GODARK_READY_FD": str(write_fd)}
    command = [sys.executable, "-m", "engine.app", "keeper", "--set", "engine.segment_bytes=65536"]
    keeper = subprocess.Popen(command, env=env, pass_fds=[write_fd], cwd=tmp_path)
    os.close(write_fd)
    try:
        assert os.read(read_fd, 4096)
        while len(list(tmp_path.glob("data/journal/ahead/*.ready"))) < 2:
            time.sleep(0.01)
        spent = Path(f"/proc/{keeper.pid}/stat")
        before = sum(map(int, spent.read_text().rpartition(")")[2].split()[11:13]))
        keeper.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(keeper.pid, 0)
        keeper.returncode = os.waitstatus_to_exitcode(status)
        assert keeper.returncode == 0
        assert usage.ru_utime + usage.ru_stime - before / os.sysconf("SC_CLK_TCK") < 0.06
    finally:
        keeper.kill()
        keeper.wait()
        os.close(read_fd)
