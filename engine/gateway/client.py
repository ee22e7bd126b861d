"""A client of the gateway: sends sealed frames in order, keeps them until acked, resends after a break.

What a driver, a feed, the relayer or a matching engine in Python uses. One connection may carry several
sources, and the order in which their frames are sent is the order in which they are journaled.

    async with EngineClient("/var/lib/godark/engine.sock", [Source.MATCHING]) as client:
        fills = new_frames(Template.FILL, 2, source=Source.MATCHING, first_seq=client.next_seq(Source.MATCHING))
        fills["market"], fills["price"], fills["size"] = 0, 300_000_000, [5, -3]
        fills["maker"], fills["taker"] = 1, 2
        await client.send(seal(fills))
        await client.drain()  # both are on disk and booked
"""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import ConnectionLost, LostData, TransportFault
from engine.gateway.session import sealed
from engine.gateway.wire import RING, Wire, dial
from kernels import frames as f
from kernels.crc32c import seal_frames, words_of
from kernels.frames import FRAME, Fault, Source, StatusKind, Template

SOURCES_MAX = 16
_RETRY_FIRST_S, _RETRY_GROWTH, _RETRY_MAX_S = 0.004, 1.5, 0.5  # a standby is there within 30 ms
_FATAL = {Fault.BAD_CRC, Fault.WRONG_SCHEMA, Fault.UNKNOWN_TEMPLATE, Fault.SPARE_NOT_ZERO, Fault.CONFLICT,
          Fault.SOURCE_FORBIDDEN, Fault.NO_HELLO}  # fmt: skip


class Status(NamedTuple):
    """The engine's own word on its state."""

    ordinal: int
    digest: bytes


class _Unacked(NamedTuple):
    frames: NDArray[np.void]
    upto: dict[int, int]  # highest seq per source in it


class EngineClient:
    """One session for `sources`. `window_frames` bounds what is sent and not yet acked.

    address: the path of the Unix socket, "host:port" for TCP, or "ring:PATH" for the shared-memory ring.
    patience_s: how long to wait for an engine to answer, or for the next ack, before ConnectionLost; after a
    silence the client reconnects, so a call lasts as long as an engine is there that takes nothing (full disk).
    last_output: number of the last output seen in an earlier run; NO_OUTPUTS for none at all.
    on_output: called with each new output frame (FRAME record; `typed` reads it), in order, each once.
    on_ack: called with (source, durable seq) whenever that has grown. on_fault: with each FAULT record.
    Callbacks run on the loop and must not wait.
    hints: what was sent and not acked before a break is forgotten, never sent again; `send` then raises
    ConnectionLost, and the caller connects and numbers anew.

    Errors of every call: ConnectionLost (no engine in time), TransportFault (the engine named a fault that
    repeating does not mend), LostData (either side remembers what the other does not have: stop and alarm).
    """

    def __init__(
        self,
        address: Path | str,
        sources: Iterable[Source],
        *,
        window_frames: int = 65_536,
        patience_s: float = 30.0,
        last_output: int = 0,
        on_output: Callable[[np.void], None] | None = None,
        on_ack: Callable[[Source, int], None] | None = None,
        on_fault: Callable[[np.void], None] | None = None,
        hints: bool = False,
    ) -> None:
        self._address = str(address)
        self._sources = [int(s) for s in sources]
        self._window = window_frames
        self._patience_s = patience_s
        self._on_output, self._on_ack, self._on_fault = on_output, on_ack, on_fault
        self._hints = hints
        self.last_output = last_output
        self.acked = [0] * SOURCES_MAX
        self.reconnects = 0
        self._sent = [0] * SOURCES_MAX
        self._unacked: collections.deque[_Unacked] = collections.deque()
        self._unacked_frames = 0
        self._progress = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._wire: Wire | None = None
        self._welcomes: dict[int, np.void] = {}
        self._status: Status | None = None
        self._fatal: Exception | None = None
        self._last_fault: Fault = Fault.NONE
        self._futile = 0  # reconnects since the last ack

    async def __aenter__(self) -> EngineClient:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def next_seq(self, source: Source) -> int:
        """Sequence number for the next new frame of a source. Call after `connect`."""
        return max(self._sent[source], self.acked[source]) + 1

    async def connect(self) -> dict[int, int]:
        """Say hello for every source; returns each one's last durable seq. Retries until out of patience."""
        if self._hints:
            self._unacked.clear()
            self._unacked_frames = 0
            self._sent = self.acked.copy()
        deadline = time.monotonic() + self._patience_s
        pause = _RETRY_FIRST_S
        while True:
            try:
                return await self._connect_once(deadline)
            except (OSError, ConnectionLost, TimeoutError) as error:
                await self.close()
                if self._fatal is not None:
                    raise self._fatal from error
                if time.monotonic() + pause > deadline:
                    raise ConnectionLost(f"{self._address}: {self._why(error)}") from error
                await asyncio.sleep(pause)
                pause = min(_RETRY_GROWTH * pause, _RETRY_MAX_S)

    def _why(self, error: Exception) -> str:
        """Why nobody welcomed us, in words."""
        if self._last_fault is not Fault.NONE:
            return f"the engine says {self._last_fault.name.lower()}"
        if self._address.startswith(RING) and isinstance(error, ConnectionLost):
            return error.message
        return "no engine answers; is it running?"

    async def _connect_once(self, until_s: float) -> dict[int, int]:
        loop = asyncio.get_running_loop()
        self._last_fault = Fault.NONE
        async with asyncio.timeout(max(until_s - time.monotonic(), _RETRY_FIRST_S)):
            self._wire = Wire(self._received, self._damaged)
            self._transport = await dial(self._address, self._wire, self._patience_s)
        self._say_hello()
        deadline = loop.time() + self._patience_s
        while len(self._welcomes) < len(self._sources):
            await self._step(deadline, "no welcome")
        last = {source: int(self._welcomes[source]["last_seq"]) for source in self._sources}
        for source, seq in last.items():
            self._acknowledged(source, seq)
        self._resend(last)
        return last

    def _say_hello(self) -> None:
        assert self._transport is not None
        self._welcomes = {}
        for source in self._sources:
            hello = f.new_frames(Template.HELLO, 1, source=Source(source), first_seq=0)
            hello["acked_seq"], hello["last_output"] = self.acked[source], self.last_output
            self._transport.write(sealed(hello))

    def _resend(self, last: dict[int, int]) -> None:
        """Send again what the engine does not have yet, in the original order, byte-identical."""
        assert self._transport is not None
        durable = np.zeros(256, np.int64)
        for source, seq in last.items():
            durable[source] = seq
        for item in self._unacked:
            missing = item.frames["seq"] > durable[item.frames["source"]]
            self._transport.write(item.frames[missing].tobytes())

    async def send(self, frames: NDArray[np.void]) -> None:
        """Send sealed frames; waits while the window or the socket is full. Reconnects by itself.

        frames: contiguous records of any template. They are kept, not copied, until they are acked: leave
        them as they are. What is all acked already is sent (the engine compares it) and not kept.
        """
        frames = frames.view(FRAME)
        upto = {
            source: int(seqs.max())
            for source in self._sources
            if len(seqs := frames["seq"][frames["source"] == source])
        }
        while self._unacked_frames and self._unacked_frames + len(frames) > self._window:
            await self._settle()
        if self._wire is None or self._wire.lost.done():
            await self._reconnect()
        if not upto or any(seq > self.acked[source] for source, seq in upto.items()):
            self._unacked.append(_Unacked(frames, upto))
            self._unacked_frames += len(frames)
        for source, seq in upto.items():
            self._sent[source] = max(self._sent[source], seq)
        assert self._transport is not None and self._wire is not None
        self._transport.write(frames.view(np.uint8).data)
        if not self._wire.writable.is_set():
            await self._settle()

    async def keep(self, *, always: bool = False) -> None:
        """Reconnect and resend if the engine went away while something is not acked. For those who seldom send.

        `always`: also when all is acked, to go on hearing outputs.
        """
        if (self._unacked or always) and self._wire is not None and self._wire.lost.done():
            await self._reconnect()

    async def drain(self) -> None:
        """Wait until everything sent is durable and booked."""
        while self._unacked:
            await self._settle()

    async def answered(self) -> None:
        """Wait until the engine has looked at everything sent, resends of acked frames too: its faults are told.

        A second hello asks for that: it is answered in its turn.
        """
        await self.drain()
        self._say_hello()
        deadline = asyncio.get_running_loop().time() + self._patience_s
        while len(self._welcomes) < len(self._sources):
            await self._step(deadline, "no welcome")

    async def status(self) -> Status:
        """Ordinal and digest of the live state, after everything sent is acked. Asks again after a break."""
        deadline = asyncio.get_running_loop().time() + self._patience_s
        request = f.new_frames(Template.STATUS_REQUEST, 1, source=Source.ENGINE, first_seq=0)
        request["kind"] = int(StatusKind.DIGEST)
        while True:
            await self.drain()
            self._status = None
            assert self._transport is not None
            self._transport.write(sealed(request))
            try:
                while self._status is None:
                    await self._step(deadline, "no status")
                return self._status
            except ConnectionLost:
                if self._wire is None or not self._wire.lost.done():
                    raise
                await self._reconnect()

    async def close(self) -> None:
        """Leave; unacked frames stay with the caller."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    async def _settle(self) -> None:
        try:
            await self._step(asyncio.get_running_loop().time() + self._patience_s, "no ack")
        except ConnectionLost:
            if self._fatal is not None:
                raise self._fatal from None
            await self._reconnect()

    async def _reconnect(self) -> None:
        """Connect again. Where that has brought no ack (a full disk, say), not at once."""
        self.reconnects += 1
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        if self._hints:
            raise ConnectionLost(f"{self._address}: the engine went away")
        if self._futile:
            await asyncio.sleep(min(_RETRY_FIRST_S * 2 ** min(self._futile, 10), _RETRY_MAX_S))
        self._futile += 1
        await self.connect()

    async def _step(self, deadline: float, what: str) -> None:
        """Wait for the next word from the engine. ConnectionLost if it goes away or stays silent."""
        assert self._wire is not None
        self._progress.clear()
        waiter = asyncio.ensure_future(self._progress.wait())
        try:
            left = deadline - asyncio.get_running_loop().time()
            done, _ = await asyncio.wait({waiter, self._wire.lost}, timeout=max(0.0, left),
                                         return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
        finally:
            waiter.cancel()
        if self._fatal is not None:
            raise self._fatal
        if self._wire.lost.done():
            raise ConnectionLost(f"{self._address}: the engine went away")
        if not done:
            raise ConnectionLost(f"{self._address}: {what} within {self._patience_s} s")

    def _received(self, frames: NDArray[np.void]) -> None:
        outputs = (frames["template"] >= Template.REFUSAL) & (frames["template"] < Template.HELLO)
        self._got_outputs(frames[outputs])
        for row in frames[~outputs]:
            template = int(row["template"])
            if template == Template.ACK:
                ack = typed(row, Template.ACK)
                self._acknowledged(int(row["source"]), int(ack["durable_seq"]))
            elif template == Template.WELCOME:
                self._welcome(int(row["source"]), typed(row, Template.WELCOME))
            elif template == Template.FAULT:
                self._fault(int(row["source"]), typed(row, Template.FAULT))
            elif template == Template.STATUS:
                self._got_status(typed(row, Template.STATUS))
        self._progress.set()

    def _got_outputs(self, frames: NDArray[np.void]) -> None:
        """Those not seen before. Nearly every fill makes one: where nobody asks for them none is looked at."""
        new = frames[frames["seq"] > self.last_output]
        if not len(new):
            return
        if self._on_output is not None:
            for row in new:
                # After a second hello some come twice, maybe both times in one piece.
                if int(row["seq"]) > self.last_output:
                    self.last_output = int(row["seq"])
                    self._on_output(row)
        self.last_output = max(self.last_output, int(new["seq"].max()))

    def _damaged(self) -> None:
        """What arrived is not what was sent: nothing more is believed, and the connection is made anew."""
        if self._transport is not None:
            self._transport.abort()

    def _acknowledged(self, source: int, seq: int) -> None:
        if seq > self.acked[source]:
            self.acked[source] = seq
            self._futile = 0
            if self._on_ack is not None:
                self._on_ack(Source(source), seq)
        while self._unacked and all(self.acked[s] >= n for s, n in self._unacked[0].upto.items()):
            self._unacked_frames -= len(self._unacked.popleft().frames)

    def _welcome(self, source: int, row: np.void) -> None:
        if int(row["last_seq"]) < self.acked[source]:
            self._fatal = LostData(
                f"source {source}: the engine acked seq {self.acked[source]} and now has {int(row['last_seq'])}"
            )
        self._welcomes[source] = row

    def _fault(self, source: int, row: np.void) -> None:
        why = self._last_fault = Fault(int(row["code"]))
        if self._on_fault is not None:
            self._on_fault(row)
        if why is Fault.LOST_DATA:
            self._fatal = LostData(
                f"source {source}: we hold an ack for a frame that the engine does not have"
            )
        elif why in _FATAL:
            self._fatal = TransportFault(
                why.name.lower(), f"source {source}, seq {int(row['fault_seq'])}", seq=int(row["fault_seq"])
            )

    def _got_status(self, row: np.void) -> None:
        digest = b"".join(int(row[f"digest{k}"]).to_bytes(8, "little", signed=True) for k in range(4))
        self._status = Status(int(row["ordinal"]), digest)


def typed(row: np.void, template: Template | None = None) -> np.void:
    """A frame read by a template, its own if none is given: fields by their names."""
    named = Template(int(row["template"])) if template is None else template
    return np.frombuffer(row.tobytes(), f.DTYPES[named])[0]


def seal(frames: NDArray[np.void]) -> NDArray[np.void]:
    """Write the CRC of each frame, in place; the same records, ready for `send`. To be called last."""
    seal_frames(words_of(frames), 0, len(frames))
    return frames.view(FRAME)
