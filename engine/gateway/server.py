"""The server: sockets around sessions. What arrived in one turn of the loop becomes one group."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from typing import Any, cast

from engine.common.errors import JournalFull, SyncFailed
from engine.common.logs import get_logger
from engine.common.settings import Settings
from engine.gateway.clock import RISK_NS, SteadyTime, wait_ns
from engine.gateway.engine import Engine
from engine.gateway.places import BACKLOG, Places
from engine.gateway.ring_server import RingListener
from engine.gateway.session import NO_OUTPUTS, Session, ack_frame, fault_frame
from engine.journal.head import slot
from kernels.frames import Fault

WRITE_HIGH_WATER = 1 << 20
OUTPUTS_AT_ONCE = 8192
CONNECTIONS_MAX = 64
DEAD_AFTER_S = 10
"""Without a sign of life a TCP peer's connection ends: its machine or the way to it is gone."""
STEP_NS = RISK_NS
"""Of the clock: no heartbeat is older, but for a group in hand."""
LOGGED_PER_S = 10
_SESSIONS, _FAULTS, _CLOCK_OFF = slot("sessions"), slot("faults"), slot("clock_off_ns")
_LOGGED, _UNLOGGED = slot("logged"), slot("unlogged")


class Connection(asyncio.BufferedProtocol):
    """One peer. Reads into its session's buffer; a full buffer or a slow reader pauses it."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.session = Session(hub.engine, hub.engine.gate, hub.ring_frames)
        self.transport: asyncio.Transport | None = None
        self.writable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        _notice_death(transport.get_extra_info("socket"))
        self._hub.joined(self)

    def get_buffer(self, sizehint: int) -> Any:
        return self.session.room()

    def buffer_updated(self, nbytes: int) -> None:
        self.session.received(nbytes)
        if self.session.full and self.transport is not None:
            self.transport.pause_reading()
        if self.session.pending:
            self._hub.wake(self)

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self._hub.wake(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._hub.left(self)

    def send(self, data: bytes) -> None:
        """Write to the peer, if it is still there."""
        if self.transport is not None:
            self.transport.write(data)


def _notice_death(peer: socket.socket) -> None:
    """Have the system find out that a peer's machine is gone: until then its sources are taken."""
    if peer.family in (socket.AF_INET, socket.AF_INET6):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, DEAD_AFTER_S // 2)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, DEAD_AFTER_S // 2)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER_S * 1000)


class Hub:
    """All connections, and the one place where groups are made."""

    def __init__(
        self, engine: Engine, stop: asyncio.Future[None], ring_frames: int, busy_poll_us: int = 0
    ) -> None:
        self.engine = engine
        self.ring_frames = ring_frames
        self._stop = stop
        self._connections: dict[Connection, None] = {}
        self._ready: dict[Connection, None] = {}
        self._scheduled = False
        self._busy_poll_ns, self._awake, self._awake_until_ns = 1000 * busy_poll_us, False, 0
        self._log = get_logger()
        self._loop = asyncio.get_running_loop()
        self._full = False
        self._logging_since_ns, self._logged = 0, 0
        # Books that are ahead of the wall clock are gone on from: their time never goes back.
        self._time = SteadyTime(max(time.time_ns(), engine.now_ns()), time.monotonic_ns())

    def joined(self, connection: Connection) -> None:
        """A peer has connected. One is too many, as every peer costs a buffer: whoever has waited longest without
        a hello is dropped, or the new one if all have said it.
        """
        if len(self._connections) >= CONNECTIONS_MAX and connection.transport is not None:
            self._warn("too_many_connections", limit=CONNECTIONS_MAX)
            mute = next((c for c in self._connections if not c.session.acked), connection)
            self._connections.pop(mute, None)
            if mute.transport is not None:
                mute.transport.abort()
            if mute is connection:
                return
        self._connections[connection] = None
        self.engine.head.words[_SESSIONS] = len(self._connections)

    def left(self, connection: Connection) -> None:
        """A peer has gone; its sources are free. What it sent before is not lost: it was journaled or not acked."""
        self._connections.pop(connection, None)
        self._ready.pop(connection, None)
        self.engine.detach(connection.session)
        self.engine.head.words[_SESSIONS] = len(self._connections)

    def wake(self, connection: Connection) -> None:
        """Something is to be done for `connection` in the next turn."""
        self._ready[connection] = None
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and not self._stop.done():
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Journal, book and acknowledge what has arrived, one group at most."""
        self._scheduled = False
        began = time.perf_counter_ns()
        ready, self._ready = list(self._ready), {}
        made = 0
        touched = []
        for connection in ready:
            if not connection.writable or connection.transport is None:
                continue
            if made == len(self.engine.group):
                self._ready[connection] = None
                continue
            made = self._take(connection, made)
            touched.append(connection)
        if not made or self._commit(made, touched):
            self._acknowledge(touched)
            self._send_outputs()
            if made:
                self.engine.acknowledged(time.perf_counter_ns() - began)
                self._stay_awake()
        if self._ready:
            self._schedule()

    def _stay_awake(self) -> None:
        """A group is done: for `busy_poll_us` the loop asks for the next one without sleeping."""
        if self._busy_poll_ns:
            self._awake_until_ns = time.perf_counter_ns() + self._busy_poll_ns
            if not self._awake:
                self._awake = True
                self._loop.call_soon(self._poll)

    def _poll(self) -> None:
        """Called in every turn of the loop while it is awake: that alone keeps it from sleeping in the system."""
        if time.perf_counter_ns() < self._awake_until_ns and not self._stop.done():
            self._loop.call_soon(self._poll)
        else:
            self._awake = False

    def _take(self, connection: Connection, made: int) -> int:
        answers: list[bytes] = []
        progress = connection.session.take(self.engine.group, made, answers)
        for answer in answers:
            connection.send(answer)
        transport = connection.transport
        if progress.fault is not None:
            self.engine.head.words[_FAULTS] += 1
            self._warn("session_fault", **progress.fault.context)
            if transport is not None:
                transport.close()
        elif transport is not None:
            if connection.session.pending:
                self._ready[connection] = None
            if not transport.is_reading() and not connection.session.full:
                transport.resume_reading()
        return progress.made

    def _commit(self, made: int, touched: list[Connection]) -> bool:
        """Make the group durable. A failed sync ends the process here and now; a full disk refuses the group."""
        try:
            self.engine.commit(made)
        except SyncFailed as error:
            self._log.error("sync_failed", reason=error.line())
            os._exit(SyncFailed.exit_code)
        except JournalFull as error:
            if not self._full:
                self._log.error("journal_full", reason=error.line())
            self._full = True
            for connection in touched:
                connection.send(fault_frame(Fault.JOURNAL_FULL, 0, 0, 0))
                if connection.transport is not None:
                    connection.transport.close()
            return False
        self._full = False
        return True

    def _acknowledge(self, touched: list[Connection]) -> None:
        engine = self.engine
        ordinal = engine.ordinal()
        for connection in touched:
            acked = connection.session.acked
            for source, told in acked.items():
                durable = engine.durable_seq(source)
                if durable > told:
                    acked[source] = durable
                    connection.send(ack_frame(source, durable, ordinal, engine.epoch))

    def _send_outputs(self) -> None:
        """New outputs to whoever carries the matching engine's source, as far as it keeps up."""
        newest = self.engine.outputs()
        for connection in self._connections:
            session = connection.session
            if session.outputs_sent == NO_OUTPUTS:
                continue
            # All of them, as a fill makes one: what a full buffer holds back goes on when it is writable again.
            while session.outputs_sent < newest and connection.writable:
                first = self.engine.first_output(session.outputs_sent)
                last = min(newest, first + OUTPUTS_AT_ONCE - 1)
                connection.send(self.engine.output_bytes(first, last))
                session.outputs_sent = last

    def start_clock(self, live: bool) -> None:
        """Beat from now on; live: tick too, at every tenth of a second of a steady clock."""
        self.engine.own_clock = live
        self._step()

    def _step(self) -> None:
        if self._stop.done():
            return
        self.engine.beat()
        if self.engine.own_clock:
            at_ns = self._time.read(time.time_ns(), time.monotonic_ns())
            self.engine.head.words[_CLOCK_OFF] = self._time.off_ns
            while self._tick(at_ns):
                continue
            self._loop.call_later(wait_ns(at_ns, STEP_NS) / 1e9, self._step)
        else:
            self._loop.call_later(STEP_NS / 1e9, self._step)

    def _tick(self, at_ns: int) -> bool:
        """Journal and book the tick that is due at `at_ns`; False if none is, or there is no room for it."""
        tick = self.engine.tick_frame(at_ns)
        if tick is None:
            return False
        try:
            self.engine.commit_own(tick)
        except SyncFailed as error:
            self._log.error("sync_failed", reason=error.line())
            os._exit(SyncFailed.exit_code)
        except JournalFull as error:
            self._warn("journal_full", reason=error.line())
            return False
        self._send_outputs()
        if self._ready:
            self._schedule()
        return True

    def _warn(self, event: str, **context: Any) -> None:
        """One line in the log, at most LOGGED_PER_S of them: a hostile peer must not keep the loop writing."""
        words, now_ns = self.engine.head.words, time.monotonic_ns()
        if now_ns - self._logging_since_ns >= 1_000_000_000:
            self._logging_since_ns, self._logged = now_ns, 0
        self._logged += 1
        if self._logged > LOGGED_PER_S:
            words[_UNLOGGED] += 1
            return
        words[_LOGGED] += 1
        self._log.warning(event, unlogged=words[_UNLOGGED], **context)

    def close(self) -> None:
        """Drop every peer."""
        for connection in list(self._connections):
            if connection.transport is not None:
                connection.transport.close()


class Listeners:
    """Listening sockets and the hub behind them. Keeps the references that keep them alive."""

    def __init__(
        self,
        hub: Hub,
        servers: list[asyncio.AbstractServer],
        places: Places,
        ring: RingListener | None = None,
    ) -> None:
        self._hub, self._servers, self._places, self._ring = hub, servers, places, ring

    def close(self) -> None:
        """Stop listening, drop every peer, give the places back."""
        if self._ring is not None:
            self._ring.close()
        for server in self._servers:
            server.close()
        self._hub.close()
        self._places.close()


async def serve(settings: Settings, engine: Engine, places: Places, stop: asyncio.Future[None]) -> Listeners:
    """Listen on all of `places`, which are closed with the listeners; start the clock if it is ours.

    SettingsError: another process listens there now, which took it between then and now.
    """
    loop = asyncio.get_running_loop()
    hub = Hub(engine, stop, settings.engine.ring_frames, settings.engine.busy_poll_us)
    places.listen()
    servers: list[asyncio.AbstractServer] = [
        await loop.create_unix_server(lambda: Connection(hub), sock=places.unix, backlog=BACKLOG),
        *[await loop.create_server(lambda: Connection(hub), sock=s, backlog=BACKLOG) for s in places.tcp],
    ]
    hub.start_clock(settings.engine.clock == "live")
    ring = RingListener(hub, places.ring, settings.engine.ring_poll_us) if places.ring is not None else None
    return Listeners(hub, servers, places, ring)
