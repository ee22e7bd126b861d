"""Which arriving frames become part of the journal. Compiled; decides transport faults, never content."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels.crc32c import crc_frame, stored_crc
from kernels.frames import BLOCK_LENGTH, SCHEMA_ID, SCHEMA_VERSION, Fault, Template, spare_words
from kernels.jit import kernel
from kernels.types import Rows, Words, wide

SOURCES_MAX = 16
HISTORY = 65_536
"""Conflicts are judged against this many CRCs per source; older resends cannot be verified."""

_BAD_CRC = int(Fault.BAD_CRC)
_SCHEMA = int(Fault.WRONG_SCHEMA)
_TEMPLATE = int(Fault.UNKNOWN_TEMPLATE)
_SPARE = int(Fault.SPARE_NOT_ZERO)
_GAP = int(Fault.GAP)
_CONFLICT = int(Fault.CONFLICT)
_UNVERIFIED = int(Fault.DUPLICATE_UNVERIFIED)
_NO_HELLO = int(Fault.NO_HELLO)
_LAST_JOURNALED = int(Template.UPGRADE)

SESSION_FRAME = -1
"""Not a fault: a frame of the session itself, for the server to handle."""
UNKNOWN = -1
"""In the history of CRCs: a frame that cannot be compared any more."""


class Gate(NamedTuple):
    """What admission remembers: last admitted seq and recent CRCs of each source. Rebuilt from the journal."""

    last_seq: Words
    crcs: Words
    spare: Words
    counts: Words  # accepted, duplicates, unverified


def new_gate() -> Gate:
    """A gate that has admitted nothing."""
    return Gate(
        np.zeros(SOURCES_MAX, np.int64),
        np.full((SOURCES_MAX, HISTORY), UNKNOWN, np.int64),
        spare_words(),
        np.zeros(3, np.int64),
    )


@kernel
def remember(gate: Gate, words: Words, frames: Rows, start: int, stop: int) -> None:
    """Take note of journaled frames start..stop-1, as they are folded at start."""
    for row in range(start, stop):
        source = wide(frames[row]["source"])
        if source < SOURCES_MAX:
            seq = frames[row]["seq"]
            gate.last_seq[source] = max(gate.last_seq[source], seq)
            gate.crcs[source, seq % HISTORY] = stored_crc(words, row)


@kernel
def well_formed(gate: Gate, words: Words, row: int) -> int:
    """0, or the fault of a frame by itself. SESSION_FRAME for a frame that is not journaled."""
    if crc_frame(words, row) != stored_crc(words, row):
        return _BAD_CRC
    head = words[row, 0]
    if (
        (head & 0xFFFF) != BLOCK_LENGTH
        or (head >> 32) & 0xFFFF != SCHEMA_ID
        or (head >> 48) != SCHEMA_VERSION
    ):
        return _SCHEMA
    template = (head >> 16) & 0xFFFF
    if template < 1 or template > 127:
        return _TEMPLATE
    for w in range(8):
        if words[row, w] & gate.spare[template, w] != 0:
            return _SPARE
    if template >= 64:
        return SESSION_FRAME
    if template > _LAST_JOURNALED:
        return _TEMPLATE
    return 0


@kernel
def admit(
    gate: Gate, words: Words, frames: Rows, start: int, stop: int, attached: Words, out: Words, made: int
) -> tuple[int, int, int]:
    """Copy admissible frames start..stop-1 to `out` from row `made` on. (next frame, rows of out used, why).

    words, frames: the same slots; attached: int64[16], 1 for each source this session has said hello for;
    out: int64[m, 8]. Stops early at a fault (its code), at a session frame, or when `out` is full (0).
    A duplicate with the same CRC is passed over; one too old to compare is passed over and counted; one
    that differs is a conflict.
    """
    row = start
    limit = out.shape[0]
    while row < stop:
        why = well_formed(gate, words, row)
        if why != 0:
            return row, made, why
        source = wide(frames[row]["source"])
        if source >= SOURCES_MAX or attached[source] == 0:
            return row, made, _NO_HELLO
        seq = frames[row]["seq"]
        last = gate.last_seq[source]
        if seq > last + 1 or seq < 1:
            return row, made, _GAP
        if seq <= last:
            known = gate.crcs[source, seq % HISTORY]
            if seq + HISTORY <= last or known == UNKNOWN:
                gate.counts[2] += 1
                return row, made, _UNVERIFIED
            if known != stored_crc(words, row):
                return row, made, _CONFLICT
            gate.counts[1] += 1
        else:
            if made == limit:
                return row, made, 0
            for w in range(8):
                out[made, w] = words[row, w]
            gate.last_seq[source] = seq
            gate.crcs[source, seq % HISTORY] = stored_crc(words, row)
            gate.counts[0] += 1
            made += 1
        row += 1
    return row, made, 0
