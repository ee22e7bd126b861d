"""The order flow against a gateway that is only a list: order, pace, what is measured."""

from __future__ import annotations

import asyncio
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.app import flow as subject
from engine.app.flow import OrderFlow
from engine.common.errors import ProcessFailed
from engine.gateway.client import EngineClient
from engine.venue.simulator import Simulator
from kernels.frames import FILL, Source, Template


class _Client:
    """Takes everything at once; `slow_s` is how long an ack takes."""

    def __init__(self, slow_s: float = 0.0) -> None:
        self.sent: list[NDArray[np.void]] = []
        self.reconnects = 0
        self.slow_s = slow_s
        self.closed = False

    async def connect(self) -> dict[int, int]:
        return {}

    async def send(self, frames: NDArray[np.void]) -> None:
        self.sent.append(frames)

    async def drain(self) -> None:
        await asyncio.sleep(self.slow_s)

    async def close(self) -> None:
        self.closed = True


def _flow(client: _Client, rate: int = 1000) -> OrderFlow:
    return OrderFlow(Simulator(1, markets=2, accounts=10), cast(EngineClient, client), rate)


def test_accounts_come_after_the_tick_that_puts_parameters_in_force() -> None:
    client = _Client()
    flow = _flow(client)
    seen: list[int] = []

    def books_now_ns() -> int:
        seen.append(len(client.sent))
        return 5 if len(seen) < 4 else 6

    asyncio.run(flow.open(books_now_ns))
    assert seen == [1, 1, 1, 1], "asked until it moved, with nothing but the parameters sent"
    assert {int(s) for s in client.sent[0]["source"]} == {Source.ADMIN}
    assert {int(s) for s in client.sent[1]["source"]} == {Source.MATCHING, Source.CHAIN}


def test_a_clock_that_stands_still_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_TICK_WAIT_S", 0.05)
    with pytest.raises(ProcessFailed, match="did not tick"):
        asyncio.run(_flow(_Client()).open(lambda: 5))


async def _run(flow: OrderFlow, seconds: int) -> None:
    ticks = iter(range(1000))
    await flow.open(lambda: next(ticks))
    await flow.run(seconds)


def test_the_rate_is_kept_and_all_of_it_counted() -> None:
    client = _Client()
    flow = _flow(client, rate=3000)
    asyncio.run(_run(flow, 1))
    fills = [frames[frames["template"] == int(Template.FILL)] for frames in client.sent]
    assert flow.sent == sum(map(len, fills))
    # the last slice may wait for the end of its quiet 50 ms, and a busy machine may cost some at the start
    assert 1500 < flow.sent <= 3400
    times = np.concatenate(fills).view(FILL)["time_ns"]
    assert (np.diff(times) >= 0).all()


def test_a_pause_is_made_up_for_by_one_second_of_flow_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_DEBT_S", 0.1)
    client = _Client(slow_s=0.5)
    flow = _flow(client, rate=1000)
    asyncio.run(_run(flow, 1))
    largest = max(int((frames["template"] == int(Template.FILL)).sum()) for frames in client.sent)
    assert 50 <= largest <= 100


def test_latency_is_from_send_to_ack() -> None:
    client = _Client(slow_s=0.03)
    flow = _flow(client)
    assert flow.measured(0).ack_p50_ns == -1
    asyncio.run(_run(flow, 1))
    measured = flow.measured(777)
    assert measured.fills_per_s == 777
    assert 30_000_000 <= measured.ack_p50_ns <= measured.ack_p99_ns < 1_000_000_000


def test_quiet_waits_for_the_ack_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_IDLE_WAIT_S", 0.05)

    async def act() -> None:
        flow = _flow(_Client(slow_s=60))
        opening = asyncio.create_task(flow.open(lambda: 5))
        await asyncio.sleep(0)
        assert not flow.idle.is_set()
        async with asyncio.timeout(1.0):
            await flow.quiet()
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        assert flow.idle.is_set()

    asyncio.run(act())


@pytest.mark.parametrize("steps", range(8))
def test_a_task_that_waits_for_quiet_can_be_cancelled_at_any_step(steps: int) -> None:
    async def act() -> None:
        flow = _flow(_Client())

        over = False

        async def until_over() -> None:
            while not over:
                await flow.quiet()
                await asyncio.sleep(0)

        task = asyncio.create_task(until_over())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=0.2)
        cancelled, over = task.cancelled(), True
        assert cancelled

    asyncio.run(act())
