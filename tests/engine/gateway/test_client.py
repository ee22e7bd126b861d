"""The client against an engine that does what the test says."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from engine.common.errors import ConnectionLost
from engine.gateway.client import EngineClient
from kernels.frames import Source
from tests.engine.gateway.fake_engine import FakeEngine, engine, fills, output
from tests.engine.gateway.running import run, until


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
