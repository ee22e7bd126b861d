"""CRC-32C (Castagnoli), by the CPU's own instruction where there is one, by table elsewhere.

A CRC is carried as an int64 in 0 .. 2**32 - 1, already finalised (inverted), so chains compose:
`crc32c(b, crc32c(a, 0)) == crc32c(a + b, 0)`. Polynomial 0x1EDC6F41, reflected (RFC 3720, appendix B.4).
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from kernels.jit import has_cpu_feature, kernel, primitive
from kernels.types import Words

_POLYNOMIAL = 0x82F63B78
MASK32 = 0xFFFFFFFF


def _byte_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return table


TABLE = np.array(_byte_table(), dtype=np.int64)
_ROWS = [int(x) for x in TABLE]


def _step8_by_table(state: int, word: int) -> int:
    """Raw CRC state after eight more bytes, given as one little-endian word."""
    crc = state
    data = word
    for _ in range(8):
        crc = TABLE[(crc ^ data) & 0xFF] ^ (crc >> 8)
        data >>= 8
    return crc


def _step4_by_table(state: int, word: int) -> int:
    """Raw CRC state after four more bytes: the low half of `word`."""
    crc = state
    data = word
    for _ in range(4):
        crc = TABLE[(crc ^ data) & 0xFF] ^ (crc >> 8)
        data >>= 8
    return crc


if has_cpu_feature("sse4.2"):

    @primitive(_step8_by_table)
    def _step8(typingctx, state, word):  # type: ignore[no-untyped-def]
        """Raw CRC state after eight more bytes, given as one little-endian word."""

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            i64 = ir.IntType(64)
            step = builder.module.declare_intrinsic(
                "llvm.x86.sse42.crc32.64.64", (), ir.FunctionType(i64, [i64, i64])
            )
            return builder.call(step, args)

        return types.int64(types.int64, types.int64), codegen

    @primitive(_step4_by_table)
    def _step4(typingctx, state, word):  # type: ignore[no-untyped-def]
        """Raw CRC state after four more bytes: the low half of `word`."""

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            i32 = ir.IntType(32)
            step = builder.module.declare_intrinsic(
                "llvm.x86.sse42.crc32.32.32", (), ir.FunctionType(i32, [i32, i32])
            )
            halves = [builder.trunc(arg, i32) for arg in args]
            return builder.zext(builder.call(step, halves), ir.IntType(64))

        return types.int64(types.int64, types.int64), codegen

else:
    _step8 = kernel(_step8_by_table)
    _step4 = kernel(_step4_by_table)


@kernel
def crc_word(crc: int, word: int) -> int:
    """`crc` continued over the eight little-endian bytes of the int64 `word`."""
    return _step8(crc ^ 0xFFFFFFFF, word) ^ 0xFFFFFFFF


@kernel
def crc_row(words: Words, row: int, n_words: int, crc: int) -> int:
    """`crc` continued over the first `n_words` int64 words of `words[row]`. words: int64[n, 8]."""
    state = crc ^ 0xFFFFFFFF
    for k in range(n_words):
        state = _step8(state, words[row, k])
    return state ^ 0xFFFFFFFF


@kernel
def crc_of_words(a: int, b: int, c: int, d: int, e: int, f: int, g: int, h: int) -> int:
    """CRC of a row of eight int64 words that need not be read from memory again."""
    state = _step8(_step8(_step8(_step8(0xFFFFFFFF, a), b), c), d)
    return _step8(_step8(_step8(_step8(state, e), f), g), h) ^ 0xFFFFFFFF


@kernel
def crc_frame(words: Words, row: int) -> int:
    """CRC over bytes 0..59 of frame `row`. words: int64[n, 8], a view of 64-byte frames."""
    state = 0xFFFFFFFF
    for k in range(7):
        state = _step8(state, words[row, k])
    return _step4(state, words[row, 7]) ^ 0xFFFFFFFF


@kernel
def seal_frames(words: Words, start: int, stop: int) -> None:
    """Write the CRC of frames start..stop-1 into their last four bytes. words: int64[n, 8]."""
    for row in range(start, stop):
        words[row, 7] = (words[row, 7] & 0xFFFFFFFF) | (crc_frame(words, row) << 32)


@kernel
def stored_crc(words: Words, row: int) -> int:
    """The CRC that frame `row` carries, as int64 in 0 .. 2**32 - 1."""
    return (words[row, 7] >> 32) & 0xFFFFFFFF


@kernel
def first_bad_frame(words: Words, start: int, stop: int) -> int:
    """Index of the first frame in start..stop-1 whose CRC is wrong, or `stop`."""
    for row in range(start, stop):
        if crc_frame(words, row) != stored_crc(words, row):
            return row
    return stop


@kernel
def chain_frames(words: Words, start: int, stop: int, crc: int) -> int:
    """`crc` continued over the stored CRCs of frames start..stop-1, eight bytes each."""
    for row in range(start, stop):
        crc = crc_word(crc, stored_crc(words, row))
    return crc


def crc32c(data: bytes, crc: int = 0) -> int:
    """CRC-32C of `data` continued from `crc`. Plain Python: for headers and tests, not for bulk."""
    state = crc ^ MASK32
    for byte in data:
        state = _ROWS[(state ^ byte) & 0xFF] ^ (state >> 8)
    return state ^ MASK32


def words_of(frames: NDArray[np.void]) -> NDArray[np.int64]:
    """The int64[n, 8] view that the kernels above take. `frames`: contiguous 64-byte records."""
    return frames.view(np.int64).reshape(-1, 8)
