"""A ring in shared memory: the opt-in transport for a matching engine on a core of its own. Both ends, sans-IO.

A file of one control page and two rings of 64-byte slots, mapped by both processes: requests (producer to
engine) and responses (engine to producer). What goes through is what goes through a socket, frame by frame, so
the session, its answers and its faults are the same.

Each position has one writer and a cache line of its own, and only grows; slot = position % slots.

| line | word | writer | |
|---|---|---|---|
| 0 | magic, request slots, response slots | engine | once |
| 1 | request_head | producer | first position not yet written |
| 2 | request_tail | engine | first position not yet taken |
| 3 | response_head | engine | |
| 4 | response_tail | producer | |
| 5 | wanted, request_start, producer_pid | producer | number of the session it asks for, and where that begins |
| 6 | session, response_start, engine_pid | engine | session served; its negative once it has ended |

Order: slots are written before the head that shows them, and read after it; x86 keeps stores in order and
loads in order, and one Python operation is not mixed with the next, so nothing more is needed there. On other
processors Python has no fence to offer, and the ring is refused (`godark_ring.h` has its own fences).

Life: each end holds an open-file-description lock on one byte of the file, the engine 0, the producer 1. The
kernel lets go of it when the process ends, however it ends: the other end asks for that now and then. So there
is one producer at a time, and a new one opens a new session. An engine makes a new file at its start; an old
file has no lock on byte 0. A frame whose producer died while writing it was never shown by the head; a head
that runs ahead of its slots shows garbage, which the CRC of each frame and the sequence gate refuse.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import platform
import struct
from pathlib import Path

import numpy as np

from engine.common.errors import ConnectionLost, SettingsError, TransportFault
from kernels.frames import FRAME_BYTES

MAGIC = 0x4B524144_52494E47
CONTROL_BYTES = 4096
_LINE = 8  # words of a cache line
_MAGIC, _REQUEST_SLOTS, _RESPONSE_SLOTS = 0, 1, 2
_REQUEST_HEAD, _REQUEST_TAIL, _RESPONSE_HEAD, _RESPONSE_TAIL = (_LINE * k for k in (1, 2, 3, 4))
_WANTED, _REQUEST_START, _PRODUCER_PID = (_LINE * 5 + k for k in range(3))
_SESSION, _RESPONSE_START, _ENGINE_PID = (_LINE * 6 + k for k in range(3))
_ENGINE_BYTE, _PRODUCER_BYTE = 0, 1
_FLOCK = "hhxxxxqqixxxx"  # struct flock of 64-bit Linux: type, whence, start, length, pid


def check_machine() -> None:
    """SettingsError where Python cannot keep the order of stores."""
    if platform.machine() not in ("x86_64", "AMD64"):
        raise SettingsError(
            f"engine.ring: needs an x86-64 processor, this is {platform.machine()}; use the socket",
            field="engine.ring",
        )


def _let_go(fd: int) -> None:
    """Free what this open file holds. Closing is not enough: a map has a copy of the descriptor."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))


def _lock(fd: int, byte: int) -> None:
    """Hold a byte of the file for as long as it is open. BlockingIOError: someone else does."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))


def _held(fd: int, byte: int) -> bool:
    """Whether another open file description holds a byte."""
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    return struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK


class _Ring:
    """Slots of one direction. Which positions to move is the business of either end."""

    def __init__(self, memory: mmap.mmap, offset: int, slots: int) -> None:
        self.slots = slots
        self._bytes = memoryview(memory)[offset : offset + slots * FRAME_BYTES]

    def write(self, position: int, frames: memoryview) -> None:
        """Lay whole frames from `position` on; the caller has made sure that they fit."""
        at = position % self.slots * FRAME_BYTES
        first = min(len(frames), len(self._bytes) - at)
        self._bytes[at : at + first] = frames[:first]
        if first < len(frames):
            self._bytes[: len(frames) - first] = frames[first:]

    def read(self, position: int, into: memoryview) -> None:
        """Fill `into`, whole frames, from `position` on."""
        at = position % self.slots * FRAME_BYTES
        first = min(len(into), len(self._bytes) - at)
        into[:first] = self._bytes[at : at + first]
        if first < len(into):
            into[first:] = self._bytes[: len(into) - first]

    def release(self) -> None:
        self._bytes.release()


class _End:
    """What both ends share: the mapped file and its words."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._map = mmap.mmap(fd, os.fstat(fd).st_size)
        self._words = np.frombuffer(self._map, "<i8", CONTROL_BYTES // 8)
        slots = self._get(_REQUEST_SLOTS), self._get(_RESPONSE_SLOTS)
        self.requests = _Ring(self._map, CONTROL_BYTES, slots[0])
        self.responses = _Ring(self._map, CONTROL_BYTES + slots[0] * FRAME_BYTES, slots[1])

    def _get(self, word: int) -> int:
        return int(self._words[word])

    def close(self) -> None:
        """Let go of the file, and so of the lock on it."""
        if self._fd >= 0:
            self.requests.release()
            self.responses.release()
            _let_go(self._fd)
            os.close(self._fd)
            self._fd = -1


def _span(head: int, tail: int, slots: int, what: str) -> int:
    """Slots between the two positions. TransportFault for positions that cannot be."""
    if not 0 <= head - tail <= slots:
        raise TransportFault("ring", f"{what}: head {head} and tail {tail} of {slots} slots cannot be")
    return head - tail


class EngineEnd(_End):
    """The engine's end. It owns the file: made anew at every start under a temporary name, then renamed."""

    def __init__(self, path: Path, slots: int) -> None:
        check_machine()
        self._path = path
        if path.exists() and not _is_ring(path):
            raise SettingsError(f"engine.ring: {path} exists and is no ring; choose another path")
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            os.posix_fallocate(fd, 0, CONTROL_BYTES + 2 * slots * FRAME_BYTES)
            os.pwrite(fd, struct.pack("<qqq", MAGIC, slots, slots), 0)
            _lock(fd, _ENGINE_BYTE)
            super().__init__(fd)
            self._words[_ENGINE_PID] = os.getpid()
            os.rename(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise SettingsError(f"engine.ring: cannot make {path}: {error.strerror}") from error
        self._inode = os.fstat(fd).st_ino

    @property
    def session(self) -> int:
        """Number of the session that is open, else 0."""
        return max(self._get(_SESSION), 0)

    def asked(self) -> bool:
        """Whether a producer wants another session than the last one."""
        return self._get(_WANTED) != abs(self._get(_SESSION))

    def open_session(self) -> None:
        """Serve what the producer wants: from where it begins, and without what is left of the one before."""
        wanted = self._get(_WANTED)
        self._words[_REQUEST_TAIL] = self._get(_REQUEST_START)
        self._words[_RESPONSE_START] = self._get(_RESPONSE_HEAD)
        self._words[_SESSION] = wanted

    def end_session(self) -> None:
        """The producer takes what was answered, then finds the session ended."""
        if self.session:
            self._words[_SESSION] = -self.session

    def take(self, room: memoryview) -> int:
        """Move waiting frames into `room`. Returns bytes, whole frames only; TransportFault for garbage."""
        tail = self._get(_REQUEST_TAIL)
        waiting = _span(self._get(_REQUEST_HEAD), tail, self.requests.slots, "requests")
        count = min(waiting, len(room) // FRAME_BYTES)
        if count:
            self.requests.read(tail, room[: count * FRAME_BYTES])
            self._words[_REQUEST_TAIL] = tail + count
        return count * FRAME_BYTES

    def waiting(self) -> bool:
        """Whether frames wait to be taken."""
        return self._get(_REQUEST_HEAD) != self._get(_REQUEST_TAIL)

    def answer(self, frames: memoryview) -> int:
        """Write as many whole frames as there is room for. Returns bytes; TransportFault for garbage."""
        head = self._get(_RESPONSE_HEAD)
        used = _span(head, self._get(_RESPONSE_TAIL), self.responses.slots, "responses")
        count = min(self.responses.slots - used, len(frames) // FRAME_BYTES)
        if count:
            self.responses.write(head, frames[: count * FRAME_BYTES])
            self._words[_RESPONSE_HEAD] = head + count
        return count * FRAME_BYTES

    def producer_lives(self) -> bool:
        """Whether a process holds the producer's byte. A system call: not for every turn."""
        return _held(self._fd, _PRODUCER_BYTE)

    def close(self) -> None:
        """End the session, remove the file if it is still ours."""
        if self._fd >= 0:
            self.end_session()
            if self._path.exists() and self._path.stat().st_ino == self._inode:
                self._path.unlink()
        super().close()


class ProducerEnd(_End):
    """The producer's end of an engine's ring. ConnectionLost if there is none, or another producer has it."""

    def __init__(self, path: Path) -> None:
        check_machine()
        if not path.exists() or not _is_ring(path):
            raise ConnectionLost(f"{path}: no ring here; is the engine running with engine.ring set?")
        fd = os.open(path, os.O_RDWR)
        try:
            if not _held(fd, _ENGINE_BYTE):
                raise ConnectionLost(f"{path}: the ring's engine is gone")
            _lock(fd, _PRODUCER_BYTE)
        except BlockingIOError as error:
            os.close(fd)
            raise ConnectionLost(f"{path}: another producer has the ring") from error
        except ConnectionLost:
            os.close(fd)
            raise
        super().__init__(fd)
        self._words[_PRODUCER_PID] = os.getpid()
        self._words[_RESPONSE_TAIL] = self._get(_RESPONSE_HEAD)
        self._words[_REQUEST_START] = self._get(_REQUEST_HEAD)
        self._number = max(self._get(_WANTED), abs(self._get(_SESSION))) + 1
        self._words[_WANTED] = self._number
        self._opened = False

    def opened(self) -> bool:
        """Whether the engine serves this session. Until then nothing may be sent."""
        if not self._opened and abs(self._get(_SESSION)) == self._number:
            self._words[_RESPONSE_TAIL] = self._get(_RESPONSE_START)
            self._opened = True
        return self._opened

    def send(self, frames: memoryview) -> int:
        """Write as many whole frames as there is room for. Returns bytes."""
        head = self._get(_REQUEST_HEAD)
        room = self.requests.slots - (head - self._get(_REQUEST_TAIL))
        count = min(room, len(frames) // FRAME_BYTES)
        if count > 0:
            self.requests.write(head, frames[: count * FRAME_BYTES])
            self._words[_REQUEST_HEAD] = head + count
        return max(count, 0) * FRAME_BYTES

    def receive(self) -> bytearray:
        """Everything answered since the last call."""
        tail = self._get(_RESPONSE_TAIL)
        count = self._get(_RESPONSE_HEAD) - tail
        if not self._opened or count <= 0:
            return bytearray()
        data = bytearray(count * FRAME_BYTES)
        self.responses.read(tail, memoryview(data))
        self._words[_RESPONSE_TAIL] = tail + count
        return data

    def ended(self) -> bool:
        """Whether the engine has ended this session. What it answered before may still be received."""
        return self._opened and self._get(_SESSION) != self._number

    def engine_lives(self) -> bool:
        """Whether a process holds the engine's byte. A system call: not for every turn."""
        return _held(self._fd, _ENGINE_BYTE)


def _is_ring(path: Path) -> bool:
    """Whether a file has a ring's first words and the size that they ask for."""
    with path.open("rb") as file:
        head = file.read(24)
        if len(head) < 24:
            return False
        magic, requests, responses = struct.unpack("<qqq", head)
        size = CONTROL_BYTES + (requests + responses) * FRAME_BYTES
        return magic == MAGIC and requests > 0 and responses > 0 and os.fstat(file.fileno()).st_size == size
