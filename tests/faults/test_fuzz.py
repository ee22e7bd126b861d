"""Senseless frames in any order: what breaks the protocol is answered by its name and changes nothing; what is
admitted does to the machine what it does to the plain-integer model, and nothing else gets into the journal.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from engine.core.apply import Machine
from engine.gateway.engine import Engine
from engine.gateway.session import Session
from engine.journal.head import HeadPage
from engine.journal.recovery import JournalLock
from engine.journal.writer import JournalWriter
from kernels import frames as f
from kernels.admission import new_gate
from kernels.frames import (
    BLOCK_LENGTH,
    FRAME_BYTES,
    SCHEMA_ID,
    SCHEMA_VERSION,
    Fault,
    Source,
    StatusKind,
    Template,
)
from relayer.verify.model import Model
from tests.engine.gateway.running import SOURCES, hello
from tests.engine.journal.material import EMPTY, START_NS, flow, read_all
from tests.faults import harness

FRAMES = [row.tobytes() for row in flow(steps=2, fills=30)]
GENESIS = next(k for k, raw in enumerate(FRAMES) if raw[2] == Template.FILL)
INT64 = (0, 1, -1, 2**63 - 1, -(2**63), 2**53, 10**12)
SESSION_ONLY = (Template.HELLO, Template.STATUS_REQUEST)


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _crc_table()


def crc_of(raw: bytes) -> int:
    """CRC-32C of bytes 0..59, one byte at a time."""
    crc = 0xFFFFFFFF
    for byte in raw[:60]:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def resealed(raw: bytes) -> bytes:
    """The frame with the CRC that it should have."""
    return raw[:60] + struct.pack("<I", crc_of(raw))


@dataclass
class Protocol:
    """What the protocol says of a frame, in plain Python. accepted: (source, seq) → frame. greeted: sources of the
    session, a senseless hello may add one.
    """

    accepted: dict[tuple[int, int], bytes] = field(default_factory=dict)
    greeted: set[int] = field(default_factory=set)
    last: dict[int, int] = field(default_factory=dict)

    def verdict(self, raw: bytes) -> set[str]:
        """Names of faults any of which may answer it; "ADMIT", "DUPLICATE" or "SESSION" if it is in order."""
        block, template, schema, version, seq = struct.unpack_from("<HHHHq", raw)
        source = raw[56]
        if crc_of(raw) != struct.unpack_from("<I", raw, 60)[0]:
            return {"BAD_CRC"}
        if (block, schema, version) != (BLOCK_LENGTH, SCHEMA_ID, SCHEMA_VERSION):
            return {"WRONG_SCHEMA"}
        known = 1 <= template <= Template.UPGRADE or template in SESSION_ONLY
        if not known:
            return {"UNKNOWN_TEMPLATE", "SPARE_NOT_ZERO"}
        if _spare_set(template, raw):
            return {"SPARE_NOT_ZERO"}
        if template in SESSION_ONLY:
            return {"SESSION"}
        if source not in self.greeted:
            return {"NO_HELLO"}
        last = self.last.get(source, 0)
        if not 1 <= seq <= last + 1:
            return {"GAP"}
        if seq == last + 1:
            return {"ADMIT"}
        return {"DUPLICATE" if self.accepted[source, seq][60:] == raw[60:] else "CONFLICT"}

    def admit(self, raw: bytes) -> None:
        """It is in the journal."""
        source, seq = raw[56], struct.unpack_from("<q", raw, 8)[0]
        self.accepted[source, seq] = raw
        self.last[source] = seq


def _spare_set(template: int, raw: bytes) -> bool:
    dtype = f.DTYPES[Template(template)]
    row = np.frombuffer(raw, dtype)[0]
    spare = [name for name in dtype.names or () if name.startswith("spare")]
    flags = template not in (Template.TRANSFER, Template.PART) and raw[57] != 0
    return flags or any(int(row[name]) for name in spare)


class Bench:
    """An engine without sockets, the model beside it, and the session of the moment."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.model, self.protocol = engine, Model(), Protocol()
        self.queue = list(FRAMES)
        self.session = self._session()

    def _session(self) -> Session:
        made = Session(self.engine, self.engine.gate, 64)
        for source in SOURCES:
            self.engine.detach(made)
            answers = self._offer(made, hello(int(source), last_output=-1))
            assert len(answers) == 1 and answers[0][2] == Template.WELCOME
        self.protocol.greeted = {int(source) for source in SOURCES}
        return made

    def _offer(self, session: Session, raw: bytes) -> list[bytes]:
        """Hand over one frame, as a turn of the server does; what is answered."""
        room = session.room()
        room[:FRAME_BYTES] = raw
        session.received(FRAME_BYTES)
        answers: list[bytes] = []
        progress = session.take(self.engine.group, 0, answers)
        if progress.made:
            self.engine.commit(progress.made)
        self.fault, self.made = progress.fault, progress.made
        return answers

    def take(self, raw: bytes) -> str:
        """Offer a frame and hold what happens against the protocol and the model; what it was."""
        allowed, before = self.protocol.verdict(raw), self.engine.ordinal()
        answers = self._offer(self.session, raw)
        if allowed == {"ADMIT"}:
            assert self.made == 1 and self.fault is None and not answers
            self.protocol.admit(raw)
            self.model.apply(raw)
            return "ADMIT"
        assert self.made == 0 and self.engine.ordinal() == before
        if allowed == {"DUPLICATE"}:
            assert self.fault is None and not answers
            return "DUPLICATE"
        assert len(answers) == 1
        if allowed == {"SESSION"} and self.fault is None:
            assert answers[0][2] in (Template.WELCOME, Template.STATUS)
            if answers[0][2] == Template.WELCOME:
                self.protocol.greeted.add(raw[56])
            return "SESSION"
        assert self.fault is not None and answers[0][2] == Template.FAULT
        name = Fault(int(np.frombuffer(answers[0], f.DTYPES[Template.FAULT])["code"][0])).name
        assert name == self.fault.code_name.upper() and (name in allowed or allowed == {"SESSION"}), (
            name,
            allowed,
        )
        self.engine.detach(self.session)
        self.session = self._session()
        return name

    def check(self) -> None:
        """Machine and model are in the same state."""
        assert self.engine.ordinal() == len(self.protocol.accepted)
        assert self.engine.digest() == self.model.digest()


@contextmanager
def _bench() -> Iterator[Bench]:
    """Markets, accounts and deposits are there. At the end the journal holds what was admitted, and only that."""
    with harness.scratch() as place:
        machine = Machine(capacity=256)
        lock = JournalLock(place)
        writer = JournalWriter(
            place,
            EMPTY,
            segment_bytes=1 << 16,
            group_frames_max=64,
            time_ns=START_NS,
            witness=machine.witness,
        )
        engine = Engine(machine, new_gate(), writer, HeadPage(place / "head", create=True), lock)
        bench = Bench(engine)
        for raw in bench.queue[:GENESIS]:
            assert bench.take(raw) == "ADMIT"
        del bench.queue[:GENESIS]
        bench.check()
        yield bench
        bench.check()
        assert read_all(place)[0].tobytes() == b"".join(bench.protocol.accepted.values())
        engine.close()


# A shot: how to make a frame of the bench's next or former ones, with numbers to choose by.
numbers = st.integers(0, 2**32)


def _next(bench: Bench) -> bytes:
    """The next frame in order, or a status request when all are sent."""
    if bench.queue:
        return bench.queue[0]
    frame = f.new_frames(Template.STATUS_REQUEST, 1, source=Source.ENGINE, first_seq=0)
    frame["seq"], frame["kind"] = 0, int(StatusKind.DIGEST)
    return resealed(frame.tobytes())


def _with_field(raw: bytes, a: int, value: int) -> bytes:
    """One field of the frame's own layout set to a hostile number."""
    row = np.frombuffer(raw, f.DTYPES[Template(raw[2])]).copy()
    names = [name for name in row.dtype.names or () if name != "crc"]
    kind = row.dtype[name := names[a % len(names)]]
    info = np.iinfo(kind)
    row[name] = max(info.min, min(info.max, value))
    return row.tobytes()


def _shot(bench: Bench, kind: str, a: int, value: int) -> bytes:
    raw = _next(bench)
    former = list(bench.protocol.accepted.values())
    if kind == "old":
        return former[a % len(former)]
    if kind == "conflict":
        return resealed(_with_field(former[a % len(former)], 5 + a % 6, value))
    if kind == "flip":
        at = a % (8 * FRAME_BYTES)
        return raw[: at // 8] + bytes([raw[at // 8] ^ 1 << at % 8]) + raw[at // 8 + 1 :]
    if kind == "byte":
        at = a % 60
        return resealed(raw[:at] + bytes([value & 0xFF]) + raw[at + 1 :])
    if kind == "seq":
        return resealed(
            raw[:8] + struct.pack("<q", struct.unpack_from("<q", raw, 8)[0] + a % 7 - 3) + raw[16:]
        )
    if kind == "hello":
        return resealed(_with_field(hello(1 + a % 8), a, value))
    if kind == "field":
        return resealed(_with_field(raw, a, value))
    return raw


shots = st.tuples(
    st.sampled_from(
        ["next", "next", "next", "old", "conflict", "flip", "byte", "seq", "hello", "field", "field"]
    ),
    numbers,
    st.one_of(st.sampled_from(INT64), st.integers(-10, 300), st.integers(-(2**63), 2**63 - 1)),
)
QUIET = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def _play(drawn: list[tuple[str, int, int]]) -> None:
    with _bench() as bench:
        for kind, a, value in drawn:
            raw = _shot(bench, kind, a, value)
            was = bench.take(raw)
            event(was)
            if was == "ADMIT" and bench.queue:
                # What stood at this number is replaced by what was admitted; the rest of its source goes on behind.
                source, seq = raw[56], struct.unpack_from("<q", raw, 8)[0]
                bench.queue = [
                    q for q in bench.queue if (q[56], struct.unpack_from("<q", q, 8)[0]) != (source, seq)
                ]


@settings(QUIET, max_examples=60)
@given(st.lists(shots, min_size=5, max_size=40))
def test_any_frames_in_any_order(drawn: list[tuple[str, int, int]]) -> None:
    _play(drawn)


@pytest.mark.slow
def test_a_million_frames_in_any_order() -> None:
    """Counted: left to itself Hypothesis makes lists little longer than they must be."""
    played = 0

    @settings(QUIET, max_examples=4600)
    @given(st.lists(shots, min_size=200, max_size=250))
    def play(drawn: list[tuple[str, int, int]]) -> None:
        nonlocal played
        played += len(drawn)
        _play(drawn)

    play()
    assert played >= 1_000_000


HELLOS = [
    ("version", {"version": SCHEMA_VERSION + 1}, "WRONG_SCHEMA"),
    ("version of old", {"version": 0}, "WRONG_SCHEMA"),
    ("schema", {"schema": SCHEMA_ID + 1}, "WRONG_SCHEMA"),
    ("block length", {"block_length": BLOCK_LENGTH + 8}, "WRONG_SCHEMA"),
    ("template", {"template": 99}, "UNKNOWN_TEMPLATE"),
    ("spare", {"spare1": 1}, "SPARE_NOT_ZERO"),
    ("no source", {"source": 0}, "SOURCE_FORBIDDEN"),
    ("source beyond", {"source": 16}, "SOURCE_FORBIDDEN"),
    ("ack of the future", {"acked_seq": 10**6}, "LOST_DATA"),
    ("output of the future", {"last_output": 10**6}, "LOST_DATA"),
]


@pytest.mark.parametrize(("what", "fields", "fault"), HELLOS, ids=[what for what, *_ in HELLOS])
def test_a_wrong_hello_is_refused_by_name(what: str, fields: dict[str, int], fault: str) -> None:
    with _bench() as bench:
        row = np.frombuffer(hello(int(Source.RISK)), f.DTYPES[Template.HELLO]).copy()
        for name, value in fields.items():
            row[name] = value
        assert bench.take(resealed(row.tobytes())) == fault
