"""SHA-256 of leaves and nodes of a Merkle log (RFC 9162), sixteen at a time, in three forms with one answer.

`AVX512`: sixteen lanes of one register each. `EXTENSION`: the CPU's SHA instructions, four messages side by side.
`PORTABLE`: the lanes on any CPU. A form that the CPU has not (or that NUMBA_CPU_FEATURES takes away) is the
portable one. With the JIT off all are hashlib.

Arrays of hashes are int64[4 * n], 32 bytes a hash as they are written, so that a word has no meaning of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import IntEnum
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from kernels import sha256_extension, sha256_lanes
from kernels.jit import has_cpu_feature, kernel, passage, primitive, routine
from kernels.sha256_rounds import (
    BLOCK_BYTES,
    HASH_BYTES,
    LEAF_PREFIX,
    NODE_PREFIX,
    ROWS,
    blocks_of,
    padding_of,
)
from kernels.types import Words, at

Bytes = NDArray[np.uint8]
Pad = NDArray[np.uint32]
HASH_WORDS = HASH_BYTES // 8
SCRATCH_WORDS = 3 * ROWS * HASH_WORDS
"""Of `hash_nodes`: sixteen pairs, and their parents."""


class HashPath(IntEnum):
    """The forms. Which is used never shows but in time."""

    PORTABLE = 0
    EXTENSION = 1
    AVX512 = 2


def has_path(path: HashPath) -> bool:
    """True if this CPU has the form; what `hash_nodes` does where it has not is the portable one."""
    if path is HashPath.AVX512:
        return has_cpu_feature("avx512f")
    return path is HashPath.PORTABLE or (has_cpu_feature("sha") and has_cpu_feature("sse4.1"))


def best_path() -> HashPath:
    """The fastest form that this CPU has."""
    return max(path for path in HashPath if has_path(path))


def path_named(name: str) -> HashPath:
    """The form of that name, of `auto` the fastest. KeyError: there is none."""
    return best_path() if name == "auto" else HashPath[name.upper()]


def tail_bytes(width: int) -> int:
    """How large a tail `hash_leaves` needs for leaves of so many bytes."""
    return ROWS * width + blocks_of(width) * BLOCK_BYTES


def _plain_nodes16(source: Words, first: int, target: Words, at: int) -> int:
    raw, out = source.view(np.uint8), target.view(np.uint8)
    prefix = bytes([NODE_PREFIX])
    for k in range(ROWS):
        start = HASH_BYTES * (int(first) + 2 * k)
        digest = hashlib.sha256(prefix + raw[start : start + 2 * HASH_BYTES].tobytes()).digest()
        begin = HASH_BYTES * (int(at) + k)
        out[begin : begin + HASH_BYTES] = np.frombuffer(digest, np.uint8)
    return 0


def _plain_leaves16(source: Bytes, first: int, width: int, pad: Pad, target: Words, at: int) -> int:
    raw, out = source.tobytes(), target.view(np.uint8)
    for k in range(ROWS):
        start = int(first) + k * int(width)
        digest = hashlib.sha256(bytes([LEAF_PREFIX]) + raw[start : start + int(width)]).digest()
        begin = HASH_BYTES * (int(at) + k)
        out[begin : begin + HASH_BYTES] = np.frombuffer(digest, np.uint8)
    return 0


def _data_of(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(data, ir.IntType(8).as_pointer())


def _nodes16(emit: Callable[..., None]) -> Callable[..., int]:
    @primitive(_plain_nodes16)
    def nodes16(typingctx, source, first, target, at):  # type: ignore[no-untyped-def]
        """Sixteen parents: of hashes first .. first + 31 of `source` into at .. at + 15 of `target`."""

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            kinds = signature.args
            hashes = _data_of(context, builder, kinds[0], args[0])
            out = _data_of(context, builder, kinds[2], args[2])
            emit(builder, hashes, args[1], out, args[3])
            return ir.Constant(ir.IntType(64), 0)

        return types.int64(source, types.int64, target, types.int64), codegen

    return nodes16


def _leaves16(emit: Callable[..., None]) -> Callable[..., int]:
    @primitive(_plain_leaves16)
    def leaves16(typingctx, source, first, width, pad, target, at):  # type: ignore[no-untyped-def]
        """Sixteen leaf hashes, of rows of `width` bytes from byte `first` on, into at .. at + 15 of `target`."""

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            kinds = signature.args
            rows = _data_of(context, builder, kinds[0], args[0])
            table = context.make_array(kinds[3])(context, builder, args[3])
            padding = builder.bitcast(table.data, ir.IntType(8).as_pointer())
            blocks = builder.udiv(table.nitems, ir.Constant(ir.IntType(64), 2 * ROWS))
            out = _data_of(context, builder, kinds[4], args[4])
            emit(builder, rows, args[1], args[2], padding, blocks, out, args[5])
            return ir.Constant(ir.IntType(64), 0)

        return types.int64(source, types.int64, types.int64, pad, target, types.int64), codegen

    return leaves16


_portable = (
    _nodes16(partial(sha256_lanes.emit_nodes, avx512=False)),
    _leaves16(partial(sha256_lanes.emit_leaves, avx512=False)),
)
_forms = {HashPath.PORTABLE: _portable}
if has_path(HashPath.AVX512):
    _forms[HashPath.AVX512] = (
        _nodes16(partial(sha256_lanes.emit_nodes, avx512=True)),
        _leaves16(partial(sha256_lanes.emit_leaves, avx512=True)),
    )
if has_path(HashPath.EXTENSION):
    _forms[HashPath.EXTENSION] = (
        _nodes16(sha256_extension.emit_nodes),
        _leaves16(sha256_extension.emit_leaves),
    )
_nodes_portable, _leaves_portable = _portable
_nodes_extension, _leaves_extension = _forms.get(HashPath.EXTENSION, _portable)
_nodes_avx512, _leaves_avx512 = _forms.get(HashPath.AVX512, _portable)
_AVX512, _EXTENSION = int(HashPath.AVX512), int(HashPath.EXTENSION)
_HAS_AVX512, _HAS_EXTENSION = HashPath.AVX512 in _forms, HashPath.EXTENSION in _forms


@passage
def nodes_of_path(source: Words, first: int, target: Words, at: int, path: int) -> None:
    """Sixteen parents: of hashes first .. first + 31 of `source` into at .. at + 15 of `target`."""
    if _HAS_AVX512 and path == _AVX512:
        _nodes_avx512(source, first, target, at)
    elif _HAS_EXTENSION and path == _EXTENSION:
        _nodes_extension(source, first, target, at)
    else:
        _nodes_portable(source, first, target, at)


@routine
def nodes_at_once(source: Words, first: int, target: Words, at: int, path: int) -> None:
    """The same, to be called from many places, and slower: what LLVM has ordered it orders again in each."""
    nodes_of_path(source, first, target, at, path)


@passage
def leaves_of_path(
    source: Bytes, first: int, width: int, pad: Pad, target: Words, at: int, path: int
) -> None:
    """Sixteen leaf hashes, of rows of `width` bytes from byte `first` of `source` on, into at .. at + 15."""
    if _HAS_AVX512 and path == _AVX512:
        _leaves_avx512(source, first, width, pad, target, at)
    elif _HAS_EXTENSION and path == _EXTENSION:
        _leaves_extension(source, first, width, pad, target, at)
    else:
        _leaves_portable(source, first, width, pad, target, at)


@kernel
def copy_hashes(source: Words, first: int, target: Words, begin: int, count: int) -> None:
    """Hashes first .. first + count - 1 of `source` into begin .. of `target`."""
    for k in range(HASH_WORDS * count):
        target[at(HASH_WORDS * begin + k)] = source[at(HASH_WORDS * first + k)]


@passage
def hash_nodes(
    source: Words, first: int, count: int, target: Words, begin: int, scratch: Words, path: int
) -> None:
    """Parents of the `count` pairs from hash `first` of `source` on, into begin .. of `target`.

    source and target may be one array where the pairs and the parents do not overlap. scratch:
    int64[SCRATCH_WORDS]; path: a HashPath.
    """
    done = 0
    while done < count:
        pairs, left, out, into = source, first + 2 * done, target, begin + done
        few = count - done < ROWS
        if few:
            copy_hashes(source, left, scratch, 0, 2 * (count - done))
            pairs, left, out, into = scratch, 0, scratch, 2 * ROWS
        nodes_of_path(pairs, left, out, into, path)
        if few:
            copy_hashes(scratch, 2 * ROWS, target, begin + done, count - done)
        done += ROWS


@kernel
def hash_leaves(
    leaves: Bytes,
    width: int,
    count: int,
    target: Words,
    begin: int,
    pad: Pad,
    tail: Bytes,
    scratch: Words,
    path: int,
) -> None:
    """Leaf hashes, SHA-256(0x00 || leaf), of `count` leaves of `width` bytes, into begin .. of `target`.

    leaves: uint8[count * width]; pad: `padding_of(width)`; tail: uint8[tail_bytes(width)], any content;
    scratch: int64[SCRATCH_WORDS]; path: a HashPath.
    """
    # A block is read whole: the last rows are hashed where reading past them does no harm.
    beyond = len(pad) // (2 * ROWS) * BLOCK_BYTES - width
    done = 0
    while done < count:
        source, first, out, into = leaves, done * width, target, begin + done
        rows, ends = min(ROWS, count - done), (done + ROWS) * width + beyond > count * width
        if ends:
            for k in range(rows * width):
                tail[at(k)] = leaves[at(first + k)]
            source, first, out, into = tail, 0, scratch, 0
        leaves_of_path(source, first, width, pad, out, into, path)
        if ends:
            copy_hashes(scratch, 0, target, begin + done, rows)
        done += ROWS


__all__ = [
    "HASH_BYTES",
    "HASH_WORDS",
    "SCRATCH_WORDS",
    "HashPath",
    "best_path",
    "copy_hashes",
    "has_path",
    "hash_leaves",
    "hash_nodes",
    "padding_of",
    "path_named",
    "tail_bytes",
]
