"""Exact arithmetic through 128 bits, on pairs of int64.

A 128-bit number is (hi, lo): value = hi * 2**64 + (lo read as unsigned). Both halves are int64, because
mixed signedness behaves differently with the JIT off. Products of two int64 always fit; a quotient that
does not fit int64 is reported by `ok`, never wrapped.
"""

from __future__ import annotations

import llvmlite.binding
from llvmlite import ir
from numba import types

from kernels.jit import JIT_DISABLED, kernel, primitive

_MASK = (1 << 64) - 1

if not JIT_DISABLED:
    # LLVM lowers a 128-bit division to __divti3, which lives in the compiler's runtime library.
    llvmlite.binding.load_library_permanently("libgcc_s.so.1")

_I64 = types.int64
_T2 = types.UniTuple(types.int64, 2)
_T3 = types.UniTuple(types.int64, 3)


def _join(hi: int, lo: int) -> int:
    return (int(hi) << 64) | (int(lo) & _MASK)


def _split(value: int) -> tuple[int, int]:
    lo = value & _MASK
    hi = (value >> 64) & _MASK
    return (hi - (1 << 64) if hi >> 63 else hi), (lo - (1 << 64) if lo >> 63 else lo)


def _floor_parts(value: int, divisor: int) -> tuple[int, int, int]:
    q, r = divmod(value, int(divisor))
    if -(1 << 63) <= q < (1 << 63):
        return q, r, 1
    return 0, 0, 0


def _plain_mul_add_divmod(a: int, b: int, c: int, divisor: int) -> tuple[int, int, int]:
    return _floor_parts(int(a) * int(b) + int(c), divisor)


def _plain_divmod128(hi: int, lo: int, divisor: int) -> tuple[int, int, int]:
    return _floor_parts(_join(hi, lo), divisor)


def _plain_mul_add128(hi: int, lo: int, a: int, b: int) -> tuple[int, int]:
    return _split(_join(hi, lo) + int(a) * int(b))


def _wide(builder: ir.IRBuilder, hi: ir.Value, lo: ir.Value) -> ir.Value:
    i128 = ir.IntType(128)
    high = builder.shl(builder.sext(hi, i128), ir.Constant(i128, 64))
    return builder.or_(high, builder.zext(lo, i128))


def _pack(builder: ir.IRBuilder, values: list[ir.Value]) -> ir.Value:
    out = ir.Constant(ir.ArrayType(ir.IntType(64), len(values)), ir.Undefined)
    for position, value in enumerate(values):
        out = builder.insert_value(out, value, position)
    return out


def _emit_floor_divmod(builder: ir.IRBuilder, value: ir.Value, divisor: ir.Value) -> ir.Value:
    i64, i128 = ir.IntType(64), ir.IntType(128)
    d = builder.sext(divisor, i128)
    q = builder.sdiv(value, d)
    r = builder.sub(value, builder.mul(q, d))
    zero = ir.Constant(i128, 0)
    below = builder.icmp_signed("<", r, zero)
    q = builder.select(below, builder.sub(q, ir.Constant(i128, 1)), q)
    r = builder.select(below, builder.add(r, d), r)
    fits = builder.icmp_signed("==", builder.sext(builder.trunc(q, i64), i128), q)
    nothing = ir.Constant(i64, 0)
    return _pack(
        builder,
        [
            builder.select(fits, builder.trunc(q, i64), nothing),
            builder.select(fits, builder.trunc(r, i64), nothing),
            builder.zext(fits, i64),
        ],
    )


@primitive(_plain_mul_add_divmod)
def mul_add_divmod(typingctx, a, b, c, divisor):  # type: ignore[no-untyped-def]
    """(q, r, ok) with a*b + c == q*divisor + r, 0 <= r < divisor. `divisor` > 0. ok = 0: q does not fit."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        i128 = ir.IntType(128)
        product = builder.mul(builder.sext(args[0], i128), builder.sext(args[1], i128))
        value = builder.add(product, builder.sext(args[2], i128))
        return _emit_floor_divmod(builder, value, args[3])

    return _T3(_I64, _I64, _I64, _I64), codegen


@primitive(_plain_divmod128)
def divmod128(typingctx, hi, lo, divisor):  # type: ignore[no-untyped-def]
    """(q, r, ok) of the 128-bit (hi, lo) by `divisor` > 0, rounding down. ok = 0: q does not fit int64."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return _emit_floor_divmod(builder, _wide(builder, args[0], args[1]), args[2])

    return _T3(_I64, _I64, _I64), codegen


@primitive(_plain_mul_add128)
def mul_add128(typingctx, hi, lo, a, b):  # type: ignore[no-untyped-def]
    """(hi, lo) + a*b. The caller's bounds keep the sum within 127 bits (2**53 such products do)."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        i64, i128 = ir.IntType(64), ir.IntType(128)
        product = builder.mul(builder.sext(args[2], i128), builder.sext(args[3], i128))
        total = builder.add(_wide(builder, args[0], args[1]), product)
        high = builder.trunc(builder.ashr(total, ir.Constant(i128, 64)), i64)
        return _pack(builder, [high, builder.trunc(total, i64)])

    return _T2(_I64, _I64, _I64, _I64), codegen


@kernel
def mul_div_floor(a: int, b: int, divisor: int) -> tuple[int, int]:
    """(floor(a*b / divisor), ok)."""
    q, _, ok = mul_add_divmod(a, b, 0, divisor)
    return q, ok


@kernel
def mul_div_ceil(a: int, b: int, divisor: int) -> tuple[int, int]:
    """(ceil(a*b / divisor), ok). A quotient of 2**63 - 1 with a remainder does not fit."""
    q, r, ok = mul_add_divmod(a, b, 0, divisor)
    if r > 0:
        if q == 9223372036854775807:
            return 0, 0
        q += 1
    return q, ok


@kernel
def mul_div_trunc(a: int, b: int, divisor: int) -> tuple[int, int]:
    """(a*b / divisor rounded toward zero, ok)."""
    q, r, ok = mul_add_divmod(a, b, 0, divisor)
    if r > 0 and q < 0:
        q += 1
    return q, ok


@kernel
def mul_div_half_even(a: int, b: int, divisor: int) -> tuple[int, int]:
    """(a*b / divisor rounded to nearest, ties to even, ok)."""
    q, r, ok = mul_add_divmod(a, b, 0, divisor)
    rest = divisor - r
    if r > rest or (r == rest and q % 2 != 0):
        if q == 9223372036854775807:
            return 0, 0
        q += 1
    return q, ok


@kernel
def add_checked(a: int, b: int) -> tuple[int, int]:
    """(a + b, ok)."""
    if (b > 0 and a > 9223372036854775807 - b) or (b < 0 and a < -9223372036854775808 - b):
        return 0, 0
    return a + b, 1


def int_of(hi: int, lo: int) -> int:
    """The Python integer of a (hi, lo) pair."""
    return _join(hi, lo)
