"""What a session makes of bytes: damaged and malformed frames, any slicing, any group, a ring that wraps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.gateway.session import Progress, sealed
from kernels import frames as f
from kernels.frames import DTYPES, FRAME_BYTES, Fault, Source, Template
from tests.engine.gateway.session_material import Peer, changed, fills, hello


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
