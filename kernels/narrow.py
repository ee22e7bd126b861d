"""Exact products and shares that take the 64-bit way where it is exact, and the 128-bit one where not.

A 128-bit division costs several times a 64-bit one, and nearly every product of a sweep fits 64 bits. The
answers are those of `kernels.int128` on every input: only the way there differs.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types

from kernels.int128 import mul_add_divmod
from kernels.jit import kernel, primitive

RATE_ONE = 1_000_000_000_000
_I64 = types.int64
_T2 = types.UniTuple(types.int64, 2)


def _plain_mul_add_fits(a: int, b: int, c: int) -> tuple[int, int]:
    product = int(a) * int(b)
    value = product + int(c)
    fits = all(-(1 << 63) <= x < (1 << 63) for x in (product, value))
    return (value, 1) if fits else (0, 0)


@primitive(_plain_mul_add_fits)
def mul_add_fits(typingctx, a, b, c):  # type: ignore[no-untyped-def]
    """(a*b + c, 1), or (0, 0) where the product or the sum leaves int64."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        i64 = ir.IntType(64)
        product = builder.smul_with_overflow(args[0], args[1])
        total = builder.sadd_with_overflow(builder.extract_value(product, 0), args[2])
        lost = builder.or_(builder.extract_value(product, 1), builder.extract_value(total, 1))
        zero = ir.Constant(i64, 0)
        out = ir.Constant(ir.ArrayType(i64, 2), ir.Undefined)
        out = builder.insert_value(out, builder.select(lost, zero, builder.extract_value(total, 0)), 0)
        return builder.insert_value(out, builder.zext(builder.not_(lost), i64), 1)

    return _T2(_I64, _I64, _I64), codegen


@kernel
def divmod_floor(a: int, b: int, c: int, divisor: int) -> tuple[int, int, int]:
    """(q, r, ok) with a*b + c == q*divisor + r, 0 <= r < divisor. `divisor` > 0. ok = 0: q does not fit."""
    value, fits = mul_add_fits(a, b, c)
    if fits == 0:
        return mul_add_divmod(a, b, c, divisor)
    q = value // divisor
    return q, value - q * divisor, 1


@kernel
def share_up(quote_e6: int, rate_e12: int) -> int:
    """quote_e6 * rate_e12 / 1e12, rounded up. quote_e6: 0 .. 2**63 - 1; rate_e12: 0 .. 1e12.

    Schoolbook multiplication in base 1e6: every partial product fits int64, every division is by a
    constant, so nothing is divided by at run time.
    """
    a = quote_e6 // 1_000_000
    b = quote_e6 - a * 1_000_000
    c = rate_e12 // 1_000_000
    d = rate_e12 - c * 1_000_000
    middle = a * d + b * c
    carry = middle // 1_000_000
    rest = (middle - carry * 1_000_000) * 1_000_000 + b * d
    return a * c + carry + (rest + RATE_ONE - 1) // RATE_ONE
