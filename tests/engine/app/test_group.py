"""`godark run`: says where things are, then nothing; one group per directory; ends on Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.app.cli import ROOT
from engine.app.group import Group, places
from engine.common.errors import StoreError
from engine.common.settings import Settings
from engine.journal.head import HeadPage
from relayer.verify.mirror import Mirror
from tests.patience import within

SECRET = "a-token-of-somebody"


def _run(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("GODARK_")}
    return subprocess.Popen(
        [sys.executable, "-m", "engine.app", "run", *arguments],
        cwd=directory,
        env=env | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.end_to_end
def test_run_says_where_things_are_and_a_second_one_is_refused(tmp_path: Path) -> None:
    first = _run(tmp_path)
    try:
        assert first.stdout is not None
        said = [first.stdout.readline().rstrip() for _ in range(5)]
        assert said[0] == f"socket  {tmp_path}/data/engine.sock"
        assert said[1].startswith("rpc     http://127.0.0.1:")
        assert said[3] == f"data    {tmp_path}/data"
        assert said[4] == "running; Ctrl-C ends it"
        second = _run(tmp_path)
        out, err = second.communicate(timeout=20)
        assert (second.returncode, out) == (3, "")
        assert err.splitlines() == [
            f"godark: {tmp_path}/data/journal: another engine holds this journal; stop it first"
        ]
        with within(2):
            first.send_signal(signal.SIGINT)
            rest, _ = first.communicate(timeout=20)
        assert first.returncode == 0
        assert rest == ""
    finally:
        if first.poll() is None:
            first.kill()
            first.wait()


@pytest.mark.end_to_end
def test_with_a_standby_the_group_outlives_its_engine_and_ends_as_fast(tmp_path: Path) -> None:
    group = _run(tmp_path, "--standby")
    try:
        assert group.stdout is not None
        while not group.stdout.readline().startswith("running"):
            assert group.poll() is None
        head = HeadPage(tmp_path / "data" / "journal" / "head")
        engine = head.get("pid")
        os.kill(engine, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while head.get("epoch") < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        heir = head.get("pid")
        assert heir != engine and b"standby" in Path(f"/proc/{heir}/cmdline").read_bytes()
        with within(2):
            group.send_signal(signal.SIGINT)
            group.communicate(timeout=20)
        assert group.returncode == 0 and not Path(f"/proc/{heir}").exists()
        assert head.get("epoch") == 2, "ending it is not a reason to take over"
    finally:
        if group.poll() is None:
            group.kill()
            group.wait()


@pytest.mark.end_to_end
def test_an_audit_mirror_runs_and_ends_with_the_group(tmp_path: Path) -> None:
    group = _run(tmp_path, "--set", f"relayer.mirror={tmp_path / 'mirror'}")
    try:
        assert group.stdout is not None
        while not group.stdout.readline().startswith("running"):
            assert group.poll() is None
        with pytest.raises(StoreError, match="another process keeps this mirror"):
            Mirror(tmp_path / "mirror", tmp_path / "data")
        with within(2):
            group.send_signal(signal.SIGINT)
            group.communicate(timeout=20)
        assert group.returncode == 0
        Mirror(tmp_path / "mirror", tmp_path / "data").close()
    finally:
        if group.poll() is None:
            group.kill()
            group.wait()


def test_a_node_that_is_not_ours_is_named_by_its_host_only(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, relayer={"rpc_urls": [f"https://node.example/{SECRET}"]})
    group = Group(settings)
    group.rpc_url = settings.relayer.rpc_urls[0]
    text = places(group)
    assert "node.example" in text
    assert SECRET not in text


def test_a_child_that_does_not_start_is_told_in_its_own_words(tmp_path: Path) -> None:
    import asyncio

    from engine.common.errors import ProcessFailed

    async def start() -> None:
        group = Group(settings, log_dir=tmp_path / "logs")
        try:
            await group.start()
        finally:
            await group.stop()

    # The path of the ledger is a file, so the devnet cannot open it.
    settings = Settings(data_dir=tmp_path / "data", devnet={"data_dir": tmp_path / "file"})
    (tmp_path / "file").write_text("")
    with pytest.raises(ProcessFailed, match=r"devnet did not start: .*file"):
        asyncio.run(start())
