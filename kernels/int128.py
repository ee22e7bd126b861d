"""Exact arithmetic through 128 bits, on pairs of int64.

A 128-bit number is (hi, lo): value = hi * 2**64 + (lo read as unsigned). Both halves are int64, because
mixed signedness behaves differently with the JIT off. Products of two int64 always fit; a quotient that
does not fit int64 once it is rounded as asked, or a divisor that is not positive, is told by `ok` = 0 beside
zeros: nothing wraps and nothing traps.

Where a divisor is known long before, `reciprocal_of` turns it into (divisor, reciprocal, shift), and the
functions named `_by` take these three: about twice as fast, the same answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from kernels import division
from kernels.division import (
    FLOOR,
    emit_halves,
    emit_pack,
    emit_product,
    emit_rounded,
    join,
    rounded,
    signed,
    split,
)
from kernels.jit import kernel, primitive

_I64 = types.int64
_T2 = types.UniTuple(types.int64, 2)
_T3 = types.UniTuple(types.int64, 3)


def _plain_mul_add_divmod(a: int, b: int, c: int, divisor: int) -> tuple[int, int, int]:
    value = int(a) * int(b) + int(c)
    return rounded(value, division.divide(division.bared(value), divisor), divisor, FLOOR)


def _plain_mul_add_divmod_by(
    a: int, b: int, c: int, divisor: int, reciprocal: int, shift: int
) -> tuple[int, int, int]:
    value = int(a) * int(b) + int(c)
    parts = division.divide_by(division.bared(value), divisor, reciprocal, shift)
    return rounded(value, parts, divisor, FLOOR)


def _plain_divmod128(hi: int, lo: int, divisor: int) -> tuple[int, int, int]:
    value = join(hi, lo)
    return rounded(value, division.divide(division.bared(value), divisor), divisor, FLOOR)


def _plain_mul_add128(hi: int, lo: int, a: int, b: int) -> tuple[int, int]:
    return split(join(hi, lo) + int(a) * int(b))


def _plain_reciprocal_of(divisor: int) -> tuple[int, int]:
    if divisor <= 0:
        return 0, 0
    shift = 64 - int(divisor).bit_length()
    return signed(((1 << 128) - 1) // (int(divisor) << shift) - (1 << 64)), shift


@primitive(_plain_mul_add_divmod)
def mul_add_divmod(typingctx, a, b, c, divisor):  # type: ignore[no-untyped-def]
    """(q, r, ok) with a*b + c == q*divisor + r, 0 <= r < divisor. ok = 0: q does not fit."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        value = builder.add(emit_product(builder, args[0], args[1]), builder.sext(args[2], ir.IntType(128)))
        return emit_pack(builder, list(emit_rounded(builder, value, list(args[3:]), FLOOR)))

    return _T3(_I64, _I64, _I64, _I64), codegen


@primitive(_plain_mul_add_divmod_by)
def mul_add_divmod_by(typingctx, a, b, c, divisor, reciprocal, shift):  # type: ignore[no-untyped-def]
    """`mul_add_divmod` by a divisor with its `reciprocal_of`."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        value = builder.add(emit_product(builder, args[0], args[1]), builder.sext(args[2], ir.IntType(128)))
        return emit_pack(builder, list(emit_rounded(builder, value, list(args[3:]), FLOOR)))

    return _T3(_I64, _I64, _I64, _I64, _I64, _I64), codegen


@primitive(_plain_divmod128)
def divmod128(typingctx, hi, lo, divisor):  # type: ignore[no-untyped-def]
    """(q, r, ok) of the 128-bit (hi, lo) by `divisor`, rounding down. ok = 0: q does not fit int64."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        value = division.emit_wide(builder, args[0], args[1])
        return emit_pack(builder, list(emit_rounded(builder, value, [args[2]], FLOOR)))

    return _T3(_I64, _I64, _I64), codegen


@primitive(_plain_mul_add128)
def mul_add128(typingctx, hi, lo, a, b):  # type: ignore[no-untyped-def]
    """(hi, lo) + a*b. The caller's bounds keep the sum within 127 bits (kernels/layouts.py has the proof)."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        total = builder.add(
            division.emit_wide(builder, args[0], args[1]), emit_product(builder, args[2], args[3])
        )
        return emit_pack(builder, list(emit_halves(builder, total)))

    return _T2(_I64, _I64, _I64, _I64), codegen


@primitive(_plain_reciprocal_of)
def reciprocal_of(typingctx, divisor):  # type: ignore[no-untyped-def]
    """(reciprocal, shift) of a divisor > 0, for the functions named `_by`; (0, 0) of any other.

    shift brings the divisor's top bit to bit 63; reciprocal = (2**128 - 1) // (divisor << shift) - 2**64, its
    64 bits read as signed.
    """

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        i64 = ir.IntType(64)
        zero, ones = ir.Constant(i64, 0), ir.Constant(i64, -1)
        positive = builder.icmp_signed(">", args[0], zero)
        divisor = builder.select(positive, args[0], ir.Constant(i64, 1))
        shift = builder.ctlz(divisor, ir.Constant(ir.IntType(1), 1))
        norm = builder.shl(divisor, shift)
        reciprocal, _ = division.emit_2by1(builder, builder.not_(norm), ones, norm)
        return emit_pack(builder, [builder.select(positive, x, zero) for x in (reciprocal, shift)])

    return _T2(_I64), codegen


def _rounding(mode: int, n_divisor: int) -> Callable[..., Any]:
    """The primitive (a, b, divisor[, reciprocal, shift]) -> (a*b / divisor rounded by `mode`, ok)."""

    def plain(a: int, b: int, *given: int) -> tuple[int, int]:
        value = int(a) * int(b)
        divide = division.divide if n_divisor == 1 else division.divide_by
        q, _, ok = rounded(value, divide(division.bared(value), *given), given[0], mode)
        return q, ok

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        q, _, ok = emit_rounded(builder, emit_product(builder, args[0], args[1]), list(args[2:]), mode)
        return emit_pack(builder, [q, ok])

    if n_divisor == 1:

        def typing(typingctx, a, b, divisor):  # type: ignore[no-untyped-def]
            return _T2(_I64, _I64, _I64), codegen

        return primitive(plain)(typing)

    def typing_by(typingctx, a, b, divisor, reciprocal, shift):  # type: ignore[no-untyped-def]
        return _T2(_I64, _I64, _I64, _I64, _I64), codegen

    return primitive(plain)(typing_by)


_floor, _ceil, _trunc, _half_even, _half_away = (_rounding(mode, 1) for mode in range(5))
_floor_by, _ceil_by, _trunc_by, _half_even_by, _half_away_by = (_rounding(mode, 3) for mode in range(5))


@kernel
def mul_div_floor(a: int, b: int, divisor: int) -> tuple[int, int]:
    """(a*b / divisor rounded down, ok)."""
    return _floor(a, b, divisor)


@kernel
def mul_div_ceil(a: int, b: int, divisor: int) -> tuple[int, int]:
    """(a*b / divisor rounded up, ok)."""
    return _ceil(a, b, divisor)


@kernel
def mul_div_trunc(a: int, b: int, divisor: int) -> tuple[int, int]:
    """(a*b / divisor rounded toward zero, ok)."""
    return _trunc(a, b, divisor)


@kernel
def mul_div_half_even(a: int, b: int, divisor: int) -> tuple[int, int]:
    """(a*b / divisor rounded to nearest, ties to even, ok)."""
    return _half_even(a, b, divisor)


@kernel
def mul_div_half_away(a: int, b: int, divisor: int) -> tuple[int, int]:
    """(a*b / divisor rounded to nearest, ties away from zero, ok)."""
    return _half_away(a, b, divisor)


@kernel
def mul_div_floor_by(a: int, b: int, divisor: int, reciprocal: int, shift: int) -> tuple[int, int]:
    """(a*b / divisor rounded down, ok), by the divisor's `reciprocal_of`."""
    return _floor_by(a, b, divisor, reciprocal, shift)


@kernel
def mul_div_ceil_by(a: int, b: int, divisor: int, reciprocal: int, shift: int) -> tuple[int, int]:
    """(a*b / divisor rounded up, ok), by the divisor's `reciprocal_of`."""
    return _ceil_by(a, b, divisor, reciprocal, shift)


@kernel
def mul_div_trunc_by(a: int, b: int, divisor: int, reciprocal: int, shift: int) -> tuple[int, int]:
    """(a*b / divisor rounded toward zero, ok), by the divisor's `reciprocal_of`."""
    return _trunc_by(a, b, divisor, reciprocal, shift)


@kernel
def mul_div_half_even_by(a: int, b: int, divisor: int, reciprocal: int, shift: int) -> tuple[int, int]:
    """(a*b / divisor rounded to nearest, ties to even, ok), by the divisor's `reciprocal_of`."""
    return _half_even_by(a, b, divisor, reciprocal, shift)


@kernel
def mul_div_half_away_by(a: int, b: int, divisor: int, reciprocal: int, shift: int) -> tuple[int, int]:
    """(a*b / divisor rounded to nearest, ties away from zero, ok), by the divisor's `reciprocal_of`."""
    return _half_away_by(a, b, divisor, reciprocal, shift)


@kernel
def add_checked(a: int, b: int) -> tuple[int, int]:
    """(a + b, ok)."""
    if (b > 0 and a > 9223372036854775807 - b) or (b < 0 and a < -9223372036854775808 - b):
        return 0, 0
    return a + b, 1


def by_constant(divisor: int) -> tuple[int, int, int]:
    """A divisor > 0 known when a module is imported, as the functions named `_by` take it."""
    return (divisor, *_plain_reciprocal_of(divisor))


def int_of(hi: int, lo: int) -> int:
    """The Python integer of a (hi, lo) pair."""
    return join(hi, lo)
