"""What a client's bytes go through: a Unix socket, TCP or the shared-memory ring, told apart by the address."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.gateway.ring_client import open_ring
from kernels.crc32c import first_bad_frame, words_of
from kernels.frames import FRAME, FRAME_BYTES

RING = "ring:"
SEND_BYTES = 1 << 20


class Wire(asyncio.Protocol):
    """Cuts what arrives into frames, checks their CRC, and knows whether the peer takes more and is still there.

    received: called with whole good frames (FRAME[n]); damaged: once behind them, if the next one is bad.
    """

    def __init__(self, received: Callable[[NDArray[np.void]], None], damaged: Callable[[], None]) -> None:
        self._received, self._damaged = received, damaged
        self._rest = b""
        self.writable = asyncio.Event()
        self.writable.set()
        self.lost = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        whole = bytearray(self._rest + data)
        left = len(whole) % FRAME_BYTES
        self._rest = bytes(whole[len(whole) - left :])
        del whole[len(whole) - left :]
        frames = np.frombuffer(whole, FRAME)
        good = first_bad_frame(words_of(frames), 0, len(frames))
        self._received(frames[:good])
        if good < len(frames):
            self._damaged()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.writable.set()
        if not self.lost.done():
            self.lost.set_result(None)


def widen(peer: Any) -> None:
    """Let a socket hold a whole group on its way: what arrives in one piece is synced once. As far as allowed.

    None, where the transport is no socket, is passed over.
    """
    if peer is not None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)


async def dial(address: str, wire: Wire, patience_s: float) -> asyncio.Transport:
    """Connect `wire` to host:port, ring:PATH or the path of a Unix socket. OSError, ConnectionLost, TimeoutError."""
    loop = asyncio.get_running_loop()
    host, _, port = address.rpartition(":")
    transport: asyncio.Transport
    if address.startswith(RING):
        transport = await open_ring(Path(address.removeprefix(RING)), lambda: wire, patience_s)
    elif host and "/" not in host and port.isdecimal():
        transport, _ = await loop.create_connection(lambda: wire, host.strip("[]"), int(port))
    else:
        transport, _ = await loop.create_unix_connection(lambda: wire, address)
    transport.set_write_buffer_limits(high=SEND_BYTES)
    widen(transport.get_extra_info("socket"))
    return transport
