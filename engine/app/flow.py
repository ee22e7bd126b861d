"""The demo's order flow: the simulator as a matching engine, sending over the gateway at a rate, measuring acks."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engine.app import view
from engine.common.errors import ProcessFailed
from engine.gateway.client import EngineClient
from engine.venue.simulator import FILLS_MAX, Simulator
from kernels.frames import Source, Template

SECOND_NS = 1_000_000_000
SOURCES = (Source.MATCHING, Source.FEEDS, Source.CHAIN, Source.API, Source.ADMIN)
SLICE_S = 0.02
_FILL = int(Template.FILL)
_DEBT_S = 1.0
_TICK_QUIET_NS = 50_000_000
"""No slice is made in the first 50 ms of a second: an observation that overtakes the engine's tick of that
second would be from the future to it."""
_QUOTE_S = 0.25
_ACKS_KEPT, _ACKS_LIVE = 3000, 500
_IDLE_WAIT_S = 0.1
_TICK_WAIT_S = 30.0


class OrderFlow:
    """The simulator behind a client of the gateway: slices of fills at a rate, each acked before the next."""

    def __init__(self, simulator: Simulator, client: EngineClient, fills_per_s: int) -> None:
        self._simulator, self._client, self._rate = simulator, client, fills_per_s
        self._acks_ns: deque[int] = deque(maxlen=_ACKS_KEPT)
        self._now_ns = 0
        self.sent = 0
        self.idle = asyncio.Event()
        self.idle.set()

    def _now(self) -> int:
        """Wall clock, but never twice the same nor backwards."""
        self._now_ns = max(time.time_ns(), self._now_ns + 1)
        return self._now_ns

    async def open(self, books_now_ns: Callable[[], int]) -> None:
        """Parameters, then, once a tick has put them in force, accounts and deposits."""
        await self._client.connect()
        await self._send(self._simulator.genesis(self._now()))
        ticked_ns, deadline = books_now_ns(), time.monotonic() + _TICK_WAIT_S
        while books_now_ns() == ticked_ns:
            if time.monotonic() > deadline:
                raise ProcessFailed(f"the engine's clock did not tick within {_TICK_WAIT_S:.0f} s")
            await asyncio.sleep(SLICE_S)
        await self._send(self._simulator.register())

    async def run(self, seconds: int | None) -> None:
        """Send fills for so long, or until cancelled; all is acked at the end.

        What a pause cost is made up for, one second's worth at most.
        """
        began = due = time.monotonic()
        ends = math.inf if seconds is None else began + seconds
        made = 0.0
        while due < ends:
            due = max(due + SLICE_S, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            await _past_tick()
            wanted = (time.monotonic() - began) * self._rate
            made = max(made, wanted - _DEBT_S * self._rate)
            count = min(int(wanted - made), FILLS_MAX)
            made += count
            frames = self._simulator.step(self._now(), count)
            if len(frames):
                self._acks_ns.append(await self._send(frames))

    async def quote(self) -> None:
        """Prices without orders, until cancelled: a market whose feeds fall silent would soon be reduce-only."""
        while True:
            await asyncio.sleep(_QUOTE_S)
            await _past_tick()
            frames = self._simulator.step(self._now(), 0)
            if len(frames):
                await self._send(frames)

    async def _send(self, frames: NDArray[np.void]) -> int:
        """Send and wait for every ack, over restarts of the engine; how long that took in ns."""
        self.idle.clear()
        try:
            began_ns = time.perf_counter_ns()
            await self._client.send(frames)
            await self._client.drain()
            self.sent += int((frames["template"] == _FILL).sum())
            return time.perf_counter_ns() - began_ns
        finally:
            self.idle.set()

    async def quiet(self) -> None:
        """Wait for a moment without a slice on its way, but not for long: other work here would be measured."""
        # Not wait_for: that of Python 3.11 swallows a cancellation that comes as the wait ends.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_IDLE_WAIT_S):
                await self.idle.wait()

    def measured(self, fills_per_s: int, *, whole: bool = False) -> view.Flow:
        """What only this side can measure, over the last seconds or over all that is kept."""
        acks = list(self._acks_ns) if whole else list(self._acks_ns)[-_ACKS_LIVE:]
        p50, p99 = np.percentile(acks, (50, 99)).astype(int).tolist() if acks else (-1, -1)
        return view.Flow(
            fills_per_s=fills_per_s, resent=self._client.reconnects, ack_p50_ns=p50, ack_p99_ns=p99
        )

    async def close(self) -> None:
        """Leave the gateway."""
        await self._client.close()


async def _past_tick() -> None:
    """Wait until the quiet at the start of a second is over."""
    past_tick_ns = time.time_ns() % SECOND_NS
    if past_tick_ns < _TICK_QUIET_NS:
        await asyncio.sleep((_TICK_QUIET_NS - past_tick_ns) / SECOND_NS)
