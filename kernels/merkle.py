"""The append-only Merkle log of RFC 9162 in one array: levels, roots, proofs one after the other, verification.

A log of up to `capacity` leaves (a power of two, at least ROWS) is int64[8 * capacity]: level 0 first, the leaf
hashes, then level k with the roots of the complete subtrees of 2**k leaves, in order. That is 64 bytes a leaf. A
complete node never changes, so every past size can be proven from the same array.

Of the nodes that are not complete at a size there is one a level, the edge: the root over what lies behind the
last complete one. It is worked out once for any number of proofs.
"""

from __future__ import annotations

from enum import IntEnum

from kernels.jit import kernel
from kernels.sha256 import HASH_WORDS, copy_hashes, hash_nodes, nodes_at_once
from kernels.sha256_rounds import ROWS
from kernels.types import Words, at

LEVELS_MAX = 40
"""More than any log that fits a memory has."""
EDGE_WORDS = LEVELS_MAX * HASH_WORDS
ROW_WORDS = 2 * ROWS
"""Of `verify_inclusions`: where each of sixteen proofs stands."""
_LEFT, _RIGHT, _PARENT = 0, 1, 2 * ROWS


class ProofFault(IntEnum):
    """Why a proof does not verify."""

    NONE = 0
    INDEX = 1
    LENGTH = 2
    ROOT = 3


_INDEX, _LENGTH, _ROOT = int(ProofFault.INDEX), int(ProofFault.LENGTH), int(ProofFault.ROOT)


@kernel
def level_start(capacity: int, level: int) -> int:
    """Number of the first hash of a level."""
    return 2 * capacity - (2 * capacity >> level)


@kernel
def append_hashes(log: Words, capacity: int, size: int, count: int, scratch: Words, path: int) -> None:
    """Work out the nodes that `count` leaf hashes make complete, which stand behind the first `size` already.

    scratch: int64[SCRATCH_WORDS]; path: a HashPath.
    """
    low, high, level = size, size + count, 0
    while low < high:
        below, above = level_start(capacity, level), level_start(capacity, level + 1)
        low >>= 1
        high >>= 1
        hash_nodes(log, below + 2 * low, high - low, log, above + low, scratch, path)
        level += 1


@kernel
def put_over(log: Words, node: int, scratch: Words, path: int) -> None:
    """The parent of hash `node` of the log and of the one on the right in scratch, put in the latter's place."""
    copy_hashes(log, node, scratch, _LEFT, 1)
    nodes_at_once(scratch, _LEFT, scratch, _PARENT, path)
    copy_hashes(scratch, _PARENT, scratch, _RIGHT, 1)


@kernel
def edge_of(log: Words, capacity: int, size: int, edge: Words, scratch: Words, path: int) -> None:
    """Hash k of `edge`: the root over the leaves behind the last complete node of level k, where there are any.

    edge: int64[EDGE_WORDS].
    """
    begun, level = 0, 0
    while size >> level != 0:
        if (size >> level) & 1 != 0:
            node = level_start(capacity, level) + (size >> level) - 1
            if begun != 0:
                put_over(log, node, scratch, path)
            else:
                copy_hashes(log, node, scratch, _RIGHT, 1)
            begun = 1
        level += 1
        if begun != 0:
            copy_hashes(scratch, _RIGHT, edge, level, 1)


@kernel
def range_root(
    log: Words, capacity: int, start: int, end: int, out: Words, begin: int, scratch: Words, path: int
) -> None:
    """The root over leaves [start, end), one of the log's subtrees, into hash `begin` of `out`. start < end."""
    count, level, begun = end - start, 0, 0
    while count >> level != 0:
        if (count >> level) & 1 != 0:
            node = level_start(capacity, level) + (start >> level) + (count >> level) - 1
            if begun != 0:
                put_over(log, node, scratch, path)
            else:
                copy_hashes(log, node, scratch, _RIGHT, 1)
            begun = 1
        level += 1
    copy_hashes(scratch, _RIGHT, out, begin, 1)


@kernel
def path_from(
    log: Words, capacity: int, size: int, edge: Words, leaf: int, level: int, out: Words, begin: int
) -> int:
    """The siblings of the node of `level` over `leaf`, bottom up, to hash `begin` of `out` on. Returns how many."""
    found, last = 0, (size - 1) >> level
    while last != 0:
        sibling = (leaf >> level) ^ 1
        if sibling < size >> level:
            copy_hashes(log, level_start(capacity, level) + sibling, out, begin + found, 1)
            found += 1
        elif sibling == last:
            copy_hashes(edge, level, out, begin + found, 1)
            found += 1
        level += 1
        last >>= 1
    return found


@kernel
def inclusion_paths(
    log: Words, capacity: int, size: int, edge: Words, leaves: Words, out: Words, stride: int, lengths: Words
) -> None:
    """The inclusion proof of each of `leaves` at `size`, into row after row of `stride` hashes of `out`.

    edge: of `edge_of` at that size; lengths[k]: hashes of proof k, or -1 where there is no such leaf.
    stride: at least the bit length of size - 1.
    """
    for k in range(len(leaves)):
        leaf = leaves[k]
        lengths[k] = -1
        if 0 <= leaf < size:
            lengths[k] = path_from(log, capacity, size, edge, leaf, 0, out, k * stride)


@kernel
def consistency_paths(
    log: Words, capacity: int, size: int, edge: Words, sizes: Words, out: Words, stride: int, lengths: Words
) -> None:
    """The consistency proof from each of `sizes` to `size`, into row after row of `stride` hashes of `out`.

    edge: of `edge_of` at `size`; lengths[k]: hashes of proof k, or -1 unless 0 < sizes[k] <= size.
    stride: one more than the bit length of size - 1.
    """
    for k in range(len(sizes)):
        before = sizes[k]
        lengths[k] = -1
        if before == size and size > 0:
            lengths[k] = 0
        elif 0 < before < size:
            level = 0
            while (before >> level) & 1 == 0:
                level += 1
            seeds = 0
            if before >> level != 1:
                node = level_start(capacity, level) + (before >> level) - 1
                copy_hashes(log, node, out, k * stride, 1)
                seeds = 1
            begin = k * stride + seeds
            lengths[k] = seeds + path_from(log, capacity, size, edge, before - 1, level, out, begin)


@kernel
def same_hash(a: Words, i: int, b: Words, j: int) -> int:
    """1 if hash i of `a` is hash j of `b`."""
    differs = 0
    for k in range(HASH_WORDS):
        differs |= a[at(HASH_WORDS * i + k)] ^ b[at(HASH_WORDS * j + k)]
    return 1 if differs == 0 else 0


@kernel
def climb(paths: Words, sibling: int, slot: int, rows: Words, scratch: Words) -> None:
    """Pair what a proof has come to with its next sibling, hash `sibling` of `paths`, and note where it goes on.

    rows[2 * slot], rows[2 * slot + 1]: number of its node at this level, and of the last one.
    """
    node, last = rows[2 * slot], rows[2 * slot + 1]
    ours = 1 if node & 1 != 0 or node == last else 0
    copy_hashes(paths, sibling, scratch, 2 * slot + 1 - ours, 1)
    copy_hashes(scratch, _PARENT + slot, scratch, 2 * slot + ours, 1)
    if ours == 1:
        while node & 1 == 0 and node != 0:
            node >>= 1
            last >>= 1
    rows[2 * slot], rows[2 * slot + 1] = node >> 1, last >> 1


@kernel
def judge(hashes: Words, come_to: int, root: Words, rows: Words, slot: int, faults: Words, k: int) -> None:
    """Proof k has come to hash `come_to` of `hashes`: right if that is the root and nothing is above it."""
    if faults[k] == 0 and rows[2 * slot + 1] != 0:
        faults[k] = _LENGTH
    if faults[k] == 0 and same_hash(hashes, come_to, root, 0) == 0:
        faults[k] = _ROOT


@kernel
def verify_sixteen(
    hashes: Words,
    leaves: Words,
    first: int,
    count: int,
    size: int,
    paths: Words,
    stride: int,
    lengths: Words,
    root: Words,
    faults: Words,
    rows: Words,
    scratch: Words,
    path: int,
) -> None:
    """`verify_inclusions` of proofs first .. first + count - 1, at most ROWS."""
    longest = 0
    for slot in range(count):
        k = first + slot
        faults[k] = 0 if 0 <= leaves[k] < size else _INDEX
        rows[2 * slot], rows[2 * slot + 1] = leaves[k], size - 1
        copy_hashes(hashes, k, scratch, _PARENT + slot, 1)
        longest = max(longest, lengths[k])
    for step in range(longest):
        for slot in range(count):
            k = first + slot
            if step < lengths[k] and faults[k] == 0:
                if rows[2 * slot + 1] == 0:
                    faults[k] = _LENGTH
                else:
                    climb(paths, k * stride + step, slot, rows, scratch)
        nodes_at_once(scratch, 0, scratch, _PARENT, path)
        for slot in range(count):
            if step == lengths[first + slot] - 1:
                judge(scratch, _PARENT + slot, root, rows, slot, faults, first + slot)
    for slot in range(count):
        if lengths[first + slot] <= 0:
            judge(hashes, first + slot, root, rows, slot, faults, first + slot)


@kernel
def verify_inclusions(
    hashes: Words,
    leaves: Words,
    size: int,
    paths: Words,
    stride: int,
    lengths: Words,
    root: Words,
    faults: Words,
    rows: Words,
    scratch: Words,
    path: int,
) -> int:
    """Check that hash k is leaf leaves[k] of the log with `root` at `size`, for every k. Returns how many are not.

    paths, stride, lengths: as of `inclusion_paths`; root: int64[4]; faults[k]: a ProofFault; rows:
    int64[ROW_WORDS]; scratch: int64[SCRATCH_WORDS]; path: a HashPath.
    """
    wrong = 0
    for first in range(0, len(leaves), ROWS):
        count = min(ROWS, len(leaves) - first)
        verify_sixteen(
            hashes, leaves, first, count, size, paths, stride, lengths, root, faults, rows, scratch, path
        )
        for k in range(first, first + count):
            wrong += 1 if faults[k] != 0 else 0
    return wrong
