"""The C header and its example against the real server: same bytes, same digest, same faults by name."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest

from engine.common.errors import JournalFull
from engine.gateway.client import EngineClient
from engine.gateway.session import NO_OUTPUTS, sealed
from kernels import frames as f
from kernels.admission import HISTORY, UNKNOWN
from kernels.crc32c import crc32c
from kernels.frames import FRAME, Fault, Source, Template
from tests.engine.gateway.c_material import (
    FILLS,
    HELLO,
    OPENING,
    PROVOKED,
    Frames,
    csv,
    fill,
    open_books,
    ran,
)
from tests.engine.gateway.running import PATIENCE_S, run, running, settings_for
from tests.engine.journal.material import folded


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_every_encoder_makes_the_bytes_that_python_makes(programs: Path) -> None:
    made = np.frombuffer(subprocess.check_output([programs / "c_peer", "encode"], timeout=30), FRAME)
    assert len(made) == 5
    one = f.new_frames(Template.HELLO, 1, source=Source.MATCHING, first_seq=0)
    one["acked_seq"], one["last_output"] = 5, NO_OUTPUTS
    assert made[0].tobytes() == sealed(one)
    fill = f.new_frames(Template.FILL, 1, source=Source.MATCHING, first_seq=6)
    for name, value in {
        "time_ns": 1700000000000000001,
        "trade_id": 77,
        "price": 300000001,
        "size": -12,
    }.items():
        fill[name] = value
    fill["maker"], fill["taker"], fill["market"] = 41, 42, 3
    assert made[1].tobytes() == sealed(fill)
    account = f.new_frames(Template.ACCOUNT, 1, source=Source.MATCHING, first_seq=7)
    words = f.key_words(bytes((7 * k + 1) % 256 for k in range(32)))
    account["key0"], account["key1"], account["key2"], account["key3"] = words
    account["tier"], account["market"] = 2, -1
    assert made[2].tobytes() == sealed(account)
    transfer = f.new_frames(Template.TRANSFER, 1, source=Source.API, first_seq=8)
    transfer["flags"], transfer["account"], transfer["market"] = int(f.TransferKind.TO_POSITION), 9, 3
    transfer["quote_e6"], transfer["event_no"] = 1000001, 4
    assert made[3].tobytes() == sealed(transfer)
    seen = f.new_frames(Template.OBSERVATION, 1, source=Source.FEEDS, first_seq=9)
    seen["market"], seen["feed"], seen["expo"] = 1, 2, -8
    seen["publish_ns"], seen["price"], seen["conf"] = 1700000000000000002, 6694030000000, 1234
    assert made[4].tobytes() == sealed(seen)


def test_both_ways_to_a_crc_agree(programs: Path) -> None:
    said = subprocess.check_output([programs / "c_peer", "crc"], timeout=30).decode()
    assert said.strip() == f"{crc32c(b'123456789'):08x}" == "e3069283"


@pytest.mark.parametrize("over", [pytest.param("unix", marks=pytest.mark.slow), "tcp"])
def test_the_same_fills_lead_to_the_same_digest(programs: Path, tmp_path: Path, over: str) -> None:
    async def main() -> None:
        where = f"127.0.0.1:{free_port()}"
        async with running(settings_for(tmp_path, tcp=where)) as r:
            await open_books(r)
            address = where if over == "tcp" else r.settings.engine.socket
            status, said = await ran(programs / "example", address, FILLS[0]["seq"], given=csv(FILLS))
            assert status == 0, said
            machine = folded(np.concatenate([OPENING, FILLS.view(FRAME)]))
            assert r.engine.digest() == machine.state.digest()
            acks = [int(line.split()[1]) for line in said if line.startswith("ack")]
            assert acks == sorted(set(acks)) and acks[-1] == FILLS[-1]["seq"]
            assert len(acks) < len(FILLS) / 4, "an ack stands for many fills"
            numbers = [int(line.split()[1]) for line in said if line.startswith("output")]
            assert numbers == list(range(1, r.engine.outputs() + 1))

    run(main)


def test_a_second_run_resumes_and_sends_only_what_is_new(programs: Path, tmp_path: Path) -> None:
    """Over a restart of the engine; what it has already is passed over, not sent again."""
    half = len(FILLS) // 2
    settings = settings_for(tmp_path)

    async def part(fills: Frames) -> list[str]:
        async with running(settings) as r:
            if r.engine.ordinal() == 0:
                await open_books(r)
            status, said = await ran(
                programs / "example", settings.engine.socket, FILLS[0]["seq"], given=csv(fills)
            )
            assert status == 0, said
            assert r.engine.head.get("duplicates") == 0
            digests.append(r.engine.digest())
            return said

    digests: list[bytes] = []

    async def main() -> None:
        await part(FILLS[:half])
        said = await part(FILLS)
        assert said[0] == f"welcome last_seq={FILLS[half - 1]['seq']} epoch=2"

    run(main)
    assert digests[1] == folded(np.concatenate([OPENING, FILLS.view(FRAME)])).state.digest()


def test_it_reconnects_and_resends_when_the_engine_restarts_in_the_middle(
    programs: Path, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path)
    address = settings.engine.socket

    async def main() -> None:
        child = None
        try:
            async with running(settings) as r:
                await open_books(r)
                child = await asyncio.create_subprocess_exec(
                    programs / "example",
                    address,
                    str(FILLS[0]["seq"]),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
                assert child.stdin is not None and child.stdout is not None
                child.stdin.write(csv(FILLS[:300]))
                await child.stdin.drain()
                while r.engine.durable_seq(Source.MATCHING) < FILLS[0]["seq"]:
                    await asyncio.sleep(0.005)
            async with running(settings) as r:
                child.stdin.write(csv(FILLS[300:]))
                child.stdin.close()
                said = (await asyncio.wait_for(child.stdout.read(), PATIENCE_S)).decode().splitlines()
                assert await child.wait() == 0, said
                assert "connection lost" in said and said.count(f"ack {FILLS[-1]['seq']}") == 1
                assert (
                    r.engine.digest() == folded(np.concatenate([OPENING, FILLS.view(FRAME)])).state.digest()
                )
        finally:
            if child is not None and child.returncode is None:
                child.kill()
                await child.wait()

    run(main)


def test_bad_input_and_no_engine_are_told(programs: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            await open_books(r)
            ready = r.settings.engine.socket, FILLS[0]["seq"]
            status, _ = await ran(programs / "example", *ready, given=b"0,1,2,3\n")
            assert status == 1
            assert r.engine.durable_seq(Source.MATCHING) == FILLS[0]["seq"] - 1
            status, said = await ran(
                programs / "example", ready[0], FILLS[0]["seq"] + 5, given=csv(FILLS[:1])
            )
            assert status == 1 and "the log begins at" in said[-1]

    run(main)


@pytest.mark.parametrize("why", [fault for fault in Fault if fault is not Fault.NONE], ids=lambda w: w.name)
def test_each_fault_is_named(
    programs: Path, tmp_path: Path, why: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    said_to, answer = PROVOKED[why]

    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            path = r.settings.engine.socket
            other = None
            if why is Fault.SOURCE_TAKEN:
                other = EngineClient(path, [Source.MATCHING], last_output=NO_OUTPUTS)
                await other.connect()
            elif why is Fault.DUPLICATE_UNVERIFIED:
                await ran(programs / "c_peer", "say", path, given=HELLO + fill(1))
                r.engine.gate.crcs[Source.MATCHING, 1 % HISTORY] = UNKNOWN
            elif why is Fault.JOURNAL_FULL:
                monkeypatch.setattr(r.engine.writer, "write", full)
            status, said = await ran(programs / "c_peer", "say", path, given=said_to)
            assert status == 0 and answer in said, said
            if other is not None:
                await other.close()

    def full(*_: object) -> None:
        raise JournalFull("no room")

    run(main)


def test_a_wrong_schema_version_is_refused_at_hello_by_name(programs: Path, tmp_path: Path) -> None:
    """Before anything is taken, and the source stays free for a client of the right version."""

    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            for field in ("version", "schema", "block_length"):
                frame = np.frombuffer(bytearray(HELLO), f.DTYPES[Template.HELLO])
                frame[field] += 1
                path = r.settings.engine.socket
                status, said = await ran(programs / "c_peer", "say", path, given=sealed(frame) + fill(1))
                assert (status, said) == (0, ["FAULT WRONG_SCHEMA 0 1"])
            assert r.engine.ordinal() == 0 and r.engine.head.get("faults") == 3
            client = EngineClient(r.settings.engine.socket, [Source.MATCHING])
            assert await client.connect() == {Source.MATCHING: 0}
            await client.close()

    run(main)
