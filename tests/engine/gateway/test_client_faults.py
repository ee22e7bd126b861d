"""What a client makes of faults, silence, garbage and lost data: some pass, some are raised by name."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engine.common.errors import ConnectionLost, LostData, TransportFault
from engine.gateway.client import EngineClient, typed
from engine.gateway.session import fault_frame
from kernels.frames import Fault, Source
from tests.engine.gateway.fake_engine import engine, fills, output
from tests.engine.gateway.running import run, until


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


def test_a_source_that_stays_taken_is_named() -> None:
    async def main() -> None:
        async with engine() as (fake, path):
            fake.refuse = Fault.SOURCE_TAKEN
            client = EngineClient(path, [Source.MATCHING], patience_s=0.2)
            with pytest.raises(ConnectionLost, match="the engine says source_taken"):
                await client.connect()

    run(main)
