"""A peer that speaks raw frames over a blocking socket and keeps account of every ack it was given."""

from __future__ import annotations

import os
import select
import socket
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.gateway.session import sealed
from kernels import frames as f
from kernels.frames import FRAME, FRAME_BYTES, Fault, Source, StatusKind, Template
from tests.engine.gateway.running import SOURCES, hello
from tests.engine.journal.material import Frames

_READ_BYTES = 1 << 18


class Gone(Exception):
    """The engine ended the connection, or there is none to be had."""


class Silent(Exception):
    """No word within the time."""


class Status(NamedTuple):
    """What the engine says of its state."""

    ordinal: int
    digest: bytes


class Driver:
    """Sends `frames` in their order; after a break from where the engine stands. Not more than one connection.

    acked: highest seq acknowledged of each source, over all connections: what must never be lost. faults: names
    of the faults it was answered, in order. breaks: connections that ended.
    """

    def __init__(self, path: Path, frames: Frames, *, timeout_s: float = 30.0) -> None:
        self.frames, self.timeout_s = frames, timeout_s
        self.acked = dict.fromkeys((int(s) for s in SOURCES), 0)
        self.durable = dict(self.acked)
        self.faults: list[str] = []
        self.sent = 0
        self.hellos: tuple[Source, ...] = tuple(SOURCES)
        self._path = str(path)
        self._socket: socket.socket | None = None
        self._rest = b""
        self._welcomed = 0
        self._status: Status | None = None

    def connect(self) -> None:
        """Say hello for every source; afterwards `sent` is what the engine has. Gone.

        AssertionError: it has lost what it had acknowledged.
        """
        self.close()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(self.timeout_s)
        deadline = time.monotonic() + self.timeout_s
        while True:
            try:
                self._socket.connect(self._path)
                break
            except BlockingIOError as error:  # others stand in line
                if time.monotonic() > deadline:
                    raise Gone(str(error)) from error
                time.sleep(0.002)
            except OSError as error:
                raise Gone(str(error)) from error
        self._rest, self._welcomed = b"", 0
        self._send(
            b"".join(hello(int(s), acked=self.acked.get(int(s), 0), last_output=-1) for s in self.hellos)
        )
        self._until(lambda: self._welcomed == len(self.hellos))
        for source, seq in self.acked.items():
            assert self.durable[source] >= seq, (
                f"source {source}: {seq} was acknowledged, {self.durable[source]} is there"
            )
        self.acked = dict(self.durable)  # a welcome is a promise as well
        self.sent = sum(self.durable.values())
        here = {s: n for s, n in _last_seqs(self.frames[: self.sent]).items() if n}
        assert here == {s: n for s, n in self.durable.items() if n}, (
            "what it has is no prefix of what was sent"
        )

    def send(self, count: int) -> int:
        """Send the next `count` frames without waiting for anything; how many there were. Gone."""
        part = self.frames[self.sent : self.sent + count]
        self._send(part.tobytes())
        self.sent += len(part)
        return len(part)

    def settle(self, upto: int | None = None) -> None:
        """Wait until frames[:upto] (None: all that was sent) are acknowledged. Gone, Silent."""
        wanted = _last_seqs(self.frames[: self.sent if upto is None else upto])
        self._until(lambda: all(self.acked[s] >= n for s, n in wanted.items()))

    def run(self, part: int = 200) -> None:
        """Send what is left, each part acknowledged before the next. Gone, Silent."""
        while self.send(part):
            self.settle()

    def poll(self, seconds: float) -> None:
        """Take in what comes within this time. Gone."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            assert self._socket is not None
            if select.select([self._socket], [], [], left)[0]:
                self._read()

    def status(self) -> Status:
        """The engine's own word on its state. Gone, Silent."""
        request = f.new_frames(Template.STATUS_REQUEST, 1, source=Source.ENGINE, first_seq=0)
        request["kind"] = int(StatusKind.DIGEST)
        self._status = None
        self._send(sealed(request))
        self._until(lambda: self._status is not None)
        assert self._status is not None
        return self._status

    def acked_frames(self) -> int:
        """So many frames have been acknowledged."""
        return sum(self.acked.values())

    def close(self) -> None:
        """Leave."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, data: bytes) -> None:
        """All of it, reading meanwhile: an engine that is not read from does not read either."""
        assert self._socket is not None
        view, deadline = memoryview(data), time.monotonic() + self.timeout_s
        while len(view):
            readable, writable, _ = select.select(
                [self._socket], [self._socket], [], deadline - time.monotonic()
            )
            if readable:
                self._read()
            if writable:
                try:
                    view = view[self._socket.send(view, socket.MSG_DONTWAIT) :]
                except BlockingIOError:
                    continue
                except OSError as error:
                    self._drain()
                    raise Gone(str(error)) from error
            if not (readable or writable):
                raise Silent("the engine takes nothing")

    def _drain(self) -> None:
        """Read what came before the end."""
        try:
            while True:
                self._read()
        except Gone:
            return

    def _until(self, condition: object) -> None:
        assert self._socket is not None and callable(condition)
        deadline = time.monotonic() + self.timeout_s
        while not condition():
            if not select.select([self._socket], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise Silent("no word from the engine")
            self._read()

    def _read(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(_READ_BYTES)
        except OSError as error:
            raise Gone(os.strerror(error.errno or 0)) from error
        if not data:
            raise Gone("closed")
        data = self._rest + data
        whole = len(data) // FRAME_BYTES * FRAME_BYTES
        self._rest = data[whole:]
        for row in np.frombuffer(data[:whole], FRAME):
            self._take(row)

    def _take(self, row: np.void) -> None:
        template, source = int(row["template"]), int(row["source"])
        if template not in (Template.ACK, Template.WELCOME, Template.FAULT, Template.STATUS):
            return
        word = np.frombuffer(row.tobytes(), f.DTYPES[Template(template)])[0]
        if template == Template.ACK:
            self.acked[source] = max(self.acked[source], int(word["durable_seq"]))
        elif template == Template.WELCOME:
            self.durable[source] = int(word["last_seq"])
            self._welcomed += 1
        elif template == Template.FAULT:
            self.faults.append(Fault(int(word["code"])).name)
        else:
            digest = b"".join(int(word[f"digest{k}"]).to_bytes(8, "little", signed=True) for k in range(4))
            self._status = Status(int(word["ordinal"]), digest)


def _last_seqs(frames: Frames) -> dict[int, int]:
    """Highest seq of each source."""
    return {int(s): int(frames["seq"][frames["source"] == s].max(initial=0)) for s in SOURCES}
