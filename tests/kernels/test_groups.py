"""Reading groups out of raw slots, against a twin that walks over bytes."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import crc32c, groups
from kernels import frames as f
from kernels.frames import Source, Template
from kernels.groups import BLANK, BROKEN, END, FULL
from tests.kernels import twins
from tests.kernels.entries import run

EPOCH, CHAIN = 7, 0xDEADBEEF


def chained(crc: int, slots: list[bytes]) -> int:
    """`crc` continued over the CRC of each slot, as eight bytes."""
    for slot in slots:
        crc = twins.crc32c(slot[60:] + bytes(4), crc)
    return crc


def sealed(frames: Any) -> list[bytes]:
    """The slots of frames, with their CRC."""
    crc32c.seal_frames(crc32c.words_of(frames), 0, len(frames))
    return [frame.tobytes() for frame in frames]


class Journal(NamedTuple):
    """Slots with groups of frames, and what the chain is behind them."""

    slots: list[bytes]
    chain: int


def journal(counts: list[int], position: int = 0, **header: int) -> Journal:
    """Groups of so many fills each; `header` overrides fields of every header."""
    slots: list[bytes] = []
    chain, seq = CHAIN, 1
    for k, count in enumerate(counts):
        frames = f.new_frames(Template.FILL, count, source=Source.MATCHING, first_seq=seq)
        frames["price"] = range(seq, seq + count)
        body = sealed(frames)
        seq += count
        chain = chained(chain, body)
        head = f.new_frames(Template.GROUP, 1, source=Source.ENGINE)
        at = position + len(slots)
        fields = {"first_position": at + 1, "durable_upto": at, "count": count, "epoch": EPOCH} | header
        fields |= {"chain": chain, "witness": 0xF0000000 + k}
        for name, value in fields.items():
            head[name] = value
        slots += [*sealed(head), *body]
    return Journal(slots, chain)


def words_of(slots: list[bytes]) -> Any:
    return np.frombuffer(b"".join(slots), np.int64).reshape(-1, 8).copy()


def scan(slots: list[bytes], position: int = 0, room: int = 100) -> tuple[Any, list[bytes], list[int]]:
    """(what `scan_groups` says, the frames it copied, witnesses)."""
    out, witnesses = np.zeros((max(room, 1), 8), np.int64), np.full(2, -1, np.int64)
    words = words_of(slots)
    told = run(groups.scan_groups, words, 0, len(slots), position, EPOCH, CHAIN, out, room, witnesses)
    return told, [row.tobytes() for row in out[: told[1]]], witnesses.tolist()


def intact(slot: bytes) -> bool:
    return twins.crc32c(slot[:60]) == int.from_bytes(slot[60:], "little")


def naive(slots: list[bytes], position: int, room: int) -> tuple[int, list[bytes], int, int]:
    """(next slot, frames, chain, why)."""
    at, frames, chain = 0, [], CHAIN
    head_bytes = f.new_frames(Template.GROUP, 1, source=Source.ENGINE).tobytes()[:8]
    while at < len(slots):
        slot = slots[at]
        if not any(slot[:16]) and not any(slot[56:]):
            return at, frames, chain, BLANK
        first, durable, _, count, epoch, after, _ = struct.unpack_from("<qqqiiII", slot, 16)
        own = position + at
        if slot[:8] != head_bytes or first != own + 1 or durable > own or not intact(slot) or epoch != EPOCH:
            return at, frames, chain, BROKEN
        body = slots[at + 1 : at + 1 + count]
        if len(body) < count:
            return at, frames, chain, END
        if len(frames) + count > room:
            return at, frames, chain, FULL
        if not all(intact(slot) for slot in body) or chained(chain, body) != after:
            return at, frames, chain, BROKEN
        frames += body
        chain = after
        at += 1 + count
    return at, frames, chain, END


@given(
    st.lists(st.integers(0, 4), max_size=4),
    st.sampled_from([0, 1, 1000]),
    st.integers(0, 12),
    st.integers(0, 20),
    st.data(),
)
def test_scan_against_the_twin(
    counts: list[int], position: int, room: int, cut: int, data: st.DataObject
) -> None:
    """Whole, cut short, with too little room, with blanks behind, and with one bit turned anywhere."""
    slots = journal(counts, position).slots[: max(1, cut)]
    slots += [bytes(64)] * data.draw(st.integers(0, 2))
    if slots and data.draw(st.booleans()):
        at, bit = data.draw(st.integers(0, len(slots) - 1)), data.draw(st.integers(0, 511))
        flipped = bytearray(slots[at])
        flipped[bit // 8] ^= 1 << (bit % 8)
        slots[at] = bytes(flipped)
    told, frames, _ = scan(slots, position, room)
    at, wanted, chain, why = naive(slots, position, room)
    assert told == (at, len(wanted), chain, why)
    assert frames == wanted


def test_groups_are_read_in_order_to_the_end() -> None:
    book = journal([2, 0, 3], 40)
    told, frames, witnesses = scan(book.slots, 40)
    assert told == (8, 5, book.chain, END)
    assert frames == [slot for k, slot in enumerate(book.slots) if k in (1, 2, 5, 6, 7)]
    assert witnesses == [0xF0000000, 3]


def test_a_scan_may_begin_and_end_anywhere() -> None:
    """`position` is that of the first slot looked at; what lies before and behind is not read."""
    book = journal([2, 1], 40)
    words = words_of([b"\xff" * 64] * 3 + book.slots + [b"\xff" * 64])
    out, witnesses = np.zeros((3, 8), np.int64), np.zeros(2, np.int64)
    told = run(groups.scan_groups, words, 3, 8, 40, EPOCH, CHAIN, out, 3, witnesses)
    assert told == (8, 3, book.chain, END)
    assert out.tolist() == words[[4, 5, 7]].tolist()


@pytest.mark.parametrize("room", range(6))
def test_a_group_is_copied_whole_or_not_at_all(room: int) -> None:
    told, frames, witnesses = scan(journal([2, 3]).slots, 0, room)
    whole = 5 if room >= 5 else 2 if room >= 2 else 0
    assert told[1] == len(frames) == whole
    assert told[3] == (END if whole == 5 else FULL)
    assert told[0] == {0: 0, 2: 3, 5: 7}[whole]
    assert witnesses[1] == {0: 0, 2: 1, 5: 2}[whole]


@pytest.mark.parametrize("kept", range(1, 7))
def test_a_group_that_is_not_all_there_waits(kept: int) -> None:
    book = journal([2, 3])
    told, _, _ = scan(book.slots[:kept])
    assert told[0] == told[1] + (told[1] > 0) == (3 if kept >= 3 else 0)
    assert told[3] == END


@pytest.mark.parametrize("bit", range(512))
def test_a_turned_bit_breaks_its_group_and_no_earlier_one(bit: int) -> None:
    """In a frame and in a header; blank is only what is all zeros at both ends."""
    for at in (4, 5):
        slots = journal([2, 2]).slots
        assert len(slots) == 6
        flipped = bytearray(slots[at])
        flipped[bit // 8] ^= 1 << (bit % 8)
        slots[at] = bytes(flipped)
        told, frames, _ = scan(slots)
        assert (told[0], len(frames), told[3]) == (3, 2, BROKEN)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({"epoch": EPOCH + 1}, BROKEN),
        ({"epoch": EPOCH - 1}, BROKEN),
        ({"first_position": 42}, BROKEN),
        ({"first_position": 40}, BROKEN),
        ({"durable_upto": 41}, BROKEN),
        ({"durable_upto": 40}, END),
        ({"durable_upto": -1}, END),
        ({"template": int(Template.FILL)}, BROKEN),
        ({"version": 2}, BROKEN),
    ],
)
def test_headers_of_another_place_or_epoch(header: dict[str, int], why: int) -> None:
    told, _, _ = scan(journal([1], 40, **header).slots, 40)
    assert told == ((2, 1, journal([1], 40).chain, END) if why == END else (0, 0, CHAIN, BROKEN))


@pytest.mark.parametrize("byte", [0, 7, 8, 15, 56, 63])
def test_a_slot_with_anything_at_its_ends_is_not_blank(byte: int) -> None:
    slot = bytearray(64)
    assert scan([bytes(slot)])[0] == (0, 0, CHAIN, BLANK)
    slot[byte] = 1
    assert scan([bytes(slot)])[0] == (0, 0, CHAIN, BROKEN)


def test_frames_in_order_of_another_chain_are_broken() -> None:
    slots = journal([2]).slots
    assert scan([slots[0], slots[2], slots[1]])[0] == (0, 0, CHAIN, BROKEN)


@given(st.lists(st.integers(0, 3), max_size=5))
def test_the_last_of_several_groups_is_left_out(counts: list[int]) -> None:
    """Groups without frames are none: what lies before the last group that has some is read as if it ended there."""
    book = journal(counts)
    told = run(groups.without_last, words_of(book.slots), len(book.slots), sum(counts), CHAIN, book.chain)
    full = [k for k, count in enumerate(counts) if count]
    if len(full) < 2:
        assert told == (len(book.slots), sum(counts), book.chain)
    else:
        before = journal(counts[: full[-1]])
        assert told == (len(before.slots), sum(counts[: full[-1]]), before.chain)


@pytest.mark.parametrize(
    ("field", "value", "known"),
    [
        ("template", int(Template.FILL), True),
        ("template", int(Template.UPGRADE), True),
        ("template", int(Template.UPGRADE) + 1, False),
        ("template", 0, False),
        ("template", 0xFFFF, False),
        ("version", 2, False),
        ("version", 0x8001, False),
    ],
)
def test_the_first_frame_that_is_not_known(field: str, value: int, known: bool) -> None:
    frames = f.new_frames(Template.FILL, 5, source=Source.MATCHING)
    frames[field][3] = value
    words = crc32c.words_of(frames)
    assert run(groups.first_unknown, words, 1, 5) == (5 if known else 3)
    assert run(groups.first_unknown, words, 4, 5) == 5
    assert run(groups.first_unknown, words, 1, 3) == 3


def test_the_highest_durable_position_of_intact_headers() -> None:
    slots = journal([1, 2, 1], 10).slots
    words = words_of(slots)
    assert run(groups.later_durable, words, 0, len(slots), 10) == 15
    assert run(groups.later_durable, words, 1, 5, 11) == 12
    assert run(groups.later_durable, words, 0, 1, 10) == 10
    assert run(groups.later_durable, words, 3, 5, 13) == -1
    assert run(groups.later_durable, words, 0, len(slots), 11) == -1
    words[5, 4] ^= 1
    assert run(groups.later_durable, words, 0, len(slots), 10) == 12


@given(st.lists(st.integers(0, 15), max_size=8), st.integers(0, 6))
def test_behind_the_last_slot_in_use(bytes_set: list[int], start: int) -> None:
    """A slot counts wherever in it something is not zero."""
    slots = [bytes(64)] * 8
    for at, byte in enumerate(bytes_set):
        if byte:
            slots[at] = bytes(byte * 4) + b"\1" + bytes(63 - byte * 4)
    used = [at for at, slot in enumerate(slots) if any(slot) and at >= start]
    assert run(groups.last_used, words_of(slots), start, 8) == (used[-1] + 1 if used else start)


@pytest.mark.parametrize("witness", [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_closed_group_is_what_the_twin_writes(count: int, witness: int) -> None:
    position = 1 << 40
    made = journal([count], position, witness=witness)
    expected = np.frombuffer(b"".join(made.slots), f.GROUP).copy()
    expected[0]["seq"], expected[0]["time_ns"], expected[0]["witness"] = position + 1, 99, witness
    crc32c.seal_frames(crc32c.words_of(expected), 0, 1)
    slots = expected.copy()
    slots[:1] = f.new_frames(Template.GROUP, 1, source=Source.ENGINE)
    chain = run(groups.close_group, crc32c.words_of(slots), count, position, EPOCH, 99, CHAIN, witness)
    assert chain == made.chain and slots.tobytes() == expected.tobytes()
