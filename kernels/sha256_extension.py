"""SHA-256 by the CPU's SHA extension, four messages side by side: its instructions take longer than they take turns.

Compiled only where the CPU has it: elsewhere LLVM ends the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from llvmlite import ir

from kernels.sha256_rounds import (
    BLOCK_BYTES,
    HASH_BYTES,
    INITIAL,
    LEAF_PREFIX,
    NODE_BITS,
    NODE_PREFIX,
    ROUND,
    ROWS,
)

WAYS = 4
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_QUAD = ir.VectorType(_I32, 4)
Value: TypeAlias = Any
Pair: TypeAlias = tuple[Value, Value]
"""A state as the instructions want it: f e b a and h g d c, lowest lane first."""


def _quad(*words: int) -> Value:
    return ir.Constant(_QUAD, list(words))


_A, _B, _C, _D, _E, _F, _G, _H = INITIAL
_BEGIN: Pair = (_quad(_F, _E, _B, _A), _quad(_H, _G, _D, _C))


class Extension:
    """Emits rounds of WAYS messages by `builder`."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def _call(self, name: str, *args: Value) -> Value:
        kind = ir.FunctionType(_QUAD, [_QUAD] * len(args))
        return self.builder.call(self.builder.module.declare_intrinsic(name, (), kind), list(args))

    def _mixed(self, left: Value, right: Value, *order: int) -> Value:
        return self.builder.shuffle_vector(left, right, _quad(*order))

    def swapped(self, words: Value) -> Value:
        """Bytes of each word in the other order."""
        return self._call("llvm.bswap.v4i32", words)

    def joined(self, before: Value, words: Value) -> Value:
        """The words moved on by a byte: each begins with the last byte of the one before it."""
        previous = self._mixed(before, words, 3, 4, 5, 6)
        return self._call("llvm.fshl.v4i32", previous, words, _quad(*[24] * 4))

    def moved_on(self, before: Value, words: list[Value]) -> list[Value]:
        """A block moved on by a byte. before: the quad in front of it."""
        return [self.joined(b, w) for b, w in zip([before, *words], words, strict=False)]

    def padded(self, quads: list[Value], pad: Value, block: Value) -> list[Value]:
        """As `kernels.sha256_lanes.Lanes.padded`."""
        start = self.builder.mul(block, ir.Constant(_I64, 2 * BLOCK_BYTES))
        out = []
        for k, words in enumerate(quads):
            keep, put = (self._raw(pad, self.plus(start, 16 * k + more)) for more in (0, BLOCK_BYTES))
            out.append(self.builder.or_(self.builder.and_(words, keep), put))
        return out

    def _raw(self, base: Value, offset: Value) -> Value:
        value = self.builder.load(self.builder.bitcast(self.builder.gep(base, [offset]), _QUAD.as_pointer()))
        value.align = 1
        return value

    def _next_words(self, w: Sequence[Value]) -> Value:
        """Four more words of the schedule from the sixteen before them."""
        begun = self._call("llvm.x86.sha256msg1", w[0], w[1])
        begun = self.builder.add(begun, self._mixed(w[2], w[3], 1, 2, 3, 4))
        return self._call("llvm.x86.sha256msg2", begun, w[3])

    def compress(self, states: list[Pair], messages: list[list[Value]]) -> list[Pair]:
        """The states after one more block. messages: of each, its words in four quads."""
        words = [list(message) for message in messages]
        now = list(states)
        for g in range(16):
            constant = _quad(*ROUND[4 * g : 4 * g + 4])
            for k, (low, high) in enumerate(now):
                if g >= 4:
                    words[k].append(self._next_words(words[k][g - 4 :]))
                added = self.builder.add(words[k][g], constant)
                high = self._call("llvm.x86.sha256rnds2", high, low, added)
                rest = self._mixed(added, added, 2, 3, 0, 1)
                now[k] = (self._call("llvm.x86.sha256rnds2", low, high, rest), high)
        return [
            (self.builder.add(low, low0), self.builder.add(high, high0))
            for (low, high), (low0, high0) in zip(now, states, strict=True)
        ]

    def load(self, base: Value, offset: Value) -> Value:
        """Four words from byte `offset` on."""
        return self.swapped(self._raw(base, offset))

    def block_at(self, base: Value, offset: Value) -> list[Value]:
        """The four quads of the 64 bytes there."""
        return [self.load(base, self.plus(offset, 16 * k)) for k in range(4)]

    def plus(self, offset: Value, more: int) -> Value:
        """offset + more."""
        return self.builder.add(offset, ir.Constant(_I64, more))

    def store_digest(self, state: Pair, base: Value, offset: Value) -> None:
        """The 32 bytes of the digest."""
        low, high = state
        for k, words in enumerate((self._mixed(low, high, 3, 2, 7, 6), self._mixed(low, high, 1, 0, 5, 4))):
            at = self.builder.gep(base, [self.plus(offset, 16 * k)])
            self.builder.store(self.swapped(words), self.builder.bitcast(at, _QUAD.as_pointer())).align = 1


def _counted(builder: Any, count: Value, name: str) -> tuple[Value, Any, Any]:
    """Open a loop over 0 .. count - 1, count at least 1: (number, the block it began in, what closes it)."""
    before, loop = builder.block, builder.append_basic_block(name)
    builder.branch(loop)
    builder.position_at_end(loop)
    number = builder.phi(_I64)
    number.add_incoming(ir.Constant(_I64, 0), before)

    def close() -> None:
        following = builder.add(number, ir.Constant(_I64, 1))
        number.add_incoming(following, builder.block)
        after = builder.append_basic_block(f"after_{name}")
        builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
        builder.position_at_end(after)

    return number, before, close


def emit_nodes(builder: Any, source: Value, first: Value, target: Value, at: Value) -> None:
    """As `kernels.sha256_lanes.emit_nodes`."""
    extension = Extension(builder)
    group, _, close = _counted(builder, ir.Constant(_I64, ROWS // WAYS), "nodes")
    done = builder.mul(group, ir.Constant(_I64, WAYS))
    pairs = builder.mul(group, ir.Constant(_I64, 2 * WAYS))
    start = builder.mul(builder.add(first, pairs), ir.Constant(_I64, HASH_BYTES))
    messages, lasts = [], []
    for k in range(WAYS):
        words = extension.block_at(source, extension.plus(start, 2 * HASH_BYTES * k))
        messages.append(extension.moved_on(_quad(0, 0, 0, NODE_PREFIX), words))
        end = extension.joined(words[3], _quad(1 << 31, 0, 0, 0))
        zero = _quad(0, 0, 0, 0)
        lasts.append([end, zero, zero, _quad(0, 0, 0, NODE_BITS)])
    states = extension.compress([_BEGIN] * WAYS, messages)
    states = extension.compress(states, lasts)
    out = builder.mul(builder.add(at, done), ir.Constant(_I64, HASH_BYTES))
    for k, state in enumerate(states):
        extension.store_digest(state, target, extension.plus(out, HASH_BYTES * k))
    close()


def emit_leaves(
    builder: Any,
    source: Value,
    first: Value,
    width: Value,
    pad: Value,
    blocks: Value,
    target: Value,
    at: Value,
) -> None:
    """As `kernels.sha256_lanes.emit_leaves`."""
    extension = Extension(builder)
    group, _, close_groups = _counted(builder, ir.Constant(_I64, ROWS // WAYS), "leaves")
    done = builder.mul(group, ir.Constant(_I64, WAYS))
    rows = [builder.add(first, builder.mul(extension.plus(done, k), width)) for k in range(WAYS)]
    number, before, close_blocks = _counted(builder, blocks, "blocks")
    states = [(builder.phi(_QUAD), builder.phi(_QUAD)) for _ in range(WAYS)]
    carried = [builder.phi(_QUAD) for _ in range(WAYS)]
    offset = builder.mul(number, ir.Constant(_I64, BLOCK_BYTES))
    data = [extension.block_at(source, builder.add(row, offset)) for row in rows]
    messages = [
        extension.padded(extension.moved_on(last, words), pad, number)
        for last, words in zip(carried, data, strict=True)
    ]
    after = extension.compress(states, messages)
    for phis, begins, values in zip(
        [(*state, last) for state, last in zip(states, carried, strict=True)],
        [(*_BEGIN, _quad(0, 0, 0, LEAF_PREFIX))] * WAYS,
        [(*state, words[3]) for state, words in zip(after, data, strict=True)],
        strict=True,
    ):
        for phi, begin, value in zip(phis, begins, values, strict=True):
            phi.add_incoming(begin, before)
            phi.add_incoming(value, builder.block)
    close_blocks()
    out = builder.mul(builder.add(at, done), ir.Constant(_I64, HASH_BYTES))
    for k, state in enumerate(after):
        extension.store_digest(state, target, extension.plus(out, HASH_BYTES * k))
    close_groups()
