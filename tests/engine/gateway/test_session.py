"""The session without sockets: what is admitted, what is answered, what ends it."""

from __future__ import annotations

import numpy as np
import pytest

from engine.gateway.session import NO_OUTPUTS, Progress, Session, ack_frame, sealed
from kernels import frames as f
from kernels.admission import HISTORY, UNKNOWN
from kernels.crc32c import crc32c
from kernels.frames import DTYPES, FRAME, Fault, Source, StatusKind, Template
from tests.engine.gateway.session_material import Peer, changed, fills, hello


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


def test_an_ack_says_what_is_durable() -> None:
    row = np.frombuffer(ack_frame(3, 99, 100, 7), DTYPES[Template.ACK])[0]
    assert [int(row[n]) for n in ("source", "durable_seq", "ordinal", "epoch")] == [3, 99, 100, 7]


def test_two_acks_share_no_memory() -> None:
    first = ack_frame(1, 5, 6, 7)
    second = ack_frame(2, 50, 60, 70)
    rows = np.frombuffer(first + second, DTYPES[Template.ACK])
    assert rows["durable_seq"].tolist() == [5, 50] and rows["source"].tolist() == [1, 2]
    assert all(
        crc32c(frame[:60]) == int(row["crc"]) for frame, row in zip((first, second), rows, strict=True)
    )
