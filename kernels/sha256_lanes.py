"""SHA-256 of sixteen messages at once, one in each lane of a vector, in LLVM's own vector operations.

The same text runs on any CPU: LLVM cuts the vectors to what there is. Where AVX-512 is there, a vector is one
register; then a barrier that emits nothing keeps LLVM from ordering a round's additions anew, so that no round has
to wait long for the one before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from llvmlite import ir
from numba.core import cgutils

from kernels.sha256_rounds import (
    BLOCK_BYTES,
    HASH_BYTES,
    INITIAL,
    LEAF_PREFIX,
    MASK,
    NODE_BITS,
    NODE_PREFIX,
    ROUND,
    ROWS,
    small_sigma0,
    small_sigma1,
)

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
VECTOR = ir.VectorType(_I32, ROWS)
Value: TypeAlias = Any
Word: TypeAlias = Any
"""A vector, or an int that is the same in every lane."""


def _constant(word: int) -> Value:
    return ir.Constant(VECTOR, [word & MASK] * ROWS)


class Lanes:
    """Emits rounds by `builder`. avx512: with what only AVX-512 has. anew: a value that is another in each turn of
    the loop that this is in, if any."""

    def __init__(self, builder: Any, *, avx512: bool, anew: Value | None = None) -> None:
        self.builder = builder
        self._avx512 = avx512
        self._table = self._round_table(anew) if avx512 and anew is not None else None

    def _round_table(self, anew: Value) -> Value:
        """Where the round constants lie, in a way that LLVM cannot know before a turn: it would keep all of them
        in registers and then on the stack."""
        kind = ir.ArrayType(_I32, len(ROUND))
        table = cgutils.global_constant(self.builder, "sha256_round", ir.Constant(kind, list(ROUND)))
        pointer = self.builder.bitcast(table, _I32.as_pointer())
        same = ir.FunctionType(pointer.type, [pointer.type, _I64])
        return self.builder.asm(same, "", "=r,0,r", [pointer, anew], False)

    def _call(self, name: str, *args: Value) -> Value:
        kind = ir.FunctionType(VECTOR, [VECTOR] * len(args))
        return self.builder.call(
            self.builder.module.declare_intrinsic(f"{name}.v{ROWS}i32", (), kind), list(args)
        )

    def swapped(self, word: Value) -> Value:
        """Bytes in the other order."""
        return self._call("llvm.bswap", word)

    def joined(self, high: Value, low: Value, left: int) -> Value:
        """The upper half of high:low moved left by so many bits."""
        return self._call("llvm.fshl", high, low, _constant(left))

    def _of_bits(self, table: int, a: Value, b: Value, c: Value) -> Value:
        """Bit by bit what `table` has at a:b:c, in one instruction of AVX-512."""
        kind = ir.FunctionType(VECTOR, [VECTOR, VECTOR, VECTOR, _I32])
        step = self.builder.module.declare_intrinsic("llvm.x86.avx512.pternlog.d.512", (), kind)
        return self.builder.call(step, [a, b, c, ir.Constant(_I32, table)])

    def _choice(self, e: Value, f: Value, g: Value) -> Value:
        if self._avx512:
            return self._of_bits(0xCA, e, f, g)
        return self.builder.xor(g, self.builder.and_(e, self.builder.xor(f, g)))

    def _majority(self, a: Value, b: Value, c: Value) -> Value:
        if self._avx512:
            return self._of_bits(0xE8, a, b, c)
        return self.builder.or_(self.builder.and_(a, b), self.builder.and_(c, self.builder.or_(a, b)))

    def _xor_of(self, *words: Value) -> Value:
        return self.builder.xor(self.builder.xor(words[0], words[1]), words[2])

    def _right(self, word: Value, *by: int) -> list[Value]:
        return [self.joined(word, word, 32 - bits) for bits in by]

    def _sigma0(self, word: Word) -> Word:
        if isinstance(word, int):
            return small_sigma0(word)
        return self._xor_of(*self._right(word, 7, 18), self.builder.lshr(word, _constant(3)))

    def _sigma1(self, word: Word) -> Word:
        if isinstance(word, int):
            return small_sigma1(word)
        return self._xor_of(*self._right(word, 17, 19), self.builder.lshr(word, _constant(10)))

    def _sum(self, *words: Word) -> Word:
        known = sum(word for word in words if isinstance(word, int)) & MASK
        total = None
        for word in words:
            if not isinstance(word, int):
                total = word if total is None else self.builder.add(total, word)
        if total is None:
            return known
        return self.builder.add(total, _constant(known)) if known else total

    def _held(self, word: Value) -> Value:
        """`word`, added up here and not later."""
        return self.builder.asm(ir.FunctionType(VECTOR, [VECTOR]), "", "=v,0", [word], False)

    def _with_constant(self, word: Word, t: int) -> Word:
        """The word and round constant t."""
        if self._table is None or isinstance(word, int):
            return self._sum(word, ROUND[t])
        constant = self.builder.load(self.builder.gep(self._table, [ir.Constant(_I64, t)]))
        return self.builder.add(word, self._everywhere(constant))

    def _turn(
        self, a: Value, b: Value, c: Value, d: Value, e: Value, f: Value, g: Value, start: Value
    ) -> Any:
        """(a, e) of the next round. start: h with the round's word and constant."""
        begun = self._sum(start, self._choice(e, f, g), self._xor_of(*self._right(e, 6, 11, 25)))
        added = self._sum(self._majority(a, b, c), self._xor_of(*self._right(a, 2, 13, 22)))
        return self._sum(begun, added), self._sum(d, begun)

    def _turn_in_order(
        self, a: Value, b: Value, c: Value, d: Value, e: Value, f: Value, g: Value, start: Value
    ) -> Any:
        """The same, with three operations from e to the next e and from a to the next a."""
        begun = self._held(self._sum(self._held(self._sum(d, self._held(start))), self._choice(e, f, g)))
        into_e = self._held(self._sum(begun, self._xor_of(*self._right(e, 6, 11, 25))))
        added = self._held(self.builder.sub(into_e, d))
        added = self._held(self._sum(added, self._majority(c, b, a)))
        return self._sum(added, self._xor_of(*self._right(a, 2, 13, 22))), into_e

    def compress(self, state: Sequence[Word], message: Sequence[Word]) -> list[Value]:
        """The state after one more block. message: its 16 words; what is an int is worked out here."""
        words = list(message)
        a, b, c, d, e, f, g, h = (_constant(x) if isinstance(x, int) else x for x in state)
        turn = self._turn_in_order if self._avx512 else self._turn
        for t in range(len(ROUND)):
            if t >= 16:
                words.append(
                    self._sum(
                        words[t - 16], self._sigma0(words[t - 15]), words[t - 7], self._sigma1(words[t - 2])
                    )
                )
            start = self._sum(h, self._with_constant(words[t], t))
            into_a, into_e = turn(a, b, c, d, e, f, g, start)
            a, b, c, d, e, f, g, h = into_a, a, b, c, into_e, e, f, g
        return [self._sum(x, y) for x, y in zip(state, (a, b, c, d, e, f, g, h), strict=True)]

    def _mixed(self, left: Value, right: Value, order: Sequence[int]) -> Value:
        return self.builder.shuffle_vector(
            left, right, ir.Constant(ir.VectorType(_I32, len(order)), list(order))
        )

    def _quads(self, rows: list[Value]) -> list[Value]:
        """Of each four rows, four vectors: in the k-th, group g of four lanes is column 4g + k of those rows."""
        out: list[Value] = []
        for q in range(0, len(rows), 4):
            pairs = [
                self._mixed(rows[q + k], rows[q + k + 1], _interleaved(first))
                for k in (0, 2)
                for first in (0, 2)
            ]
            low, high, low2, high2 = pairs
            out += [self._mixed(low, low2, _paired(k)) for k in (0, 2)]
            out += [self._mixed(high, high2, _paired(k)) for k in (0, 2)]
        return out

    def columns(self, rows: list[Value]) -> list[Value]:
        """16 rows of 16 words turned: the k-th result has word k of every row."""
        quads = self._quads(rows)
        out: list[Value] = [None] * ROWS
        for k in range(4):
            top, bottom = (
                [self._mixed(quads[at + k], quads[at + 4 + k], _groups(first)) for first in (0, 1)]
                for at in (0, 8)
            )
            for half in (0, 1):
                for upper in (0, 1):
                    out[k + 4 * half + 8 * upper] = self._mixed(top[half], bottom[half], _groups(upper))
        return out

    def digests(self, state: list[Value]) -> list[Value]:
        """Eight words of 16 lanes as 16 digests, two in each of eight vectors, bytes in their order."""
        quads = self._quads([self.swapped(word) for word in state])
        out = []
        for g in range(4):
            group = [*range(4 * g, 4 * g + 4), *range(ROWS + 4 * g, ROWS + 4 * g + 4)]
            for k in (0, 2):
                halves = [self._mixed(quads[k + odd], quads[4 + k + odd], group) for odd in (0, 1)]
                out.append(self._mixed(halves[0], halves[1], range(ROWS)))
        return out

    def load(self, base: Value, offset: Value) -> Value:
        """64 bytes from `offset` on."""
        at = self.builder.bitcast(self.builder.gep(base, [offset]), VECTOR.as_pointer())
        value = self.builder.load(at)
        value.align = 1
        return value

    def store(self, value: Value, base: Value, offset: Value) -> None:
        """64 bytes to `offset`."""
        at = self.builder.bitcast(self.builder.gep(base, [offset]), VECTOR.as_pointer())
        self.builder.store(value, at).align = 1

    def store_digests(self, state: list[Value], base: Value, first: Value) -> None:
        """The digests as hashes number first .. first + 15 of `base`."""
        start = self.builder.mul(first, ir.Constant(_I64, HASH_BYTES))
        for k, pair in enumerate(self.digests(state)):
            self.store(pair, base, self.builder.add(start, ir.Constant(_I64, 2 * HASH_BYTES * k)))

    def padded(self, words: list[Value], pad: Value, block: Value) -> list[Value]:
        """The block's words with what is behind the data made padding. pad: of `padding_of`, as i8*."""
        table = self.builder.bitcast(pad, _I32.as_pointer())
        start = self.builder.mul(block, ir.Constant(_I64, 2 * ROWS))
        out = []
        for k, word in enumerate(words):
            keep, put = (
                self._everywhere(
                    self.builder.load(
                        self.builder.gep(table, [self.builder.add(start, ir.Constant(_I64, k + more))])
                    )
                )
                for more in (0, ROWS)
            )
            out.append(self.builder.or_(self.builder.and_(word, keep), put))
        return out

    def _everywhere(self, scalar: Value) -> Value:
        empty = ir.Constant(VECTOR, ir.Undefined)
        one = self.builder.insert_element(empty, scalar, ir.Constant(_I32, 0))
        return self.builder.shuffle_vector(one, empty, _constant(0))

    def block_at(self, base: Value, first: Value, stride: int) -> list[Value]:
        """The 16 words of a block in each of 16 rows `stride` bytes apart. first: offset of the first row's."""
        offsets = [self.builder.add(first, ir.Constant(_I64, stride * k)) for k in range(ROWS)]
        return self.columns([self.swapped(self.load(base, offset)) for offset in offsets])


def _interleaved(first: int) -> list[int]:
    return [k + x for k in range(0, ROWS, 4) for x in (first, ROWS + first, first + 1, ROWS + first + 1)]


def _paired(first: int) -> list[int]:
    return [k + x for k in range(0, ROWS, 4) for x in (first, first + 1, ROWS + first, ROWS + first + 1)]


def _groups(first: int) -> list[int]:
    """Every second group of four lanes of two vectors."""
    return [start + lane for start in range(4 * first, 2 * ROWS, 8) for lane in range(4)]


def emit_nodes(builder: Any, source: Value, first: Value, target: Value, at: Value, *, avx512: bool) -> None:
    """Sixteen parents: of hashes first, first + 1, ... of `source` into at .. at + 15 of `target`."""
    lanes = Lanes(builder, avx512=avx512)
    start = builder.mul(first, ir.Constant(_I64, HASH_BYTES))
    words = lanes.block_at(source, start, 2 * HASH_BYTES)
    before = [_constant(NODE_PREFIX), *words]
    shifted = [lanes.joined(left, right, 24) for left, right in zip(before, words, strict=False)]
    last = builder.or_(builder.shl(words[-1], _constant(24)), _constant(0x800000))
    state = lanes.compress(INITIAL, shifted)
    state = lanes.compress(state, [last, *[0] * 14, NODE_BITS])
    lanes.store_digests(state, target, at)


def emit_leaves(
    builder: Any,
    source: Value,
    first: Value,
    width: Value,
    pad: Value,
    blocks: Value,
    target: Value,
    at: Value,
    *,
    avx512: bool,
) -> None:
    """Sixteen leaf hashes, of rows of `width` bytes from byte `first` of `source` on, into at .. at + 15.

    pad: `kernels.sha256_rounds.padding_of(width)` as i8*; blocks: i64, at least 1. What stands up to
    64 * blocks - width bytes behind the last row is read, and masked.
    """
    before = builder.block
    loop, after = builder.append_basic_block("block"), builder.append_basic_block("hashed")
    builder.branch(loop)
    builder.position_at_end(loop)
    number, carried = builder.phi(_I64), builder.phi(VECTOR)
    state = [builder.phi(VECTOR) for _ in INITIAL]
    lanes = Lanes(builder, avx512=avx512, anew=number)
    number.add_incoming(ir.Constant(_I64, 0), before)
    for word, begin in zip([carried, *state], (LEAF_PREFIX, *INITIAL), strict=True):
        word.add_incoming(_constant(begin), before)
    offset = builder.add(first, builder.mul(number, ir.Constant(_I64, BLOCK_BYTES)))
    rows = []
    for _ in range(ROWS):
        rows.append(lanes.swapped(lanes.load(source, offset)))
        offset = builder.add(offset, width)
    words = lanes.columns(rows)
    shifted = [lanes.joined(left, right, 24) for left, right in zip([carried, *words], words, strict=False)]
    done = lanes.compress(state, lanes.padded(shifted, pad, number))
    following = builder.add(number, ir.Constant(_I64, 1))
    number.add_incoming(following, loop)
    for word, new in zip([carried, *state], [words[-1], *done], strict=True):
        word.add_incoming(new, loop)
    builder.cbranch(builder.icmp_signed("<", following, blocks), loop, after)
    builder.position_at_end(after)
    lanes.store_digests(done, target, at)
