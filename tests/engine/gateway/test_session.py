"""The session without sockets: what is admitted, what is answered, what ends it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.gateway.session import NO_OUTPUTS, Progress, Session, ack_frame, sealed
from kernels import frames as f
from kernels.admission import HISTORY, UNKNOWN, Gate, new_gate
from kernels.crc32c import crc32c
from kernels.frames import DTYPES, FRAME, FRAME_BYTES, Fault, Source, StatusKind, Template

Frames = NDArray[np.void]


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


def test_hello_is_welcomed_with_where_to_go_on() -> None:
    peer = Peer()
    peer.books.durable[Source.MATCHING] = 41
    peer.gate.last_seq[Source.MATCHING] = 41
    progress = peer.hello(acked=40, last_output=9)
    assert progress == Progress(1, 0, None)
    welcome = peer.last_answer()
    assert int(welcome["template"]) == Template.WELCOME and int(welcome["source"]) == Source.MATCHING
    assert [int(welcome[n]) for n in ("last_seq", "first_missing_output", "ordinal", "now_ns", "epoch")] == [
        41, 10, 77, 5, 3,
    ]  # fmt: skip
    assert peer.session.outputs_sent == 9
    assert peer.feed(fills(42, 3)).made == 3


def test_only_the_matching_engine_gets_outputs() -> None:
    peer = Peer()
    peer.hello(Source.FEEDS, last_output=9)
    assert peer.session.outputs_sent == -1


def test_a_matching_engine_may_want_no_outputs() -> None:
    peer = Peer()
    assert peer.hello(last_output=NO_OUTPUTS).fault is None
    assert peer.session.outputs_sent == NO_OUTPUTS
    assert peer.feed(fills(1, 1)).made == 1


def test_a_peer_that_has_outputs_we_never_made_is_refused() -> None:
    peer = Peer()
    assert peer.hello(last_output=20).fault is None
    other = Peer()
    fault = other.hello(last_output=21).fault
    assert fault is not None and fault.code_name == "lost_data"


def test_a_source_that_the_engine_keeps_is_forbidden() -> None:
    peer = Peer()
    peer.books.kept.add(Source.CLOCK)
    fault = peer.hello(Source.CLOCK).fault
    assert fault is not None and fault.code_name == "source_forbidden"
    assert not peer.session.attached.any()


def test_a_duplicate_whose_crc_is_forgotten_is_passed_over_unverified() -> None:
    peer = Peer()
    peer.hello()
    assert peer.feed(fills(1, 3)).made == 3
    peer.gate.crcs[Source.MATCHING, 2] = UNKNOWN
    progress = peer.feed(fills(2, 1))
    assert progress.fault is None and progress.made == 3
    assert int(peer.last_answer()["template"]) == Template.FAULT
    assert peer.gate.counts[2] == 1


def test_without_hello_nothing_is_admitted() -> None:
    peer = Peer()
    progress = peer.feed(fills(1, 1))
    assert progress.made == 0 and progress.fault is not None
    assert progress.fault.code_name == "no_hello" and peer.fault() is Fault.NO_HELLO


def test_hello_for_one_source_admits_no_other() -> None:
    peer = Peer()
    peer.hello(Source.FEEDS)
    peer.feed(fills(1, 1))
    assert peer.fault() is Fault.NO_HELLO


@pytest.mark.parametrize("source", [0, 16, 255])
def test_sources_nobody_may_carry(source: int) -> None:
    peer = Peer()
    progress = peer.hello(source)
    assert progress.fault is not None and peer.fault() is Fault.SOURCE_FORBIDDEN


def test_one_source_one_session() -> None:
    peer = Peer()
    peer.hello()
    other = Peer(gate=peer.gate)
    other.session = Session(peer.books, peer.gate)
    progress = other.hello()
    assert progress.fault is not None and other.fault() is Fault.SOURCE_TAKEN
    assert not other.session.attached.any()
    assert peer.hello().fault is None, "its own session may say hello again"


def test_a_peer_that_knows_more_is_told_that_data_was_lost() -> None:
    peer = Peer()
    peer.books.durable[Source.MATCHING] = 41
    progress = peer.hello(acked=42)
    assert progress.fault is not None and progress.fault.code_name == "lost_data"
    assert peer.fault() is Fault.LOST_DATA
    assert int(peer.last_answer()["fault_seq"]) == 42 and int(peer.last_answer()["expected_seq"]) == 41
    assert not peer.session.attached.any() and not peer.books.owners


def test_a_gap_is_refused_and_names_what_was_expected() -> None:
    peer = Peer()
    peer.hello()
    progress = peer.feed(fills(1, 2) + fills(4, 2))
    assert progress.made == 2 and progress.fault is not None and progress.fault.code_name == "gap"
    row = peer.last_answer()
    assert (peer.fault(), int(row["fault_seq"]), int(row["expected_seq"])) == (Fault.GAP, 4, 3)
    assert peer.gate.last_seq[Source.MATCHING] == 2


@pytest.mark.parametrize("seq", [0, -1, -(2**63)])
def test_sequences_start_at_one(seq: int) -> None:
    peer = Peer()
    peer.hello()
    assert peer.feed(changed(fills(1, 1), seq=seq)).made == 0
    assert peer.fault() is Fault.GAP


def test_an_equal_duplicate_is_passed_over_in_silence() -> None:
    peer = Peer()
    peer.hello()
    peer.feed(fills(1, 5))
    answers = len(peer.answers)
    progress = peer.feed(fills(2, 6))
    assert progress == Progress(6, 7, None) and len(peer.answers) == answers
    assert peer.group["seq"][:7].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert peer.gate.counts.tolist() == [7, 4, 0]


def test_a_duplicate_that_differs_is_a_conflict() -> None:
    peer = Peer()
    peer.hello()
    peer.feed(fills(1, 5))
    progress = peer.feed(fills(4, 1, price=101))
    assert progress.fault is not None and progress.fault.code_name == "conflict"
    assert peer.fault() is Fault.CONFLICT and peer.made == 5


def test_a_duplicate_too_old_is_answered_and_passed_over() -> None:
    peer = Peer(capacity=8192, group=8192)
    peer.hello()
    first = 1
    while first <= HISTORY + 10:
        peer.made = 0
        peer.feed(fills(first, 4096))
        first += 4096
    last = first - 1
    peer.made, answers = 0, len(peer.answers)
    oldest = last - HISTORY + 1
    progress = peer.feed(fills(oldest - 1, 1, price=9) + fills(oldest, 1) + fills(last + 1, 1))
    assert progress == Progress(3, 1, None)
    assert len(peer.answers) == answers + 1 and peer.fault() is Fault.DUPLICATE_UNVERIFIED
    assert int(peer.last_answer()["fault_seq"]) == oldest - 1
    peer.feed(fills(oldest + 1, 1, price=9))
    assert peer.fault() is Fault.CONFLICT


@pytest.mark.parametrize("at", [0, 8, 20, 56, 60, 63])
def test_a_flipped_bit_is_a_bad_crc(at: int) -> None:
    peer = Peer()
    peer.hello()
    data = bytearray(fills(1, 1))
    data[at] ^= 0x10
    assert peer.feed(bytes(data)).made == 0
    assert peer.fault() is Fault.BAD_CRC


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"schema": 7012}, Fault.WRONG_SCHEMA),
        ({"version": 2}, Fault.WRONG_SCHEMA),
        ({"block_length": 55}, Fault.WRONG_SCHEMA),
        ({"template": 0}, Fault.UNKNOWN_TEMPLATE),
        ({"template": 14}, Fault.UNKNOWN_TEMPLATE),
        ({"template": int(Template.GROUP)}, Fault.UNKNOWN_TEMPLATE),
        ({"template": int(Template.REFUSAL)}, Fault.UNKNOWN_TEMPLATE),
        ({"template": int(Template.WELCOME)}, Fault.UNKNOWN_TEMPLATE),
        ({"template": 100}, Fault.UNKNOWN_TEMPLATE),
        ({"template": 128}, Fault.UNKNOWN_TEMPLATE),
        ({"template": 65535}, Fault.UNKNOWN_TEMPLATE),
        ({"flags": 1}, Fault.SPARE_NOT_ZERO),
    ],
)
def test_malformed_frames_are_refused_by_name(fields: dict[str, int], fault: Fault) -> None:
    peer = Peer()
    peer.hello()
    progress = peer.feed(changed(fills(1, 1), **fields))
    assert progress.made == 0 and progress.fault is not None
    assert peer.fault() is fault and progress.fault.code_name == fault.name.lower()
    assert peer.gate.last_seq[Source.MATCHING] == 0


@pytest.mark.parametrize("template", sorted(f.JOURNALED))
def test_spare_bytes_of_every_template_must_be_zero(template: Template) -> None:
    spare = [n for n in DTYPES[template].names or () if n.startswith("spare")]
    for name in spare:
        peer = Peer()
        peer.hello()
        frame = f.new_frames(template, 1, source=Source.MATCHING)
        frame[name] = 1
        peer.feed(sealed(frame))
        assert peer.fault() is Fault.SPARE_NOT_ZERO, name
    peer = Peer()
    peer.hello()
    assert peer.feed(sealed(f.new_frames(template, 1, source=Source.MATCHING))).made == 1


def test_status_between_frames_is_answered_in_its_place() -> None:
    peer = Peer()
    peer.hello()
    request = f.new_frames(Template.STATUS_REQUEST, 1, source=Source.ENGINE, first_seq=0)
    request["kind"] = int(StatusKind.DIGEST)
    progress = peer.feed(fills(1, 2) + sealed(request) + fills(3, 2) + hello(Source.FEEDS) + fills(5, 1))
    assert progress == Progress(7, 5, None)
    assert [int(np.frombuffer(a, FRAME)["template"][0]) for a in peer.answers] == [
        Template.WELCOME,
        Template.STATUS,
        Template.WELCOME,
    ]
    status = np.frombuffer(peer.answers[1], DTYPES[Template.STATUS])[0]
    words = b"".join(int(status[f"digest{k}"]).to_bytes(8, "little", signed=True) for k in range(4))
    assert words == bytes(range(32)) and int(status["ordinal"]) == 77


def test_an_unknown_status_kind_is_refused() -> None:
    peer = Peer()
    request = f.new_frames(Template.STATUS_REQUEST, 1, source=Source.ENGINE, first_seq=0)
    request["kind"] = 9
    assert peer.feed(sealed(request)).fault is not None


def test_a_full_group_leaves_the_rest_for_the_next() -> None:
    peer = Peer(group=4)
    peer.hello()
    assert peer.feed(fills(1, 6)) == Progress(4, 4, None)
    assert peer.session.pending == 2
    assert peer.group["seq"].tolist() == [1, 2, 3, 4]
    progress = peer.session.take(peer.group, 0, peer.answers)
    assert progress == Progress(2, 2, None) and peer.group["seq"][:2].tolist() == [5, 6]


def test_a_full_buffer_offers_no_room() -> None:
    peer = Peer(capacity=4, group=2)
    peer.hello()
    peer.feed(fills(1, 4))
    assert len(peer.session.room()) == 2 * FRAME_BYTES
    peer.session.room()[:] = fills(5, 2)
    peer.session.received(2 * FRAME_BYTES)
    assert len(peer.session.room()) == 0 and peer.session.pending == 4


@given(cuts=st.lists(st.integers(1, 200), max_size=60), group=st.integers(1, 40))
def test_any_slicing_of_the_bytes_gives_the_same(cuts: list[int], group: int) -> None:
    data = hello() + fills(1, 7) + hello(Source.FEEDS) + fills(1, 3, source=Source.FEEDS) + fills(5, 9)
    peer = Peer(group=group, capacity=64)
    admitted: list[bytes] = []
    at = 0
    for size in [*cuts, len(data)]:
        part = data[at : at + size]
        at += len(part)
        progress = peer.feed(part)
        while True:
            admitted.append(peer.group[: progress.made].tobytes())
            peer.made = 0
            assert progress.fault is None
            if peer.session.pending == 0:
                break
            progress = peer.session.take(peer.group, 0, peer.answers)
    assert b"".join(admitted) == fills(1, 7) + fills(1, 3, source=Source.FEEDS) + fills(8, 6)
    assert len(peer.answers) == 2


@given(st.binary(min_size=64, max_size=640))
def test_no_bytes_are_taken_for_frames_by_chance(data: bytes) -> None:
    peer = Peer()
    peer.hello()
    progress = peer.feed(data)
    assert progress.made == 0 and progress.fault is not None
    assert not peer.gate.last_seq.any()


def test_an_ack_says_what_is_durable() -> None:
    row = np.frombuffer(ack_frame(3, 99, 100, 7), DTYPES[Template.ACK])[0]
    assert [int(row[n]) for n in ("source", "durable_seq", "ordinal", "epoch")] == [3, 99, 100, 7]


@given(st.lists(st.integers(1, 700), min_size=1, max_size=80), st.integers(1, 7))
def test_a_ring_gives_every_frame_once_however_often_it_wraps(sizes: list[int], group: int) -> None:
    peer = Peer(capacity=5, group=group)
    peer.hello()
    data, sent, got = fills(1, 200), 0, []
    for size in sizes * 3:
        room = peer.session.room()
        part = data[sent : sent + min(size, len(room))]
        assert len(room) or peer.session.full
        room[: len(part)] = part
        peer.session.received(len(part))
        sent += len(part)
        progress = peer.session.take(peer.group, 0, peer.answers)
        assert progress.fault is None
        got.append(peer.group[: progress.made].tobytes())
    while peer.session.pending:
        progress = peer.session.take(peer.group, 0, peer.answers)
        got.append(peer.group[: progress.made].tobytes())
    assert b"".join(got) == data[: sent // FRAME_BYTES * FRAME_BYTES]


def test_two_acks_share_no_memory() -> None:
    first = ack_frame(1, 5, 6, 7)
    second = ack_frame(2, 50, 60, 70)
    rows = np.frombuffer(first + second, DTYPES[Template.ACK])
    assert rows["durable_seq"].tolist() == [5, 50] and rows["source"].tolist() == [1, 2]
    assert all(
        crc32c(frame[:60]) == int(row["crc"]) for frame, row in zip((first, second), rows, strict=True)
    )
