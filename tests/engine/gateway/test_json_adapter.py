"""`godark json` against the real server: the same books as by binary frames, the same answers, nothing half done."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from engine.common.errors import ConnectionLost, SettingsError, TransportFault
from engine.gateway.client import EngineClient, seal
from engine.gateway.json_adapter import Conversation, FollowedBooks, LineCutter
from engine.gateway.json_lines import LINE_BYTES_MAX
from engine.gateway.json_listener import Listener
from engine.gateway.session import NO_OUTPUTS
from kernels import frames as f
from kernels.frames import FRAME, Source, Template
from tests.engine.gateway.json_material import AsLines, lines_of
from tests.engine.gateway.running import PATIENCE_S, SOURCES, Running, run, running, settings_for, until
from tests.engine.journal.material import flow, folded

ROOT = Path(__file__).resolve().parents[3]
FLOW = flow()
FIRST_FILL = int(np.flatnonzero(FLOW["template"] == Template.FILL)[0])
OPENING = FLOW[:FIRST_FILL]
BTC = {"type": "fill", "market": "BTC", "price": "67000", "size": "0.01", "side": "buy", "maker": 1, "taker": 2,
       "trade_id": 1, "time_ns": 1_700_000_000_000_000_000}  # fmt: skip


def text(*lines: dict[str, Any]) -> bytes:
    return b"".join(orjson.dumps(line) + b"\n" for line in lines)


async def chunks(*parts: bytes | None) -> AsyncIterator[bytes | None]:
    for part in parts:
        yield part


class Talk:
    """A conversation with a running engine, and everything it said."""

    def __init__(self, r: Running, sources: list[Source] = SOURCES, **options: Any) -> None:
        self.said: list[dict[str, Any]] = []
        self.books = FollowedBooks(r.journal)
        options = {"last_output": 0, **options}
        self.it = Conversation(r.settings.engine.socket, sources, self.books, self.said.append, **options)

    async def run(self, *parts: bytes | None) -> list[dict[str, Any]]:
        try:
            await self.it.run(chunks(*parts))
        finally:
            self.books.close()
        return self.said

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.said if line["type"] == kind]


async def opened(r: Running, frames: np.ndarray = OPENING) -> None:
    client = EngineClient(r.settings.engine.socket, SOURCES, last_output=NO_OUTPUTS)
    await client.connect()
    await client.send(frames)
    await client.drain()
    await client.close()


@pytest.mark.parametrize("pieces", [pytest.param(1, marks=pytest.mark.slow), 37])
def test_the_same_lines_lead_to_the_same_digest(tmp_path: Path, pieces: int) -> None:
    data = lines_of(FLOW)
    step = -(-len(data) // pieces)
    parts = [data[at : at + step] for at in range(0, len(data), step)]

    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            talk = Talk(r)
            said = await talk.run(*parts, text({"type": "status"}))
            machine = folded(FLOW)
            assert talk.of("error") == [] and talk.of("fault") == []
            assert talk.of("status") == [
                {"type": "status", "ordinal": len(FLOW), "digest": machine.state.digest().hex()}
            ]
            assert r.engine.digest() == machine.state.digest()
            outputs = [line["output"] for line in said if "output" in line]
            assert outputs == list(range(1, r.engine.outputs() + 1))
            fills = [line for line in talk.of("sent") if line["source"] == "matching"]
            assert [line["seq"] for line in fills] == list(range(1, len(fills) + 1))
            acked = [line["seq"] for line in talk.of("ack") if line["source"] == "matching"]
            assert acked == sorted(acked) and acked[-1] == len(fills)

    run(main)


def test_a_bad_line_is_answered_and_the_others_are_taken(tmp_path: Path) -> None:
    lines = [
        text(BTC | {"trade_id": 1}),
        b"  \r\n",
        text(BTC | {"price": "0.0000001"}),
        b"{nonsense\n",
        b'{"pad":"' + b"x" * LINE_BYTES_MAX + b'"}\n',
        text(BTC | {"market": "NONE"}),
        text(BTC | {"trade_id": 2}),
    ]

    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            await opened(r)
            before = r.engine.durable_seq(Source.MATCHING)
            talk = Talk(r, [Source.MATCHING])
            await talk.run(b"".join(lines))
            told = [(line["line"], line["reason"], line["field"]) for line in talk.of("error")]
            assert told == [
                (3, "price_off_scale", "price"),
                (4, "not_json", None),
                (5, "line_too_long", None),
                (6, "unknown_market", "market"),
            ]
            assert talk.it.refused == [3, 4, 5, 6]
            sent = [(line["line"], line["seq"]) for line in talk.of("sent")]
            assert sent == [(1, before + 1), (7, before + 2)]
            assert r.engine.durable_seq(Source.MATCHING) == before + 2

    run(main)


def test_what_a_frame_can_hold_is_refused_by_the_engine_and_named(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            await opened(r)
            seq = r.engine.durable_seq(Source.MATCHING) + 1
            talk = Talk(r, [Source.MATCHING])
            await talk.run(text(BTC | {"maker": 99}, BTC | {"price": "1"}))
            refusals = [line for line in talk.of("refusal") if line["refused_seq"] >= seq]
            told = [(line["refused_seq"], line["reason"], line["market"]) for line in refusals]
            assert told == [(seq, "unknown_account", "BTC"), (seq + 1, "price_off_scale", "BTC")]
            assert talk.of("market_state")[-1]["state"] & 1, "the market is frozen, and that is told"

    run(main)


def test_names_made_known_by_the_lines_before_can_be_used(tmp_path: Path) -> None:
    """An account registered and used in one breath: the adapter waits until the books have it."""
    names = AsLines()
    opening = names.text(OPENING[OPENING["template"] != Template.TRANSFER])
    key = next(orjson.loads(line)["key"] for line in opening.splitlines() if b'"account"' in line)

    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            talk = Talk(r)
            await talk.run(opening + text(BTC | {"maker": key, "taker": 2}))
            assert talk.of("error") == []
            assert talk.of("account_assigned")[0]["key"] == key
            assert talk.of("account_assigned")[0]["account"] == 1

    run(main)


def test_sequence_numbers_of_ones_own(tmp_path: Path) -> None:
    """The next is taken, one beyond is refused by name, an equal resend passes, another under it is a conflict."""

    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            await opened(r)
            seq = r.engine.durable_seq(Source.MATCHING) + 1
            talk = Talk(r, [Source.MATCHING])
            await talk.run(text(BTC | {"seq": seq}, BTC | {"seq": seq + 5}, BTC | {"seq": seq}))
            assert [(e["reason"], e["field"]) for e in talk.of("error")] == [("gap", "seq")]
            assert r.engine.durable_seq(Source.MATCHING) == seq
            assert r.engine.head.get("duplicates") == 1 and talk.of("fault") == []
            talk = Talk(r, [Source.MATCHING])
            with pytest.raises(TransportFault, match="conflict"):
                await talk.run(text(BTC | {"seq": seq, "trade_id": 8}))
            fault = talk.of("fault")[0]
            assert (fault["fault"], fault["seq"]) == ("conflict", seq) and "seq known with other" in fault[
                "message"
            ]

    run(main)


def test_a_line_of_another_source_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            talk = Talk(r, [Source.MATCHING])
            await talk.run(text({"type": "tick", "kind": "open", "time_ns": 5}))
            assert talk.of("error")[0]["reason"] == "not_attached"
            assert "--source clock" in talk.of("error")[0]["message"]
            assert r.engine.ordinal() == 0

    run(main)


def test_it_goes_on_over_a_restart_of_the_engine(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    data = lines_of(FLOW)
    half = data.index(b"\n", len(data) // 2) + 1

    async def main() -> None:
        gone, back = asyncio.Event(), asyncio.Event()

        async def parts() -> AsyncIterator[bytes | None]:
            yield data[:half]
            gone.set()
            await back.wait()
            yield None
            yield data[half:]

        async with running(settings) as r:
            talk = Talk(r)
            talking = asyncio.ensure_future(talk.it.run(parts()))
            await asyncio.wait_for(gone.wait(), PATIENCE_S)
            await talk.it._client.drain()
        async with running(settings) as r:
            back.set()
            await asyncio.wait_for(talking, PATIENCE_S)
            assert r.engine.digest() == folded(FLOW).state.digest()
        talk.books.close()

    run(main)


def test_lines_are_cut_wherever_the_chunks_are() -> None:
    data = b"one\n\ntwo\r\n" + b"y" * (LINE_BYTES_MAX + 1) + b"\nthree"
    whole = [(n, None if part is None else part.strip()) for n, part in LineCutter().cut(data, end=True)]
    assert whole == [(1, b"one"), (2, b""), (3, b"two"), (4, None), (5, b"three")]
    for step in (61, 4096, 70_000):
        cutter = LineCutter()
        cut = [line for at in range(0, len(data), step) for line in cutter.cut(data[at : at + step])]
        cut += cutter.cut(b"", end=True)
        assert [(n, None if part is None else part.strip()) for n, part in cut] == whole


def test_one_endless_line_takes_no_memory() -> None:
    cutter = LineCutter()
    lines = [line for _ in range(100) for line in cutter.cut(b"z" * 50_000)]
    assert lines == [(1, None)] and len(cutter._rest) <= LINE_BYTES_MAX
    assert cutter.cut(b"\nok\n") == [(2, b"ok")]


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


def test_seal_makes_frames_that_are_taken(tmp_path: Path) -> None:
    """What README shows, word for word in kind: next_seq, seal, send, drain, inside `async with`."""

    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            await opened(r)
            async with EngineClient(r.settings.engine.socket, [Source.MATCHING]) as client:
                first = client.next_seq(Source.MATCHING)
                fills = f.new_frames(Template.FILL, 2, source=Source.MATCHING, first_seq=first)
                fills["market"], fills["price"], fills["size"] = 0, 300_000_000, [5, -3]
                fills["maker"], fills["taker"] = 1, 2
                sealed = seal(fills)
                assert sealed.dtype == FRAME
                await client.send(sealed)
                assert client.next_seq(Source.MATCHING) == first + 2
                await client.drain()
            assert r.engine.durable_seq(Source.MATCHING) == first + 1

    run(main)
