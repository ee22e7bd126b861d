"""The shared-memory ring: what goes in comes out, and the engine answers as it does over a socket."""

from __future__ import annotations

import asyncio
import os
import platform
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.common.errors import ConnectionLost, SettingsError, TransportFault
from engine.common.settings import Settings
from engine.gateway import ring as ring_module
from engine.gateway.client import EngineClient
from engine.gateway.ring import CONTROL_BYTES, EngineEnd, ProducerEnd
from engine.gateway.session import NO_OUTPUTS
from kernels import frames as f
from kernels.frames import FRAME, FRAME_BYTES, Fault, Source, Template
from tests.engine.gateway.c_material import FILLS, FLOW, OPENING, PROVOKED, C, csv, open_books, ran
from tests.engine.gateway.running import (
    SOURCES,
    Running,
    hello,
    refused_fills,
    run,
    running,
    settings_for,
    until,
)
from tests.engine.journal.material import folded

ROOT = Path(__file__).resolve().parents[3]
NOT_BY_BYTES = {Fault.SOURCE_TAKEN, Fault.JOURNAL_FULL, Fault.DUPLICATE_UNVERIFIED}


def ring_settings(tmp_path: Path, **engine: object) -> Settings:
    return settings_for(tmp_path, ring=tmp_path / "ring", **{"ring_slots": 256, **engine})


def address(r: Running) -> str:
    return f"ring:{r.settings.engine.ring}"


def pair(tmp_path: Path, slots: int = 64) -> tuple[EngineEnd, ProducerEnd]:
    engine = EngineEnd(tmp_path / "ring", slots)
    producer = ProducerEnd(tmp_path / "ring")
    assert engine.asked() and not producer.opened()
    engine.open_session()
    assert producer.opened() and not engine.asked()
    return engine, producer


@pytest.mark.parametrize("seed", range(5))
def test_whatever_goes_in_comes_out_in_order(tmp_path: Path, seed: int) -> None:
    """Many times round both rings, in pieces of any size; nobody writes more than there is room for."""
    chance = random.Random(seed)
    engine, producer = pair(tmp_path)
    sent, taken, said, heard = bytearray(), bytearray(), bytearray(), bytearray()
    room = bytearray(100 * FRAME_BYTES)
    for _ in range(600):
        data = chance.randbytes(chance.randrange(90) * FRAME_BYTES)
        done = producer.send(memoryview(data))
        assert done <= 64 * FRAME_BYTES and done % FRAME_BYTES == 0
        sent += data[:done]
        upto = chance.randrange(100) * FRAME_BYTES
        taken += room[: engine.take(memoryview(room)[:upto])]
        data = chance.randbytes(chance.randrange(90) * FRAME_BYTES)
        said += data[: engine.answer(memoryview(data))]
        if chance.random() < 0.5:
            heard += producer.receive()
    taken += room[: engine.take(memoryview(room))]
    heard += producer.receive()
    assert taken == sent and heard == said and len(sent) > 20 * 64 * FRAME_BYTES
    producer.close()
    engine.close()
    assert not (tmp_path / "ring").exists()


def test_one_producer_at_a_time_and_the_next_begins_anew(tmp_path: Path) -> None:
    engine, first = pair(tmp_path)
    frame = memoryview(bytes(FRAME_BYTES))
    with pytest.raises(ConnectionLost, match="another producer"):
        ProducerEnd(tmp_path / "ring")
    first.send(frame)
    engine.answer(frame)
    assert engine.producer_lives()
    first.close()
    assert not engine.producer_lives()
    second = ProducerEnd(tmp_path / "ring")
    assert engine.asked() and second.receive() == b""
    engine.open_session()
    assert second.opened() and second.receive() == b"", "answers to the first are not the second's"
    assert engine.take(memoryview(bytearray(FRAME_BYTES))) == 0, "nor are its frames"
    engine.end_session()
    engine.end_session()
    assert second.ended() and not engine.asked()
    second.close()
    engine.close()


def test_an_engine_that_is_gone_is_noticed(tmp_path: Path) -> None:
    engine, producer = pair(tmp_path)
    assert producer.engine_lives()
    os.link(tmp_path / "ring", tmp_path / "left")
    engine.close()
    assert not producer.engine_lives()
    with pytest.raises(ConnectionLost, match="engine is gone"):
        ProducerEnd(tmp_path / "left")
    with pytest.raises(ConnectionLost, match="no ring here"):
        ProducerEnd(tmp_path / "ring")
    producer.close()


@pytest.mark.parametrize(("head", "tail"), [(65, 0), (-1, 0), (1 << 62, 0), (0, 1)])
def test_positions_that_cannot_be_are_told(tmp_path: Path, head: int, tail: int) -> None:
    engine, producer = pair(tmp_path)
    producer._words[ring_module._REQUEST_HEAD] = head
    engine._words[ring_module._REQUEST_TAIL] = tail
    with pytest.raises(TransportFault, match="cannot be"):
        engine.take(memoryview(bytearray(FRAME_BYTES)))
    producer._words[ring_module._RESPONSE_TAIL] = 1
    with pytest.raises(TransportFault, match="cannot be"):
        engine.answer(memoryview(bytes(FRAME_BYTES)))
    producer.close()
    engine.close()


def test_a_file_that_is_no_ring_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_bytes(b"x" * 8192)
    with pytest.raises(SettingsError, match="exists and is no ring"):
        EngineEnd(path, 64)
    assert path.read_bytes() == b"x" * 8192
    with pytest.raises(SettingsError, match="cannot make"):
        EngineEnd(tmp_path / "nowhere" / "ring", 64)


def test_other_processors_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(SettingsError, match="needs an x86-64 processor, this is aarch64"):
        EngineEnd(tmp_path / "ring", 64)


def test_polling_without_pause_needs_a_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with pytest.raises(SettingsError, match="taskset"):
            async with running(ring_settings(tmp_path, ring_poll_us=0)):
                pass

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    run(main)


@pytest.mark.parametrize("poll_us", [0, 1000])
def test_the_same_frames_lead_to_the_same_digest(
    tmp_path: Path, poll_us: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})

    async def main() -> None:
        async with running(ring_settings(tmp_path, ring_poll_us=poll_us)) as r:
            seen: list[int] = []
            client = EngineClient(address(r), SOURCES, on_output=lambda row: seen.append(int(row["seq"])))
            await client.connect()
            for at in range(0, len(FLOW), 150):
                await client.send(FLOW[at : at + 150])
            status = await client.status()
            assert status.digest == folded(FLOW).state.digest()
            await until(lambda: len(seen) == r.engine.outputs())
            assert seen == list(range(1, len(seen) + 1)) and client.reconnects == 0
            assert r.engine.head.get("sessions") == 1
            await client.close()
            await until(lambda: r.engine.head.get("sessions") == 0)

    run(main)


def test_a_c_producer_leads_to_the_same_digest(programs: Path, tmp_path: Path) -> None:
    compiled = programs / "ring_example"

    async def main() -> None:
        async with running(ring_settings(tmp_path)) as r:
            path = r.settings.engine.ring
            await open_books(r)
            for part in (FILLS[:350], FILLS):
                status, said = await ran(compiled, path, FILLS[0]["seq"], given=csv(part))
                assert (status, said[-1]) == (0, f"durable {part[-1]['seq']}")
            assert r.engine.digest() == folded(np.concatenate([OPENING, FILLS.view(FRAME)])).state.digest()
            assert r.engine.head.get("duplicates") == 0
            status, said = await ran(compiled, path, FILLS[0]["seq"], given=b"1,2\n")
            assert status == 1

    run(main)


class RingPeer:
    """Raw bytes in, frames out."""

    def __init__(self, path: Path) -> None:
        self.end = ProducerEnd(path)

    async def answers(self, data: bytes, *, until_ended: bool = True) -> list[bytes]:
        """Everything said to `data`, until the engine ends the session."""
        await until(self.end.opened)
        assert self.end.send(memoryview(data)) == len(data)
        heard = bytearray()
        async with asyncio.timeout(10):
            while True:
                over = self.end.ended()
                heard += self.end.receive()
                if over or (heard and not until_ended):
                    return [bytes(heard[at : at + FRAME_BYTES]) for at in range(0, len(heard), FRAME_BYTES)]
                await asyncio.sleep(0.002)


@pytest.mark.parametrize("why", [w for w in PROVOKED if w not in NOT_BY_BYTES], ids=lambda w: w.name)
def test_each_fault_is_answered_and_ends_the_session(tmp_path: Path, why: Fault) -> None:
    """By name, as over a socket; then the source is free and the next producer is served."""
    data, _ = PROVOKED[why]

    async def main() -> None:
        async with running(ring_settings(tmp_path)) as r:
            assert r.settings.engine.ring is not None
            peer = RingPeer(r.settings.engine.ring)
            said = await peer.answers(data)
            told = np.frombuffer(b"".join(said), f.DTYPES[Template.FAULT])
            assert [Fault(code) for code in told["code"][told["template"] == Template.FAULT]] == [why]
            peer.end.close()
            client = EngineClient(address(r), [Source.MATCHING], last_output=NO_OUTPUTS)
            await client.connect()
            await client.close()

    run(main)


def test_garbage_positions_end_the_session_and_not_the_engine(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(ring_settings(tmp_path)) as r:
            assert r.settings.engine.ring is not None
            peer = RingPeer(r.settings.engine.ring)
            await until(peer.end.opened)
            peer.end._words[ring_module._REQUEST_HEAD] = 1 << 40
            await until(peer.end.ended)
            peer.end.close()
            peer = RingPeer(r.settings.engine.ring)
            await until(peer.end.opened)
            peer.end._words[ring_module._RESPONSE_TAIL] += 5
            peer.end.send(memoryview(hello(Source.MATCHING)))
            await until(peer.end.ended)
            peer.end.close()
            client = EngineClient(address(r), SOURCES)
            await client.connect()
            await client.send(FLOW)
            assert (await client.status()).digest == folded(FLOW).state.digest()
            await client.close()

    run(main)


def test_who_does_not_take_its_answers_is_held_back_and_others_are_not(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(ring_settings(tmp_path)) as r:
            assert r.settings.engine.ring is not None
            deaf = ProducerEnd(r.settings.engine.ring)
            await until(deaf.opened)
            deaf.send(memoryview(hello(Source.MATCHING)))
            frames = memoryview(refused_fills(1, 3000))
            at = 0
            for _ in range(400):
                at += deaf.send(frames[at : at + 16 * FRAME_BYTES])
                await asyncio.sleep(0.001)
            assert at < len(frames), "the engine went on although nobody listened"
            held = r.engine.ordinal()
            other = EngineClient(r.settings.engine.socket, [Source.ADMIN])
            await other.connect()
            await other.send(OPENING[OPENING["source"] == Source.ADMIN])
            await other.drain()
            await other.close()
            assert r.engine.ordinal() > held
            async with asyncio.timeout(10):
                while at < len(frames):
                    deaf.receive()
                    at += deaf.send(frames[at:])
                    await asyncio.sleep(0.001)
                while r.engine.durable_seq(Source.MATCHING) < 3000:
                    deaf.receive()
                    await asyncio.sleep(0.001)
            deaf.close()

    run(main)


DYING = """
import os, signal, sys
from pathlib import Path
from engine.gateway.ring import CONTROL_BYTES, ProducerEnd
from engine.gateway import ring
end = ProducerEnd(Path(sys.argv[1]))
while not end.opened():
    pass
data = sys.stdin.buffer.read()
end.send(memoryview(data))
half = end._get(ring._REQUEST_HEAD) % end.requests.slots * 64
end._map[CONTROL_BYTES + half:CONTROL_BYTES + half + 32] = data[:32]
if sys.argv[2] == "shown":
    end._words[ring._REQUEST_HEAD] += 1
while end._get(ring._REQUEST_TAIL) < len(data) // 64:
    pass
print("sent", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("head", ["not shown", "shown"])
def test_a_producer_killed_in_the_middle_of_a_frame(tmp_path: Path, head: str) -> None:
    """What it had sent whole is booked; half a frame is not, even where the head already shows it."""

    async def main() -> None:
        async with running(ring_settings(tmp_path)) as r:
            await open_books(r)
            child = await asyncio.create_subprocess_exec(
                *[sys.executable, "-c", DYING, str(r.settings.engine.ring), head],
                stdin=subprocess.PIPE,
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
            await child.communicate(hello(Source.MATCHING, last_output=NO_OUTPUTS) + FILLS[:50].tobytes())
            assert child.returncode == -signal.SIGKILL
            await until(lambda: r.engine.head.get("sessions") == 0)
            assert r.engine.durable_seq(Source.MATCHING) == FILLS[49]["seq"]
            assert r.engine.head.get("faults") == (head == "shown")
            client = EngineClient(address(r), [Source.MATCHING])
            assert await client.connect() == {Source.MATCHING: FILLS[49]["seq"]}
            await client.send(FILLS[50:].view(FRAME))
            status = await client.status()
            assert status.digest == folded(np.concatenate([OPENING, FILLS.view(FRAME)])).state.digest()
            await client.close()

    run(main)


def test_a_client_goes_on_after_a_restart_of_the_engine(tmp_path: Path) -> None:
    settings = ring_settings(tmp_path)

    async def main() -> None:
        half = len(FLOW) // 2
        client = EngineClient(f"ring:{settings.engine.ring}", SOURCES)
        async with running(settings):
            await client.connect()
            await client.send(FLOW[:half])
            await client.drain()
        sending = asyncio.ensure_future(client.send(FLOW[half:]))
        await asyncio.sleep(0.1)
        async with running(settings) as r:
            await asyncio.wait_for(sending, 10)
            status = await client.status()
            assert status.digest == folded(FLOW).state.digest() == r.engine.digest()
            assert client.reconnects >= 1
            await client.close()

    run(main)


def test_no_ring_is_told_in_words(tmp_path: Path) -> None:
    async def main() -> None:
        client = EngineClient(f"ring:{tmp_path / 'ring'}", SOURCES, patience_s=0.1)
        with pytest.raises(ConnectionLost, match="no ring here"):
            await client.connect()

    run(main)


def test_the_control_page_is_as_the_c_header_has_it() -> None:
    text = (C / "godark_ring.h").read_text()
    assert f"#define GD_RING_CONTROL_BYTES {CONTROL_BYTES}\n" in text
    assert f"INT64_C(0x{ring_module.MAGIC:X})" in text
