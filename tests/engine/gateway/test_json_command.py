"""`godark json` as people use it: on stdin, or as a listener on this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.common.errors import ConnectionLost, SettingsError
from engine.gateway.json_adapter import FollowedBooks
from engine.gateway.json_listener import Listener
from kernels.frames import Source
from tests.engine.gateway.json_talk import BTC, Talk, opened, text
from tests.engine.gateway.running import PATIENCE_S, Running, run, running, settings_for, until

ROOT = Path(__file__).resolve().parents[3]


class Person:
    """Somebody who is connected to the listener."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def next(self) -> dict[str, Any]:
        line: dict[str, Any] = orjson.loads(await asyncio.wait_for(self.reader.readline(), PATIENCE_S))
        return line

    async def until(self, kind: str) -> dict[str, Any]:
        while (line := await self.next())["type"] != kind:
            continue
        return line


@pytest.mark.parametrize("over", [pytest.param("tcp", marks=pytest.mark.slow), "unix"])
def test_a_listener_serves_one_after_another(tmp_path: Path, over: str) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            await opened(r)
            books = FollowedBooks(r.journal)
            listener = Listener(r.settings.engine.socket, [Source.MATCHING], books, last_output=0)
            path = str(r.settings.engine.socket.with_name("j"))
            await listener.start(path if over == "unix" else "127.0.0.1:0")

            async def person() -> Person:
                if over == "unix":
                    return Person(*await asyncio.open_unix_connection(path))
                return Person(*await asyncio.open_connection("127.0.0.1", listener.port))

            first = await person()
            seq = (await first.until("welcome"))["next_seq"]
            first.writer.write(text(BTC))
            assert (await first.until("ack"))["seq"] == seq
            second = await person()
            told = await second.until("fault")
            assert told["fault"] == "source_taken"
            last = await second.until("error")
            assert last["reason"] == "connection_lost" and "source_taken" in last["message"]
            first.writer.close()
            await until(lambda: r.engine.head.get("sessions") == 0)
            third = await person()
            assert (await third.until("welcome"))["next_seq"] == seq + 1
            third.writer.write(b"{\n")
            assert (await third.until("error"))["line"] == 1
            await listener.close()
            books.close()
            if over == "unix":
                assert os.stat(path).st_mode & 0o777 == 0o600

    run(main)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "example.org:1"])
def test_the_listener_is_for_this_machine_only(tmp_path: Path, address: str) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            books = FollowedBooks(r.journal)
            listener = Listener(r.settings.engine.socket, [Source.MATCHING], books, last_output=0)
            with pytest.raises(SettingsError, match="of this machine's own"):
                await listener.start(address)
            (tmp_path / "file").touch()
            with pytest.raises(SettingsError, match="is there already"):
                await listener.start(str(tmp_path / "file"))
            books.close()

    run(main)


async def command(r: Running, given: bytes, *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    child = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "engine.app", "json", "--data-dir", str(r.settings.data_dir)],
        *["--set", f"engine.socket={r.settings.engine.socket}", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(child.communicate(given), PATIENCE_S)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode is not None
    return child.returncode, [orjson.loads(line) for line in out.splitlines()], err.decode()


def test_the_command_on_stdin(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            await opened(r)
            seq = r.engine.durable_seq(Source.MATCHING) + 1
            status, said, err = await command(r, text(BTC, BTC | {"price": "x"}, BTC))
            assert (
                status == 2 and err == "godark: stdin: row 2: this line was not taken; such lines in all: 1\n"
            )
            assert said[0] == {"type": "welcome", "source": "matching", "next_seq": seq}
            assert [line["line"] for line in said if line["type"] == "sent"] == [1, 3]
            assert r.engine.durable_seq(Source.MATCHING) == seq + 1
            assert any("output" in line for line in said)

    run(main)


@pytest.mark.slow
def test_the_command_without_outputs(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            await opened(r)
            status, said, _ = await command(r, text(BTC), "--no-outputs")
            assert status == 0 and [line["type"] for line in said] == ["welcome", "sent", "ack"]

    run(main)


@pytest.mark.slow
def test_the_command_as_a_listener_ends_on_a_signal(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            path = r.settings.engine.socket.with_name("j")
            child = await asyncio.create_subprocess_exec(
                *[sys.executable, "-m", "engine.app", "json", "--data-dir", str(tmp_path)],
                *["--set", f"engine.socket={r.settings.engine.socket}", "--listen", str(path)],
                stderr=subprocess.PIPE, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            assert child.stderr is not None
            try:
                told = await asyncio.wait_for(child.stderr.readline(), PATIENCE_S)
                assert told == f"godark: JSON lines on {path}\n".encode()
                person = Person(*await asyncio.open_unix_connection(path))
                await person.until("welcome")
                child.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(child.wait(), 5) == 0
                assert not path.exists()
            finally:
                if child.returncode is None:
                    child.kill()
                    await child.wait()

    run(main)


def test_no_engine_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "engine.app", "json", "--data-dir", str(tmp_path)],
        input=b"", capture_output=True, cwd=ROOT, timeout=30, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 3 and b"no engine has run here yet" in done.stderr


def test_outputs_that_never_come_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            await opened(r)
            monkeypatch.setattr("engine.gateway.json_adapter._OUTPUTS_S", 0.1)
            talk = Talk(r, [Source.MATCHING])
            monkeypatch.setattr(talk.books, "outputs", lambda: 1 << 40)
            with pytest.raises(ConnectionLost, match="outputs end at"):
                await talk.run(b"")

    run(main)
