"""One connection's side of the protocol, sans-IO: bytes in, admitted frames and answers out.

A session says hello for each source it carries; the answer tells where to go on. Faults that break the
order of frames close the session: the client reconnects, says hello and resends from there.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import TransportFault
from kernels import frames as f
from kernels.admission import SESSION_FRAME, SOURCES_MAX, Gate, admit
from kernels.crc32c import seal_frames, words_of
from kernels.frames import FRAME, FRAME_BYTES, Fault, Source, StatusKind, Template

NO_OUTPUTS = -1
"""In a hello's `last_output`: this session wants none."""


class Books(Protocol):
    """What a session may ask of the engine."""

    epoch: int

    def durable_seq(self, source: int) -> int:
        """Last durable sequence number of a source."""

    def ordinal(self) -> int:
        """Frames applied."""

    def now_ns(self) -> int:
        """The books' time."""

    def first_output(self, after: int) -> int:
        """Number of the first output still held that is greater than `after`."""

    def digest(self) -> bytes:
        """Digest of the live state, 32 bytes."""

    def outputs(self) -> int:
        """Number of the newest output."""

    def keeps(self, source: int) -> bool:
        """True for a source that no session may carry."""

    def attach(self, source: int, session: Session) -> bool:
        """Give a source to a session; False if another live session has it."""


class Progress(NamedTuple):
    """Frames of the buffer consumed, rows of the group used, and the fault that ends the session, if any."""

    consumed: int
    made: int
    fault: TransportFault | None


class Session:
    """Buffers whole frames of one connection and answers its session frames."""

    def __init__(self, books: Books, gate: Gate, capacity: int = 8192) -> None:
        self._books = books
        self._gate = gate
        self.attached = np.zeros(SOURCES_MAX, np.int64)
        self.frames = np.zeros(capacity, FRAME)
        self._words = words_of(self.frames)
        self._bytes = self.frames.view(np.uint8).data
        self._first = 0  # frame of the ring where the oldest byte lies
        self._filled = 0  # bytes from there on; a frame never lies across the end
        self._group: NDArray[np.void] | None = None
        self._group_words = self._words
        self.outputs_sent = NO_OUTPUTS  # last output sent
        self.acked: dict[int, int] = {}  # by source, as told to the peer

    def room(self) -> memoryview:
        """Where the next bytes of the connection go: up to the ring's end or its oldest byte. Empty when full."""
        start = self._first * FRAME_BYTES
        end = start + self._filled
        if end < len(self._bytes):
            return self._bytes[end:]
        return self._bytes[end - len(self._bytes) : start]

    def received(self, count: int) -> None:
        """`count` more bytes lie in `room()`."""
        self._filled += count

    @property
    def full(self) -> bool:
        """True if there is no room."""
        return self._filled == len(self._bytes)

    @property
    def pending(self) -> int:
        """Whole frames waiting."""
        return self._filled // FRAME_BYTES

    def take(self, group: NDArray[np.void], made: int, answers: list[bytes]) -> Progress:
        """Move waiting frames into `group` from row `made` on; answer session frames in their order.

        Stops when the group is full or nothing is left. Consumed bytes are dropped from the buffer.
        """
        if group is not self._group:
            self._group, self._group_words = group, words_of(group)
        consumed, waiting = 0, self.pending
        fault: TransportFault | None = None
        while consumed < waiting and made < len(group) and fault is None:
            first = self._first
            stop = min(first + waiting - consumed, len(self.frames))
            at, made, why = admit(
                self._gate, self._words, self.frames, first, stop, self.attached, self._group_words, made
            )
            if why == SESSION_FRAME:
                fault = self._answer(self.frames[at : at + 1], answers)
            elif why != 0:
                fault = self._refuse(self.frames[at : at + 1], Fault(why), answers)
            if why != 0 and fault is None:
                at += 1
            consumed += at - first
            self._drop(at - first)
        return Progress(consumed, made, fault)

    def _drop(self, count: int) -> None:
        """The oldest frames are done with. An empty ring begins anew: what is used most stays in the CPU's cache."""
        self._filled -= count * FRAME_BYTES
        self._first = (self._first + count) % len(self.frames) if self._filled else 0

    def _refuse(self, row: NDArray[np.void], why: Fault, answers: list[bytes]) -> TransportFault | None:
        """Answer a fault by name. An unverifiable duplicate is answered and passed over."""
        seq, source = int(row["seq"][0]), int(row["source"][0])
        expected = int(self._gate.last_seq[source]) + 1 if source < SOURCES_MAX else 0
        answers.append(fault_frame(why, source, seq, expected))
        if why is Fault.DUPLICATE_UNVERIFIED:
            return None
        return TransportFault(
            why.name.lower(), f"source {source}, seq {seq}, expected {expected}", source=source, seq=seq
        )

    def _answer(self, row: NDArray[np.void], answers: list[bytes]) -> TransportFault | None:
        template = int(row["template"][0])
        if template == Template.HELLO:
            return self._hello(row.view(f.DTYPES[Template.HELLO])[0], answers)
        if template == Template.STATUS_REQUEST:
            request = row.view(f.DTYPES[Template.STATUS_REQUEST])[0]
            if int(request["kind"]) == StatusKind.DIGEST:
                answers.append(status_frame(self._books))
                return None
        return self._refuse(row, Fault.UNKNOWN_TEMPLATE, answers)

    def _hello(self, row: np.void, answers: list[bytes]) -> TransportFault | None:
        source = int(row["source"])
        durable = self._books.durable_seq(source) if source < SOURCES_MAX else 0
        why = Fault.NONE
        last_output = int(row["last_output"])
        if not 0 < source < SOURCES_MAX or self._books.keeps(source):
            why = Fault.SOURCE_FORBIDDEN
        elif int(row["acked_seq"]) > durable or last_output > self._books.outputs():
            why = Fault.LOST_DATA
        elif not self._books.attach(source, self):
            why = Fault.SOURCE_TAKEN
        if why is not Fault.NONE:
            answers.append(fault_frame(why, source, int(row["acked_seq"]), durable))
            return TransportFault(
                why.name.lower(), f"source {source}, peer has seq {int(row['acked_seq'])}, we have {durable}"
            )
        self.attached[source] = 1
        self.acked[source] = durable
        first = self._books.first_output(max(last_output, 0))
        if source == Source.MATCHING and last_output != NO_OUTPUTS:
            self.outputs_sent = first - 1
        answers.append(welcome_frame(self._books, source, durable, first))
        return None


_ACK_WORDS = words_of(f.new_frames(Template.ACK, 1, source=Source.ENGINE))
_ACK = _ACK_WORDS.reshape(-1).data
"""The one ACK that is filled anew for each: words 2 durable_seq, 3 ordinal, 6 epoch, 7 source."""


def fault_frame(why: Fault, source: int, seq: int, expected: int) -> bytes:
    """A FAULT answer."""
    frame = f.new_frames(Template.FAULT, 1, source=Source.ENGINE)
    frame["source"], frame["fault_seq"], frame["expected_seq"], frame["code"] = (
        source,
        seq,
        expected,
        int(why),
    )
    return sealed(frame)


def welcome_frame(books: Books, source: int, durable: int, first_output: int) -> bytes:
    """A WELCOME: last durable sequence of the source, epoch, first output that the peer misses."""
    frame = f.new_frames(Template.WELCOME, 1, source=Source.ENGINE)
    frame["source"], frame["last_seq"], frame["first_missing_output"] = source, durable, first_output
    frame["ordinal"], frame["now_ns"], frame["epoch"] = books.ordinal(), books.now_ns(), books.epoch
    return sealed(frame)


def ack_frame(source: int, durable: int, ordinal: int, epoch: int) -> bytes:
    """An ACK: everything of the source up to `durable` is on disk and booked."""
    _ACK[2], _ACK[3], _ACK[6], _ACK[7] = durable, ordinal, epoch, source
    seal_frames(_ACK_WORDS, 0, 1)
    return _ACK.tobytes()


def status_frame(books: Books) -> bytes:
    """A STATUS: ordinal and digest of the live state."""
    frame = f.new_frames(Template.STATUS, 1, source=Source.ENGINE)
    frame["ordinal"] = books.ordinal()
    for k, word in enumerate(np.frombuffer(books.digest(), "<i8")):
        frame[f"digest{k}"] = word
    return sealed(frame)


def sealed(frames: NDArray[np.void]) -> bytes:
    """The frames' bytes with their CRCs written."""
    seal_frames(words_of(frames), 0, len(frames))
    return frames.tobytes()
