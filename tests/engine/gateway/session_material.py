"""A session without sockets: books that say yes, a peer, and frames to send."""

from __future__ import annotations

import numpy as np

from engine.gateway.session import Progress, Session, sealed
from kernels import frames as f
from kernels.admission import Gate, new_gate
from kernels.crc32c import crc32c
from kernels.frames import DTYPES, FRAME, FRAME_BYTES, Fault, Source, Template


class Books:
    """An engine that has booked what the test says."""

    epoch = 3

    def __init__(self) -> None:
        self.durable: dict[int, int] = {}
        self.owners: dict[int, Session] = {}
        self.newest = 20
        self.kept: set[int] = set()

    def durable_seq(self, source: int) -> int:
        return self.durable.get(source, 0)

    def ordinal(self) -> int:
        return 77

    def now_ns(self) -> int:
        return 5

    def first_output(self, after: int) -> int:
        return after + 1

    def digest(self) -> bytes:
        return bytes(range(32))

    def outputs(self) -> int:
        return self.newest

    def keeps(self, source: int) -> bool:
        return source in self.kept

    def attach(self, source: int, session: Session) -> bool:
        return self.owners.setdefault(source, session) is session


class Peer:
    """A session with its gate, and the group it fills."""

    def __init__(self, *, capacity: int = 256, group: int = 256, gate: Gate | None = None) -> None:
        self.books = Books()
        self.gate = gate or new_gate()
        self.session = Session(self.books, self.gate, capacity)
        self.group = np.zeros(group, FRAME)
        self.made = 0
        self.answers: list[bytes] = []

    def feed(self, data: bytes) -> Progress:
        """Bytes arrive and are taken at once."""
        room = self.session.room()
        assert len(data) <= len(room)
        room[: len(data)] = data
        self.session.received(len(data))
        progress = self.session.take(self.group, self.made, self.answers)
        self.made = progress.made
        return progress

    def hello(self, source: int = Source.MATCHING, **fields: int) -> Progress:
        return self.feed(hello(source, **fields))

    def last_answer(self) -> np.void:
        """The newest answer, read by its own template."""
        raw = np.frombuffer(self.answers[-1], FRAME)[0]
        assert crc32c(self.answers[-1][:60]) == int(raw["crc"])
        return np.frombuffer(self.answers[-1], DTYPES[Template(int(raw["template"]))])[0]

    def fault(self) -> Fault:
        """The newest answer, which must be a fault."""
        row = self.last_answer()
        assert int(row["template"]) == Template.FAULT
        return Fault(int(row["code"]))


def hello(source: int = Source.MATCHING, *, acked: int = 0, last_output: int = 0) -> bytes:
    frame = f.new_frames(Template.HELLO, 1, source=Source.ENGINE, first_seq=0)
    frame["source"], frame["acked_seq"], frame["last_output"] = source, acked, last_output
    return sealed(frame)


def fills(first: int, count: int, *, price: int = 100, source: Source = Source.MATCHING) -> bytes:
    frames = f.new_frames(Template.FILL, count, source=source, first_seq=first)
    frames["price"] = price
    return sealed(frames)


def changed(data: bytes, **fields: int) -> bytes:
    """The first frame with header fields changed and sealed again."""
    frame = np.frombuffer(bytearray(data[:FRAME_BYTES]), FRAME)
    for name, value in fields.items():
        frame[name] = value
    return sealed(frame) + data[FRAME_BYTES:]
