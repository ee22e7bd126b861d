"""The producer's side of the shared-memory ring as an asyncio transport, so that one client serves all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.gateway.ring import ProducerEnd

_PAUSE_S = 0.001
_LIFE_S = 0.05
_HIGH_WATER = 1 << 20


class RingTransport(asyncio.Transport):
    """Bytes of whole frames into the ring, what is answered to the protocol. Polls every millisecond, at once
    while something comes."""

    def __init__(self, end: ProducerEnd, protocol: asyncio.Protocol, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._end, self._protocol, self._loop = end, protocol, loop
        self._unsent = bytearray()
        self._paused = False
        self._closing = False
        self._life_at = 0.0
        protocol.connection_made(self)
        loop.call_soon(self._turn)

    def write(self, data: Any) -> None:
        """Into the ring as far as there is room, the rest when there is."""
        if self._closing:
            return
        self._unsent += data
        self._push()
        if len(self._unsent) > _HIGH_WATER and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def _push(self) -> None:
        if self._unsent:
            with memoryview(self._unsent) as view:
                done = self._end.send(view)
            del self._unsent[:done]

    def _turn(self) -> None:
        if self._closing:
            return
        ended = self._end.ended()
        self._push()
        if self._paused and len(self._unsent) < _HIGH_WATER // 2:
            self._paused = False
            self._protocol.resume_writing()
        data = self._end.receive()
        if data:
            self._protocol.data_received(data)  # type: ignore[arg-type]
        if ended or not self._alive():
            self.abort()
        elif data:
            self._loop.call_soon(self._turn)
        else:
            self._loop.call_later(_PAUSE_S, self._turn)

    def _alive(self) -> bool:
        """Whether the engine holds its end; asked now and then."""
        now = self._loop.time()
        if now < self._life_at:
            return True
        self._life_at = now + _LIFE_S
        return self._end.engine_lives()

    def close(self) -> None:
        """Let go of the ring. The engine finds the producer's byte free and ends the session."""
        self.abort()

    def abort(self) -> None:
        """The same: nothing is kept back for later."""
        if not self._closing:
            self._push()
            self._closing = True
            self._end.close()
            self._loop.call_soon(self._protocol.connection_lost, None)

    def is_closing(self) -> bool:
        """Whether it is over."""
        return self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The limits are fixed."""


async def open_ring(path: Path, protocol: Callable[[], asyncio.Protocol], patience_s: float) -> RingTransport:
    """Attach to the ring of a running engine. ConnectionLost: none there, or taken. TimeoutError: it is silent."""
    end = ProducerEnd(path)
    try:
        async with asyncio.timeout(patience_s):
            while not end.opened():
                await asyncio.sleep(_PAUSE_S)
    except BaseException:
        end.close()
        raise
    return RingTransport(end, protocol(), asyncio.get_running_loop())
