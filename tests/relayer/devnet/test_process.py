"""The devnet as a process of its own: ready, killed, restarted, stopped."""

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import orjson
import pytest

from engine.common.errors import RpcUnavailable
from relayer.chain.rpc import RpcClient
from tests.relayer.devnet.transactions import SIGNER, memo

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import sys
from pathlib import Path
from types import SimpleNamespace
from relayer.devnet.process import run
devnet = SimpleNamespace(host="127.0.0.1", port=0, slot_ms=int(sys.argv[2]), data_dir=Path(sys.argv[1]))
run(SimpleNamespace(devnet=devnet))
"""


@contextmanager
def devnet(data_dir: Path, slot_ms: int = 0) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A running devnet and its address; killed at the end if it still runs."""
    read_end, write_end = os.pipe()
    environment = {**os.environ, "GODARK_READY_FD": str(write_end)}
    arguments = [sys.executable, "-c", PROGRAM, str(data_dir), str(slot_ms)]
    process = subprocess.Popen(arguments, cwd=ROOT, env=environment, pass_fds=[write_end])
    os.close(write_end)
    try:
        assert select.select([read_end], [], [], 20)[0], "not ready in time"
        line = os.read(read_end, 4096)
        assert line, "ended before it was ready"
        yield process, orjson.loads(line)["url"]
    finally:
        os.close(read_end)
        process.kill()
        process.wait(10)


async def send_until_killed(url: str, process: subprocess.Popen[bytes], kill_after: int) -> list[str]:
    """Send memos from 16 tasks, kill the devnet after so many answers; the signatures answered."""
    answered: list[str] = []
    async with RpcClient(url, timeout_s=2) as client:
        await client.request_airdrop(str(SIGNER.public_key), 10**12)
        blockhash = (await client.latest_blockhash()).blockhash

        async def sender(task: int) -> None:
            for number in range(10_000):
                signed = memo(blockhash, f"{task} {number}")
                try:
                    await client.send_transaction(signed.wire)
                except RpcUnavailable:
                    return
                answered.append(signed.signature)
                if len(answered) == kill_after:
                    process.kill()

        await asyncio.gather(*(sender(task) for task in range(16)))
    return answered


async def landed_of(url: str, signatures: list[str]) -> tuple[list[bool], list[str]]:
    """Which signatures have landed, and every signature in the payer's history."""
    async with RpcClient(url) as client:
        page = await client.signature_statuses(signatures, True)
        history: list[str] = []
        before = None
        while entries := await client.signatures_for_address(str(SIGNER.public_key), before):
            history.extend(entry.signature for entry in entries)
            before = entries[-1].signature
        return [status is not None for status in page.statuses], history


@pytest.mark.parametrize("kill_after", [1, 37, 400])
def test_kill_minus_nine_loses_nothing_that_was_answered(tmp_path: Path, kill_after: int) -> None:
    with devnet(tmp_path) as (process, url):
        answered = asyncio.run(send_until_killed(url, process, kill_after))
    assert len(answered) >= kill_after
    with devnet(tmp_path) as (_, again):
        assert again == url
        landed, history = asyncio.run(landed_of(again, answered))
    assert all(landed)
    assert len(history) == len(set(history))
    assert set(answered) <= set(history)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_within_a_second_with_clients_connected(tmp_path: Path, number: int) -> None:
    async def play(process: subprocess.Popen[bytes], url: str) -> float:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url) as socket,
            RpcClient(url) as rpc,
        ):
            await socket.send_json({"id": 1, "method": "slotSubscribe"})
            await socket.receive_json(timeout=2)
            before = await rpc.slot("processed")
            await socket.receive_json(timeout=2)
            assert await rpc.slot("processed") > before
            started = time.monotonic()
            process.send_signal(number)
            await asyncio.to_thread(process.wait, 5)
            return time.monotonic() - started

    with devnet(tmp_path, slot_ms=20) as (process, url):
        assert asyncio.run(play(process, url)) < 1.0
        assert process.returncode == 0
