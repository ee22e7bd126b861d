"""The client against an engine that does what the test says."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.common.errors import ConnectionLost, LostData, TransportFault
from engine.gateway.client import EngineClient, typed
from engine.gateway.session import ack_frame, fault_frame, sealed
from kernels import frames as f
from kernels.frames import FRAME, FRAME_BYTES, Fault, Source, Template
from tests.engine.gateway.running import run, until

Frames = NDArray[np.void]


def fills(first: int, count: int, source: Source = Source.MATCHING) -> Frames:
    return np.frombuffer(sealed(f.new_frames(Template.FILL, count, source=source, first_seq=first)), FRAME)


def output(number: int) -> bytes:
    return sealed(f.new_frames(Template.FREE_COLLATERAL, 1, source=Source.ENGINE, first_seq=number))


class FakeEngine:
    """Welcomes every hello and keeps every frame; acks and all else are said by the test."""

    def __init__(self) -> None:
        self.last: dict[int, int] = {}
        self.lives: list[list[bytes]] = []
        self.hellos: list[np.void] = []
        self.refuse: Fault | None = None
        self.silent = False
        self.writer: asyncio.StreamWriter | None = None

    def frames(self, life: int = -1) -> Frames:
        """What arrived in one connection, hellos left out."""
        return np.frombuffer(b"".join(self.lives[life]), FRAME)

    def say(self, data: bytes) -> None:
        assert self.writer is not None
        self.writer.write(data)

    def ack(self, seq: int, source: Source = Source.MATCHING) -> None:
        self.last[source] = seq
        self.say(ack_frame(source, seq, 0, 1))

    def hang_up(self) -> None:
        assert self.writer is not None
        self.writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.lives.append([])
        try:
            while True:
                data = await reader.readexactly(FRAME_BYTES)
                if int(np.frombuffer(data, FRAME)["template"][0]) == Template.HELLO:
                    self._welcome(np.frombuffer(data, f.DTYPES[Template.HELLO])[0])
                else:
                    self.lives[-1].append(data)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _welcome(self, row: np.void) -> None:
        self.hellos.append(row)
        source = int(row["source"])
        if self.refuse is not None:
            self.say(fault_frame(self.refuse, source, int(row["acked_seq"]), 0))
            return
        if self.silent:
            return
        welcome = f.new_frames(Template.WELCOME, 1, source=Source.ENGINE)
        welcome["source"], welcome["last_seq"] = source, self.last.get(source, 0)
        self.say(sealed(welcome))


@asynccontextmanager
async def engine() -> AsyncIterator[tuple[FakeEngine, Path]]:
    fake = FakeEngine()
    with tempfile.TemporaryDirectory(prefix="gd-") as directory:
        path = Path(directory) / "s"
        server = await asyncio.start_unix_server(fake.serve, path)
        try:
            yield fake, path
        finally:
            server.close()
            if fake.writer is not None:
                fake.hang_up()


def test_the_window_bounds_what_is_sent_and_not_acked() -> None:
    async def main() -> None:
        async with engine() as (fake, path):
            client = EngineClient(path, [Source.MATCHING], window_frames=100)
            await client.connect()
            for start in (1, 41):
                await client.send(fills(start, 40))
            third = asyncio.ensure_future(client.send(fills(81, 40)))
            await asyncio.sleep(0.05)
            assert not third.done() and len(fake.frames()) == 80
            fake.ack(39)
            await asyncio.sleep(0.05)
            assert not third.done(), "half a send was acked"
            fake.ack(40)
            await asyncio.wait_for(third, 5)
            await until(lambda: len(fake.frames()) == 120)
            draining = asyncio.ensure_future(client.drain())
            await asyncio.sleep(0.02)
            assert not draining.done()
            fake.ack(120)
            await asyncio.wait_for(draining, 5)
            await client.close()

    run(main)


def test_one_send_larger_than_the_window_still_goes() -> None:
    async def main() -> None:
        async with engine() as (fake, path):
            client = EngineClient(path, [Source.MATCHING], window_frames=10)
            await client.connect()
            await asyncio.wait_for(client.send(fills(1, 50)), 5)
            await until(lambda: len(fake.frames()) == 50)
            await client.close()

    run(main)


def test_after_a_break_only_what_is_missing_is_sent_again_in_order_and_equal() -> None:
    async def main() -> None:
        async with engine() as (fake, path):
            client = EngineClient(path, [Source.MATCHING, Source.FEEDS])
            await client.connect()
            sent = [fills(1, 10), fills(1, 5, Source.FEEDS), fills(11, 10), fills(6, 5, Source.FEEDS)]
            for part in sent:
                await client.send(part)
            await until(lambda: len(fake.frames()) == 30)
            fake.ack(12)
            fake.ack(3, Source.FEEDS)
            await until(lambda: client.acked[Source.FEEDS] == 3)
            fake.last[Source.MATCHING] = 14  # durable, but its ack never arrived
            fake.hang_up()
            draining = asyncio.ensure_future(client.drain())
            await until(lambda: len(fake.lives) == 2 and len(fake.frames()) == 13)
            whole = np.concatenate(sent)
            durable = np.where(whole["source"] == Source.MATCHING, 14, 3)
            assert fake.frames().tobytes() == whole[whole["seq"] > durable].tobytes()
            assert [int(h["acked_seq"]) for h in fake.hellos[-2:]] == [12, 3]
            fake.ack(20)
            fake.ack(10, Source.FEEDS)
            await asyncio.wait_for(draining, 5)
            assert client.reconnects == 1
            await client.close()

    run(main)


def test_a_break_in_front_of_a_send_is_noticed() -> None:
    async def main() -> None:
        async with engine() as (fake, path):
            client = EngineClient(path, [Source.MATCHING])
            await client.connect()
            fake.hang_up()
            await asyncio.sleep(0.05)
            await client.send(fills(1, 5))
            await until(lambda: len(fake.lives) == 2 and len(fake.frames()) == 5)
            await client.close()

    run(main)


def test_keep_resends_without_a_send() -> None:
    async def main() -> None:
        async with engine() as (fake, path):
            client = EngineClient(path, [Source.MATCHING])
            await client.connect()
            await client.send(fills(1, 5))
            await until(lambda: len(fake.frames()) == 5)
            fake.hang_up()
            await asyncio.sleep(0.05)
            await client.keep()
            await until(lambda: len(fake.lives) == 2 and len(fake.frames()) == 5)
            await client.keep()
            assert client.reconnects == 1
            await client.close()

    run(main)


def test_an_engine_that_has_less_than_it_acked_has_lost_data() -> None:
    async def main() -> None:
        async with engine() as (fake, path):
            client = EngineClient(path, [Source.MATCHING])
            await client.connect()
            await client.send(fills(1, 10))
            await until(lambda: len(fake.frames()) == 10)
            fake.ack(10)
            await client.drain()
            fake.last[Source.MATCHING] = 9
            fake.hang_up()
            await asyncio.sleep(0.05)
            with pytest.raises(LostData, match=r"acked seq 10 and now has 9"):
                await client.send(fills(11, 1))
            await client.close()

    run(main)


def test_the_engines_word_that_data_was_lost_is_final() -> None:
    async def main() -> None:
        async with engine() as (fake, path):
            fake.refuse = Fault.LOST_DATA
            client = EngineClient(path, [Source.MATCHING])
            with pytest.raises(LostData):
                await client.connect()
            await client.close()

    run(main)


@pytest.mark.parametrize(
    "fault", [Fault.BAD_CRC, Fault.CONFLICT, Fault.SPARE_NOT_ZERO, Fault.SOURCE_FORBIDDEN]
)
def test_faults_that_repeating_does_not_mend_are_raised(fault: Fault) -> None:
    async def main() -> None:
        async with engine() as (fake, path):
            client = EngineClient(path, [Source.MATCHING])
            await client.connect()
            await client.send(fills(1, 3))
            await until(lambda: len(fake.frames()) == 3)
            fake.say(fault_frame(fault, Source.MATCHING, 2, 2))
            fake.writer.close()  # type: ignore[union-attr]
            with pytest.raises(TransportFault, match=f"{fault.name.lower()}.*seq 2"):
                await client.drain()
            await client.close()

    run(main)


def test_faults_that_pass_are_waited_out() -> None:
    async def main() -> None:
        async with engine() as (fake, path):
            client = EngineClient(path, [Source.MATCHING])
            await client.connect()
            await client.send(fills(1, 3))
            await until(lambda: len(fake.frames()) == 3)
            fake.say(fault_frame(Fault.JOURNAL_FULL, 0, 0, 0))
            fake.writer.close()  # type: ignore[union-attr]
            draining = asyncio.ensure_future(client.drain())
            await until(lambda: len(fake.lives) == 2 and len(fake.frames()) == 3)
            fake.ack(3)
            await asyncio.wait_for(draining, 5)
            await client.close()

    run(main)


def test_nobody_answers() -> None:
    async def main() -> None:
        client = EngineClient(Path("/tmp/gd-nobody/s"), [Source.MATCHING], patience_s=0.1)
        with pytest.raises(ConnectionLost, match="is it running"):
            await client.connect()

    run(main)


def test_an_engine_that_stays_silent_is_left() -> None:
    async def main() -> None:
        async with engine() as (fake, path):
            fake.silent = True
            client = EngineClient(path, [Source.MATCHING], patience_s=0.2)
            with pytest.raises(ConnectionLost):
                await client.connect()
            await client.close()

    run(main)


def test_outputs_come_once_each_and_in_order_over_a_break() -> None:
    async def main() -> None:
        async with engine() as (fake, path):
            seen: list[int] = []
            client = EngineClient(
                path, [Source.MATCHING], last_output=4, on_output=lambda row: seen.append(int(row["seq"]))
            )
            await client.connect()
            data = b"".join(output(n) for n in (5, 6, 7))
            fake.say(data[:100])
            await asyncio.sleep(0.02)
            fake.say(data[100:])
            await until(lambda: len(seen) == 3)
            fake.hang_up()
            await asyncio.sleep(0.02)
            await client.send(fills(1, 1))
            assert int(fake.hellos[-1]["last_output"]) == 7
            fake.say(output(7) + output(8))
            await until(lambda: len(seen) == 4)
            assert seen == [5, 6, 7, 8] and client.last_output == 8
            await client.close()

    run(main)


def test_hints_are_forgotten_with_the_engine_that_had_not_acked_them() -> None:
    async def main() -> None:
        async with engine() as (fake, path):
            client = EngineClient(path, [Source.RISK], hints=True)
            assert await client.connect() == {Source.RISK: 0}
            await client.send(fills(1, 3, Source.RISK))
            await until(lambda: len(fake.frames()) == 3)
            fake.ack(1, Source.RISK)
            await until(lambda: client.acked[Source.RISK] == 1)
            fake.hang_up()
            with pytest.raises(ConnectionLost, match="went away"):
                while True:
                    await client.send(fills(4, 1, Source.RISK))
                    await asyncio.sleep(0.005)
            assert await client.connect() == {Source.RISK: 1}
            await client.send(fills(2, 1, Source.RISK))
            await until(lambda: len(fake.frames()) == 1)
            assert fake.frames()["seq"].tolist() == [2]
            await client.close()

    run(main)


def test_an_address_of_host_and_port_is_tcp() -> None:
    async def main() -> None:
        fake = FakeEngine()
        server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with EngineClient(f"127.0.0.1:{port}", [Source.MATCHING]) as client:
            assert client.next_seq(Source.MATCHING) == 1
            await client.send(fills(1, 3))
            await until(lambda: len(fake.frames()) == 3)
            assert client.next_seq(Source.MATCHING) == 4
        server.close()

    run(main)


def test_what_arrives_damaged_is_not_believed() -> None:
    """Nothing from the first bad frame on counts; a new connection asks again."""

    async def main() -> None:
        async with engine() as (fake, path):
            seen: list[int] = []
            client = EngineClient(path, [Source.MATCHING], on_output=lambda row: seen.append(int(row["seq"])))
            await client.connect()
            bad = bytearray(output(2))
            bad[20] ^= 1
            fake.say(output(1) + bytes(bad) + output(3))
            await until(lambda: seen == [1])
            await asyncio.sleep(0.02)
            await client.keep(always=True)
            assert len(fake.lives) == 2 and int(fake.hellos[-1]["last_output"]) == 1
            fake.say(output(2) + output(3))
            await until(lambda: seen == [1, 2, 3])
            await client.close()

    run(main)


def test_outputs_told_twice_in_one_piece_are_taken_once() -> None:
    async def main() -> None:
        async with engine() as (fake, path):
            seen: list[int] = []
            client = EngineClient(path, [Source.MATCHING], on_output=lambda row: seen.append(int(row["seq"])))
            await client.connect()
            fake.say(output(1) + output(2) + output(1) + output(2) + output(3))
            await until(lambda: len(seen) >= 3)
            assert seen == [1, 2, 3] and client.last_output == 3
            await client.close()

    run(main)


def test_a_disk_that_stays_full_is_not_hammered() -> None:
    """Every connection is refused at once; the pauses between them grow."""

    async def main() -> None:
        async with engine() as (fake, path):
            client = EngineClient(path, [Source.MATCHING])
            await client.connect()
            await client.send(fills(1, 3))
            full = True

            async def refuse() -> None:
                refused = 0
                while full:
                    if len(fake.lives) > refused and len(fake.frames()) == 3:
                        refused = len(fake.lives)
                        fake.say(fault_frame(Fault.JOURNAL_FULL, 0, 0, 0))
                        fake.hang_up()
                    await asyncio.sleep(0.001)

            refusing = asyncio.ensure_future(refuse())
            draining = asyncio.ensure_future(client.drain())
            await asyncio.sleep(0.6)
            full = False
            await refusing
            assert 3 <= len(fake.lives) <= 30
            fake.last[Source.MATCHING] = 3
            if fake.writer is not None:
                fake.hang_up()
            await asyncio.wait_for(draining, 5)
            await client.close()

    run(main)


def test_acks_and_faults_are_told_to_whoever_asks() -> None:
    async def main() -> None:
        async with engine() as (fake, path):
            acks: list[tuple[Source, int]] = []
            faults: list[int] = []
            client = EngineClient(
                path,
                [Source.MATCHING],
                on_ack=lambda source, seq: acks.append((source, seq)),
                on_fault=lambda row: faults.append(int(typed(row)["code"])),
            )
            await client.connect()
            await client.send(fills(1, 5))
            await until(lambda: len(fake.frames()) == 5)
            fake.ack(3)
            fake.ack(3)
            fake.say(fault_frame(Fault.DUPLICATE_UNVERIFIED, Source.MATCHING, 1, 4))
            fake.ack(5)
            await client.drain()
            assert acks == [(Source.MATCHING, 3), (Source.MATCHING, 5)]
            assert faults == [Fault.DUPLICATE_UNVERIFIED]
            await client.close()

    run(main)


def test_a_resend_of_what_is_acked_holds_nothing_up() -> None:
    """The engine says nothing to it, so nothing is waited for; `answered` waits for the next welcome instead."""

    async def main() -> None:
        async with engine() as (fake, path):
            client = EngineClient(path, [Source.MATCHING])
            await client.connect()
            await client.send(fills(1, 2))
            await until(lambda: len(fake.frames()) == 2)
            fake.ack(2)
            await client.drain()
            await client.send(fills(1, 2))
            await asyncio.wait_for(client.drain(), 1)
            await asyncio.wait_for(client.answered(), 5)
            assert len(fake.frames()) == 4 and len(fake.hellos) == 2
            await client.close()

    run(main)


def test_a_source_that_stays_taken_is_named() -> None:
    async def main() -> None:
        async with engine() as (fake, path):
            fake.refuse = Fault.SOURCE_TAKEN
            client = EngineClient(path, [Source.MATCHING], patience_s=0.2)
            with pytest.raises(ConnectionLost, match="the engine says source_taken"):
                await client.connect()

    run(main)
