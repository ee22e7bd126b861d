"""Which frames are admitted, against a twin that keeps every frame it has ever seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import admission, crc32c
from kernels import frames as f
from kernels.admission import HISTORY, SESSION_FRAME, SOURCES_MAX, UNKNOWN, Gate
from kernels.frames import Fault, Source, Template
from tests.kernels import twins
from tests.kernels.entries import run


def sealed(frames: Any) -> Any:
    """Frames with their CRC, and the words they are read as."""
    words = crc32c.words_of(frames)
    crc32c.seal_frames(words, 0, len(frames))
    return words


def one(template: Template, /, **fields: int) -> Any:
    """One frame with these fields."""
    frames = f.new_frames(template, 1, source=Source.MATCHING)
    for name, value in fields.items():
        frames[name] = value
    return frames


def fault_of(gate: Gate, frames: Any) -> int:
    return int(run(admission.well_formed, gate, sealed(frames), 0))


@pytest.fixture
def gate() -> Gate:
    return admission.new_gate()


@pytest.mark.parametrize("template", list(Template))
def test_a_frame_by_itself(gate: Gate, template: Template) -> None:
    wanted: int = Fault.UNKNOWN_TEMPLATE
    if template in f.JOURNALED:
        wanted = Fault.NONE
    elif template >= 64:
        wanted = SESSION_FRAME
    assert fault_of(gate, one(template)) == wanted


@pytest.mark.parametrize("number", [0, 13, 14, 31, 32, 63, 128, 129, 65_535])
def test_templates_that_are_not_for_the_journal(gate: Gate, number: int) -> None:
    assert fault_of(gate, one(Template.FILL, template=number)) == Fault.UNKNOWN_TEMPLATE


def test_numbers_of_the_session_are_not_faults_here(gate: Gate) -> None:
    assert {fault_of(gate, one(Template.PART, template=n)) for n in (64, 90, 127)} == {SESSION_FRAME}


@pytest.mark.parametrize("field", ["block_length", "schema", "version"])
def test_another_schema(gate: Gate, field: str) -> None:
    right = int(one(Template.TICK)[field][0])
    for wrong in (0, right - 1, right + 1, 65_535):
        assert fault_of(gate, one(Template.TICK, **{field: wrong})) == Fault.WRONG_SCHEMA
    assert fault_of(gate, one(Template.TICK, **{field: right})) == Fault.NONE


@pytest.mark.parametrize("byte", range(64))
def test_a_changed_byte_shows_in_the_crc(gate: Gate, byte: int) -> None:
    words = sealed(one(Template.FILL, price=5, size=-7))
    words.view(np.uint8)[0, byte] ^= 1 << (byte % 8)
    assert run(admission.well_formed, gate, words, 0) == Fault.BAD_CRC


@pytest.mark.parametrize("template", sorted(f.JOURNALED))
def test_spare_bytes_must_be_zero_and_no_others(gate: Gate, template: Template) -> None:
    """Byte by byte: a field named spare, and flags of templates that have no kinds there."""
    dtype = f.DTYPES[template]
    spare = set()
    for name, (kind, offset) in (dtype.fields or {}).items():  # type: ignore[misc]
        if name.startswith("spare") or (name == "flags" and template not in f.SPARE_KINDS_FLAGS):
            spare.update(range(offset, offset + kind.itemsize))
    for byte in range(8, 60):
        for value in (1, 0x80):
            frames = one(template)
            frames.view(np.uint8)[byte] |= value
            wanted = Fault.SPARE_NOT_ZERO if byte in spare else Fault.NONE
            assert fault_of(gate, frames) == wanted


class Admitted:
    """The twin: everything admitted from each source, in order."""

    def __init__(self) -> None:
        self.seen: dict[int, list[int]] = {}
        self.out: list[tuple[int, int, int]] = []
        self.duplicates = 0

    def take(self, source: int, seq: int, price: int, attached: set[int]) -> Fault:
        if source not in attached:
            return Fault.NO_HELLO
        seen = self.seen.setdefault(source, [])
        if not 1 <= seq <= len(seen) + 1:
            return Fault.GAP
        if seq <= len(seen):
            if seen[seq - 1] != price:
                return Fault.CONFLICT
            self.duplicates += 1
            return Fault.NONE
        seen.append(price)
        self.out.append((source, seq, price))
        return Fault.NONE


arrivals = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([0, 1, 1, 1, 1, 2, -1, -3]), st.sampled_from([7, 7, 8])),
    max_size=30,
)


def fills(rows: list[tuple[int, int, int]]) -> Any:
    """Frames of (source, seq, price)."""
    frames = f.new_frames(Template.FILL, len(rows), source=Source.MATCHING)
    for frame, (source, seq, price) in zip(frames, rows, strict=True):
        frame["source"], frame["seq"], frame["price"] = source, seq, price
    return frames


@given(arrivals, st.integers(1, 8), st.sets(st.integers(0, 2)))
def test_admission_against_the_twin(steps: list[tuple[int, int, int]], room: int, attached: set[int]) -> None:
    """Every frame is next, a resend, a conflict, beyond a gap or not greeted; full output is emptied."""
    twin, gate, rows = Admitted(), admission.new_gate(), []
    nexts = dict.fromkeys(range(3), 1)
    for source, off, price in steps:
        rows.append((source, nexts[source] + off - 1, price))
        nexts[source] += off == 1 and source in attached
    frames = fills(rows)
    words = sealed(frames)
    hello = np.zeros(SOURCES_MAX, np.int64)
    hello[list(attached)] = 1
    out, at, taken = np.zeros((room, 8), np.int64), 0, []
    made = 0
    while at < len(rows):
        before = at
        at, made, why = run(admission.admit, gate, words, frames, at, len(rows), hello, out, made)
        told = [twin.take(*row, attached) for row in rows[before:at]]
        assert set(told) <= {Fault.NONE}
        if why == 0 and at < len(rows):
            assert made == room
        elif why:
            assert why == twin.take(*rows[at], attached)
            at += 1
        if made == room or at == len(rows):
            kept = out[:made].copy().view(f.FILL).reshape(-1)
            taken += [(int(k["source"]), int(k["seq"]), int(k["price"])) for k in kept]
            made = 0
    assert taken == twin.out
    assert gate.counts.tolist() == [len(twin.out), twin.duplicates, 0]
    assert gate.last_seq[:3].tolist() == [len(twin.seen.get(k, [])) for k in range(3)]


def test_what_is_copied_is_byte_identical_and_begins_where_asked(gate: Gate) -> None:
    frames = fills([(1, 1, 5), (1, 2, 6), (1, 3, 7)])
    words, out = sealed(frames), np.zeros((4, 8), np.int64)
    hello = np.ones(SOURCES_MAX, np.int64)
    assert run(admission.admit, gate, words, frames, 0, 2, hello, out, 1) == (2, 3, 0)
    assert out.tolist() == [[0] * 8, *words[:2].tolist(), [0] * 8]


@pytest.mark.parametrize("source", [SOURCES_MAX, 255])
def test_a_source_past_the_last_is_never_greeted_nor_remembered(gate: Gate, source: int) -> None:
    frames = fills([(source, 1, 5)])
    words, hello = sealed(frames), np.ones(SOURCES_MAX, np.int64)
    out = np.zeros((1, 8), np.int64)
    assert run(admission.admit, gate, words, frames, 0, 1, hello, out, 0) == (0, 0, Fault.NO_HELLO)
    admission.remember(gate, words, frames, 0, 1)
    assert not gate.last_seq.any()
    last = fills([(SOURCES_MAX - 1, 1, 5)])
    assert run(admission.admit, gate, sealed(last), last, 0, 1, hello, out, 0) == (1, 1, 0)


def resent(gate: Gate, seq: int, price: int) -> int:
    """What is said of a frame of source 1."""
    frames, out = fills([(1, seq, price)]), np.zeros((1, 8), np.int64)
    hello = np.ones(SOURCES_MAX, np.int64)
    return int(run(admission.admit, gate, sealed(frames), frames, 0, 1, hello, out, 0)[2])


def test_resends_too_old_to_compare_are_told_and_counted(gate: Gate) -> None:
    """The last 65,536 are compared; the one before has lost its place to the newest."""
    last = HISTORY + 10
    gate.last_seq[1] = last
    for seq in (11, 12, last):
        frames = fills([(1, seq, 5)])
        gate.crcs[1, seq % HISTORY] = crc32c.stored_crc(sealed(frames), 0)
    assert resent(gate, 11, 5) == resent(gate, 12, 5) == resent(gate, last, 5) == Fault.NONE
    assert resent(gate, 11, 6) == resent(gate, last, 6) == Fault.CONFLICT
    assert resent(gate, 10, 5) == resent(gate, 10, 6) == resent(gate, 1, 5) == Fault.DUPLICATE_UNVERIFIED
    gate.crcs[1, 12] = UNKNOWN
    assert resent(gate, 12, 5) == Fault.DUPLICATE_UNVERIFIED
    assert gate.counts.tolist() == [0, 3, 4]


def test_journaled_frames_are_remembered_as_if_admitted() -> None:
    frames = fills([(1, 1, 5), (2, 1, 6), (1, 2, 7), (2, HISTORY + 3, 8), (1, 1, 5)])
    words = sealed(frames)
    gate, admitted = admission.new_gate(), admission.new_gate()
    admission.remember(gate, words, frames, 1, 4)
    assert gate.last_seq[:3].tolist() == [0, 2, HISTORY + 3]
    assert gate.crcs[1, 1] == UNKNOWN
    assert gate.crcs[2, 3] == twins.crc32c(frames[3].tobytes()[:60])
    admission.remember(gate, words, frames, 0, 5)
    assert gate.last_seq[1] == 2
    hello, out = np.ones(SOURCES_MAX, np.int64), np.zeros((5, 8), np.int64)
    assert run(admission.admit, admitted, words, frames, 0, 3, hello, out, 0) == (3, 3, 0)
    assert (gate.crcs[1] == admitted.crcs[1]).all()
