"""Groups in raw slots: closing one, and reading them with every header, CRC and chain checked. Compiled."""

from __future__ import annotations

from kernels.crc32c import chain_frames, crc_frame, crc_word, seal_frames, stored_crc
from kernels.frames import BLOCK_LENGTH, SCHEMA_ID, SCHEMA_VERSION, Template
from kernels.jit import kernel
from kernels.types import Words

END, BLANK, BROKEN, FULL = 0, 1, 2, 3
_HEAD = BLOCK_LENGTH | (int(Template.GROUP) << 16) | (SCHEMA_ID << 32) | (SCHEMA_VERSION << 48)
_SIGN32 = 1 << 31
_LAST_TEMPLATE = int(Template.UPGRADE)

# Words of a group header: 2 first_position, 3 durable_upto, 5 count | epoch << 32, 6 chain | witness << 32.


@kernel
def is_header(words: Words, row: int, position: int) -> int:
    """1 if slot `row`, which lies at `position`, is an intact group header of that place."""
    if words[row, 0] != _HEAD or words[row, 2] != position + 1 or words[row, 3] > position:
        return 0
    return 1 if crc_frame(words, row) == stored_crc(words, row) else 0


@kernel
def scan_groups(
    words: Words,
    start: int,
    stop: int,
    position: int,
    epoch: int,
    chain: int,
    out: Words,
    out_limit: int,
    witnesses: Words,
) -> tuple[int, int, int, int]:
    """Copy the frames of complete groups in slots start..stop-1 to `out`. (next slot, frames, chain, why).

    words: int64[n, 8] raw slots, slot `start` at `position`; out: int64[m, 8]; witnesses: int64[2] receives
    (witness of the first header, its count of headers seen). Why it stopped: END, at `stop`, or a group
    that does not lie wholly before it; BLANK, a slot of zeros; BROKEN, anything else; FULL, `out` is.
    """
    row = start
    made = 0
    witnesses[1] = 0
    while row < stop:
        if words[row, 0] == 0 and words[row, 1] == 0 and words[row, 7] == 0:
            return row, made, chain, BLANK
        if is_header(words, row, position + (row - start)) == 0:
            return row, made, chain, BROKEN
        count = words[row, 5] & 0xFFFFFFFF
        if (words[row, 5] >> 32) != epoch:
            return row, made, chain, BROKEN
        if row + 1 + count > stop:
            return row, made, chain, END
        if made + count > out_limit:
            return row, made, chain, FULL
        after = chain
        for k in range(count):  # one pass: a group may be larger than the cache nearest to the CPU
            crc = stored_crc(words, row + 1 + k)
            if crc_frame(words, row + 1 + k) != crc:
                return row, made, chain, BROKEN
            after = crc_word(after, crc)
            for w in range(8):
                out[made + k, w] = words[row + 1 + k, w]
        if after != words[row, 6] & 0xFFFFFFFF:
            return row, made, chain, BROKEN
        if witnesses[1] == 0:
            witnesses[0] = (words[row, 6] >> 32) & 0xFFFFFFFF
        witnesses[1] += 1
        made += count
        chain = after
        row += 1 + count
    return row, made, chain, END


@kernel
def without_last(words: Words, stop: int, made: int, chain_before: int, chain: int) -> tuple[int, int, int]:
    """(slots, frames, chain) of slots 0..stop-1 as `scan_groups` read them, without the last of several groups.

    For a journal at rest: the last header's witness speaks of all that is folded before it, so it must begin a
    chunk of its own, or a journal of one chunk would never be checked. Groups without frames count for none.
    made, chain: as they were told; chain_before: as it was given.
    """
    row = 0
    last = 0
    found = 0
    before = chain_before
    so_far = chain_before
    while row < stop:
        count = words[row, 5] & 0xFFFFFFFF
        if count > 0:
            found += 1
            last = row
            before = so_far
        so_far = words[row, 6] & 0xFFFFFFFF
        row += 1 + count
    if found < 2:
        return stop, made, chain
    return last, made - (words[last, 5] & 0xFFFFFFFF), before


@kernel
def first_unknown(words: Words, start: int, stop: int) -> int:
    """Index of the first frame in start..stop-1 of another schema version or an unknown template, or `stop`."""
    for row in range(start, stop):
        head = words[row, 0]
        template = (head >> 16) & 0xFFFF
        if (head >> 48) & 0xFFFF != SCHEMA_VERSION or template < 1 or template > _LAST_TEMPLATE:
            return row
    return stop


@kernel
def close_group(
    words: Words, count: int, position: int, epoch: int, time_ns: int, chain: int, witness: int
) -> int:
    """Make slot 0 the header of the `count` frames behind it and seal it. Returns the CRC chain after them.

    words: int64[n, 8], slot 0 already a header but for what differs from group to group; it will lie at
    `position`. Everything before it is durable when it is written. witness: CRC before these frames.
    """
    after = chain_frames(words, 1, 1 + count, chain)
    words[0, 1] = position + 1
    words[0, 2] = position + 1
    words[0, 3] = position
    words[0, 4] = time_ns
    words[0, 5] = count | (epoch << 32)
    words[0, 6] = after | (((witness ^ _SIGN32) - _SIGN32) << 32)
    seal_frames(words, 0, 1)
    return after


@kernel
def later_durable(words: Words, start: int, stop: int, position: int) -> int:
    """Highest `durable_upto` of any intact header in slots start..stop-1, or -1. Slot `start` at `position`."""
    highest = -1
    for row in range(start, stop):
        if is_header(words, row, position + (row - start)) == 1:
            highest = max(highest, words[row, 3])
    return highest


@kernel
def last_used(words: Words, start: int, stop: int) -> int:
    """Slot behind the last one in start..stop-1 that is not all zeros, or `start`."""
    for row in range(stop - 1, start - 1, -1):
        for w in range(8):
            if words[row, w] != 0:
                return row + 1
    return start
