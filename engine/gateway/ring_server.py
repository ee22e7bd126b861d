"""The engine's side of the shared-memory ring: one connection more in the hub, polled in the loop's turns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from engine.common.errors import TransportFault
from engine.common.logs import get_logger
from engine.gateway.ring import EngineEnd
from engine.gateway.session import Session

if TYPE_CHECKING:
    from engine.gateway.server import Connection, Hub

_LIFE_S = 0.05
_FLUSH_S = 2.0


class RingConnection:
    """To the hub a connection like any other. `transport` is itself, or None once the session has ended."""

    def __init__(self, hub: Hub, end: EngineEnd) -> None:
        self.session = Session(hub.engine, hub.engine.gate, hub.ring_frames)
        self.transport: RingConnection | None = self
        self.closing_since: float | None = None
        self._end = end
        self._unsent = bytearray()

    @property
    def writable(self) -> bool:
        """False while the producer has not made room for what was said."""
        return not self._unsent

    def send(self, data: bytes) -> None:
        """Say it, now or when there is room."""
        if self.transport is not None:
            self._unsent += data
            self.flush()

    def flush(self) -> bool:
        """Say what is left to be said; whether all of it is. A producer that left garbage is not answered."""
        if self._unsent:
            try:
                with memoryview(self._unsent) as view:
                    done = self._end.answer(view)
            except TransportFault as error:
                get_logger().warning("session_fault", reason=error.line(), **error.context)
                self.abort()
                return True
            del self._unsent[:done]
        return not self._unsent

    def is_reading(self) -> bool:
        """Always: the ring itself is what holds a producer back."""
        return True

    def resume_reading(self) -> None:
        """Nothing to do, see `is_reading`."""

    def close(self) -> None:
        """End the session when what was said has been taken."""
        if self.closing_since is None:
            self.closing_since = asyncio.get_running_loop().time()

    def abort(self) -> None:
        """End it without waiting for that."""
        self._unsent.clear()
        self.close()


class RingListener:
    """Polls the ring: every `poll_us`, at once while frames come, without pause where `poll_us` is 0."""

    def __init__(self, hub: Hub, end: EngineEnd, poll_us: int) -> None:
        self._hub = hub
        self._pause_s = poll_us / 1e6
        self._end = end
        self._connection: RingConnection | None = None
        self._loop = asyncio.get_running_loop()
        self._life_at = 0.0
        self._closed = False
        self._turn()

    def _turn(self) -> None:
        if self._closed:
            return
        try:
            busy = self._poll()
        except TransportFault as error:
            get_logger().warning("session_fault", reason=error.line(), **error.context)
            self._drop()
            busy = True
        if busy or self._pause_s == 0:
            self._loop.call_soon(self._turn)
        else:
            self._loop.call_later(self._pause_s, self._turn)

    def _poll(self) -> bool:
        """One look at the ring; whether there was anything."""
        if self._end.asked():
            self._drop()
            self._end.open_session()
            self._connection = RingConnection(self._hub, self._end)
            self._hub.joined(cast("Connection", self._connection))
        connection = self._connection
        if connection is None:
            return False
        was_writable = connection.writable
        flushed = connection.flush()
        now = self._loop.time()
        if connection.closing_since is not None:
            if flushed or now > connection.closing_since + _FLUSH_S:
                self._drop()
            return False
        count = self._end.take(connection.session.room()) if flushed else 0
        if count:
            connection.session.received(count)
        if (count and connection.session.pending) or flushed != was_writable:
            self._hub.wake(cast("Connection", connection))
        if not count and now > self._life_at:
            self._life_at = now + _LIFE_S
            if not self._end.producer_lives() and not self._end.waiting() and not connection.session.pending:
                self._drop()
        return count > 0 or (flushed and self._end.waiting())

    def _drop(self) -> None:
        """End the session, if there is one; its sources are free."""
        connection, self._connection = self._connection, None
        self._end.end_session()
        if connection is not None:
            connection.transport = None
            self._hub.left(cast("Connection", connection))

    def close(self) -> None:
        """Stop polling. The ring itself goes with the other places."""
        self._drop()
        self._closed = True
