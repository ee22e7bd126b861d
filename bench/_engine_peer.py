"""Plain senders for the engine's benchmark: bytes made beforehand, a blocking socket, nothing else on the way."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import ConnectionLost
from engine.gateway.session import NO_OUTPUTS, sealed
from engine.gateway.wire import SEND_BYTES
from kernels.frames import DTYPES, FRAME_BYTES, Source, Template, new_frames

SECOND_NS = 10**9
_ANSWER_S = 30.0

Frames = NDArray[np.void]


def attached(path: Path, last_seq: int) -> socket.socket:
    """A connection that carries the matching engine's source, once its last owner's has ended."""
    hello = new_frames(Template.HELLO, 1, source=Source.MATCHING, first_seq=0)
    hello["last_output"] = NO_OUTPUTS
    deadline = time.monotonic() + _ANSWER_S
    while True:
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(_ANSWER_S)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        peer.connect(str(path))
        peer.sendall(sealed(hello))
        answer = np.frombuffer(peer.recv(FRAME_BYTES, socket.MSG_WAITALL), DTYPES[Template.WELCOME])
        if len(answer) and int(answer["template"][0]) == Template.WELCOME:
            if int(answer["last_seq"][0]) == last_seq:
                return peer
        peer.close()
        if time.monotonic() > deadline:
            raise ConnectionLost(f"{path}: the engine did not welcome seq {last_seq}")
        time.sleep(0.02)


def pump(peer: socket.socket, fills: Frames, batch: int) -> list[int]:
    """Send `fills` with one batch in flight: nanoseconds from each batch's first byte to its durable ack."""
    data = [part.tobytes() for part in bursts(fills, batch)]
    ends = [int(part["seq"][-1]) for part in bursts(fills, batch)]
    taken = []
    for block, end in zip(data, ends, strict=True):
        began_ns = time.perf_counter_ns()
        peer.sendall(block)
        while last_ack(peer) < end:
            continue
        taken.append(time.perf_counter_ns() - began_ns)
    return taken


def pace(peer: socket.socket, fills: Frames, rate: int, burst: int, *, polls: bool = False) -> list[int]:
    """Nanoseconds from the moment a burst was due to its durable ack, for each burst, `rate` fills a second.

    A burst that could not be sent in time still counts from when it was due. ConnectionLost: silence.
    polls: while an ack is awaited it asks for it without sleeping, as a matching engine on a core of its own does;
    otherwise, and where all is acked, it sleeps until the next burst is nearly due or something comes.
    """
    interval_ns = burst * SECOND_NS // rate
    ends = [int(part["seq"][-1]) for part in bursts(fills, burst)]
    data = [part.tobytes() for part in bursts(fills, burst)]
    taken: list[int] = []
    start_ns = time.perf_counter_ns() + interval_ns
    next_out = 0
    while len(taken) < len(data):
        now_ns = time.perf_counter_ns()
        if next_out < len(data) and now_ns >= start_ns + next_out * interval_ns:
            peer.sendall(data[next_out])
            next_out += 1
        due_ns = start_ns + next_out * interval_ns if next_out < len(data) else now_ns + SECOND_NS
        asks = polls and len(taken) < next_out
        wait_s = 0 if asks else max(due_ns - time.perf_counter_ns() - 30_000, 0) / 1e9
        if not select.select([peer], [], [], wait_s)[0]:
            if now_ns - start_ns - len(taken) * interval_ns > _ANSWER_S * 1e9:
                raise ConnectionLost("no ack in time")
            continue
        acked = last_ack(peer)
        now_ns = time.perf_counter_ns()
        while len(taken) < len(data) and ends[len(taken)] <= acked:
            taken.append(now_ns - start_ns - len(taken) * interval_ns)
    return taken


def raw_syncs(path: Path, count: int, frames: int, interval_ns: int) -> list[int]:
    """Nanoseconds of each of `count` pwrite + fdatasync of a group of so many frames, into a prezeroed file.

    One every `interval_ns`, as the paced fills come: a disk that rests in between answers otherwise. 0: at once.
    """
    length = (frames + 1) * FRAME_BYTES
    block = np.random.default_rng(1).bytes(length)
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    spent = []
    try:
        os.pwrite(fd, bytes(count * length), 0)
        os.fsync(fd)
        due_ns = time.perf_counter_ns()
        for number in range(count):
            while (began_ns := time.perf_counter_ns()) < due_ns:
                time.sleep(max(due_ns - began_ns - 50_000, 0) / 1e9)
            os.pwrite(fd, block, number * length)
            os.fdatasync(fd)
            spent.append(time.perf_counter_ns() - began_ns)
            due_ns = max(due_ns + interval_ns, time.perf_counter_ns())
    finally:
        os.close(fd)
        path.unlink()
    return spent


def bursts(fills: Frames, burst: int) -> Iterator[Frames]:
    """The fills, so many at a time."""
    for start in range(0, len(fills), burst):
        yield fills[start : start + burst]


def last_ack(peer: socket.socket) -> int:
    """Highest durable seq in what has arrived, 0 if nothing of that kind."""
    data = peer.recv(1 << 16)
    if len(data) % FRAME_BYTES:
        data += peer.recv(FRAME_BYTES - len(data) % FRAME_BYTES, socket.MSG_WAITALL)
    if not data:
        raise ConnectionLost("the engine went away")
    acks = np.frombuffer(data, DTYPES[Template.ACK])
    return int(acks["durable_seq"][acks["template"] == int(Template.ACK)].max(initial=0))
