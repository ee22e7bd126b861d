"""Both ends of a bare transport, for `bench.ring`.

`python -m bench._ring_peer ring|socket PATH ROUNDS` writes what is on its stdin that many times; `drain` takes it.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

from engine.gateway.ring import EngineEnd, ProducerEnd
from kernels.frames import FRAME_BYTES

_PATIENCE_S = 30.0


def drain(end: EngineEnd | socket.socket, expected: int) -> tuple[float, bytes]:
    """(seconds from the first byte to the last, the last frame). TimeoutError if they do not come."""
    room = memoryview(bytearray(1 << 20))
    deadline = time.monotonic() + _PATIENCE_S
    if isinstance(end, EngineEnd):
        while not end.asked():
            time.sleep(0.001)
            if time.monotonic() > deadline:
                raise TimeoutError("no producer")
        end.open_session()
    else:
        end.settimeout(_PATIENCE_S)
    taken, count, began = 0, 0, 0.0
    while taken < expected:
        count = end.take(room) if isinstance(end, EngineEnd) else end.recv_into(room)
        if not count:
            os.sched_yield()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{taken} of {expected} bytes came")
            continue
        began = began or time.perf_counter()
        taken += count
    seconds = time.perf_counter() - began
    if isinstance(end, socket.socket):
        end.close()
    return seconds, bytes(room[max(count - FRAME_BYTES, 0) : count])


def _write(kind: str, path: str, rounds: int, data: memoryview) -> None:
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(_PATIENCE_S)
            peer.connect(path)
            for _ in range(rounds):
                peer.sendall(data)
        return
    end = ProducerEnd(Path(path))
    while not end.opened():
        time.sleep(0.0005)
    for _ in range(rounds):
        rest = data
        while len(rest):
            done = end.send(rest)
            rest = rest[done:]
            if not done:
                os.sched_yield()
    time.sleep(1.0)  # the other side takes the rest and ends this process


if __name__ == "__main__":
    _write(sys.argv[1], sys.argv[2], int(sys.argv[3]), memoryview(sys.stdin.buffer.read()))
