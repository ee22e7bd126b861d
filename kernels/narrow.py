"""Exact products and shares that take the 64-bit way where it is exact, and the 128-bit one where not.

A 128-bit division costs several times a 64-bit one, and nearly every product of a sweep fits 64 bits. The
answers are those of `kernels.int128` on every input: only the way there differs.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types

from kernels import division
from kernels.int128 import mul_add_divmod, mul_div_ceil, mul_div_floor
from kernels.jit import kernel, primitive
from kernels.layouts import PRICE_MAX
from kernels.types import Rows, Words

RATE_ONE = 1_000_000_000_000
_MEGA = 1_000_000
SHORT = 1 << 61
"""Numerators in -SHORT..SHORT-1 are divided by multiplication."""
FEE_ROOM = (1 << 63) - 1_000_000_000
"""What a fee's product may be, so that it can be rounded up before it is divided by 1e9."""
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


def _plain_mul_high(a: int, b: int) -> int:
    return (int(a) * int(b)) >> 64


@primitive(_plain_mul_high)
def mul_high(typingctx, a, b):  # type: ignore[no-untyped-def]
    """floor(a*b / 2**64)."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        i64, i128 = ir.IntType(64), ir.IntType(128)
        product = builder.mul(builder.sext(args[0], i128), builder.sext(args[1], i128))
        return builder.trunc(builder.ashr(product, ir.Constant(i128, 64)), i64)

    return _I64(_I64, _I64), codegen


def _plain_share_up(quote_e6: int, rate_e12: int) -> int:
    return -(-int(quote_e6) * int(rate_e12) // RATE_ONE)


@primitive(_plain_share_up)
def _share_up(typingctx, quote_e6, rate_e12):  # type: ignore[no-untyped-def]
    """Schoolbook multiplication in base 1e6: every partial product fits 64 bits, every divisor is a constant."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        i64 = ir.IntType(64)
        mega, one = ir.Constant(i64, _MEGA), ir.Constant(i64, RATE_ONE)
        a, c = builder.udiv(args[0], mega), builder.udiv(args[1], mega)
        b, d = builder.urem(args[0], mega), builder.urem(args[1], mega)
        middle = builder.add(builder.mul(a, d), builder.mul(b, c))
        rest = builder.add(builder.mul(builder.urem(middle, mega), mega), builder.mul(b, d))
        up = builder.udiv(builder.add(rest, ir.Constant(i64, RATE_ONE - 1)), one)
        return builder.add(builder.add(builder.mul(a, c), builder.udiv(middle, mega)), up)

    return _I64(_I64, _I64), codegen


@kernel
def share_up(quote_e6: int, rate_e12: int) -> int:
    """quote_e6 * rate_e12 / 1e12, rounded up. quote_e6: 0 .. 2**63 - 1; rate_e12: 0 .. 1e12."""
    return _share_up(quote_e6, rate_e12)


def _plain_share_by(quote_e6: int, rate_e12: int, magic: int) -> int:
    q = int(quote_e6) * int(magic) >> 62
    rest = int(quote_e6) * int(rate_e12) - q * RATE_ONE
    return q + (rest > 0) + (rest > RATE_ONE)


@primitive(_plain_share_by)
def share_by(typingctx, quote_e6, rate_e12, magic):  # type: ignore[no-untyped-def]
    """`share_up` of quote_e6 < 2**61 with the rate's `rate_magic`.

    The magic product is the quotient or one less, since magic is too small by less than 1 and
    quote / 2**62 < 1/2. What is left is under 2e12 and so exact in 64 wrapping bits; it tells by how much
    to round up.
    """

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        i64, i128 = ir.IntType(64), ir.IntType(128)
        one = ir.Constant(i64, RATE_ONE)
        product = builder.mul(builder.zext(args[0], i128), builder.zext(args[2], i128))
        q = builder.trunc(builder.lshr(product, ir.Constant(i128, 62)), i64)
        rest = builder.sub(builder.mul(args[0], args[1]), builder.mul(q, one))
        q = builder.add(q, builder.zext(builder.icmp_signed(">", rest, ir.Constant(i64, 0)), i64))
        return builder.add(q, builder.zext(builder.icmp_signed(">", rest, one), i64))

    return _I64(_I64, _I64, _I64), codegen


def _plain_quotient_of(a: int, b: int, divisor: int) -> tuple[int, int]:
    product = int(a) * int(b)
    if product >> 64 >= divisor:
        product &= (1 << 64) - 1
    q, r = divmod(product, int(divisor))
    return division.signed(q), r


@primitive(_plain_quotient_of)
def quotient_of(typingctx, a, b, divisor):  # type: ignore[no-untyped-def]
    """(q, r) with a*b == q*divisor + r, 0 <= r < divisor, for a, b >= 0 and divisor > 0.

    The caller's bounds keep q below 2**63. A product with 2**64 * divisor or more is taken modulo 2**64, so
    that even then nothing traps.
    """

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        i64, i128 = ir.IntType(64), ir.IntType(128)
        product = builder.mul(builder.zext(args[0], i128), builder.zext(args[1], i128))
        hi, lo = division.emit_halves(builder, product)
        fits = builder.icmp_unsigned("<", hi, args[2])
        hi = builder.select(fits, hi, ir.Constant(i64, 0))
        return division.emit_pack(builder, division.emit_2by1(builder, hi, lo, args[2]))

    return _T2(_I64, _I64, _I64), codegen


@kernel
def rate_magic(rate_e12: int) -> int:
    """floor(rate_e12 * 2**62 / 1e12), for `share_by`. rate_e12: 0 .. 1e12. Of a larger rate never smaller."""
    magic, _ = mul_div_floor(rate_e12, 1 << 62, RATE_ONE)
    return magic


@kernel
def magic_of(divisor: int) -> tuple[int, int]:
    """(magic, shift) with which `divmod_by` divides by 1 <= divisor <= 2**61.

    magic = ceil(2**(62 + shift) / divisor), 2**shift the first power of two not below the divisor. For
    0 <= x < 2**61 floor(4x * magic / 2**(64 + shift)) is floor(x / divisor): what magic is too large by,
    less than a divisor, times x stays below 2**(62 + shift) (Granlund and Montgomery 1994, theorem 4.2).
    """
    shift = 0
    while (1 << shift) < divisor:
        shift += 1
    magic, _ = mul_div_ceil(1 << 62, 1 << shift, divisor)
    return magic, shift


@kernel
def quotient_by(value: int, divisor: int, magic: int, shift: int) -> tuple[int, int]:
    """(value // divisor, value % divisor) for 0 <= value < SHORT, with the divisor's `magic_of`."""
    q = mul_high(value << 2, magic) >> shift
    return q, value - q * divisor


@kernel
def divmod_by(a: int, b: int, c: int, divisor: int, magic: int, shift: int) -> tuple[int, int, int]:
    """`divmod_floor` with the divisor's `magic_of`. In place of a division: two products and two shifts."""
    value, fits = mul_add_fits(a, b, c)
    # Of a negative the complement is divided, which turns rounding toward zero into rounding down.
    sign = value >> 63
    bare = value ^ sign
    if fits == 0 or bare >= SHORT:
        return mul_add_divmod(a, b, c, divisor)
    q = (mul_high(bare << 2, magic) >> shift) ^ sign
    return q, value - q * divisor, 1


@kernel
def divmod_floor(a: int, b: int, c: int, divisor: int) -> tuple[int, int, int]:
    """(q, r, ok) with a*b + c == q*divisor + r, 0 <= r < divisor. `divisor` > 0. ok = 0: q does not fit."""
    value, fits = mul_add_fits(a, b, c)
    if fits == 0:
        return mul_add_divmod(a, b, c, divisor)
    # Of a negative the complement is divided: quotient times divisor of a floor may lie below -2**63.
    sign = value >> 63
    bare = value ^ sign
    q = bare // divisor
    return q ^ sign, ((bare - q * divisor) ^ sign) + (divisor & sign), 1


@kernel
def index_quotes(markets: Rows, tiers: Rows, quote_by: Words) -> None:
    """Write for each market: `magic_of` its quote_div, the largest |size| whose price * size * quote_mul is
    below 2**58 at any mark, the largest quote whose product with the fee rate of any tier is at most FEE_ROOM.

    markets: MARKET[n]; tiers: TIER[k]; quote_by: int64[n, 4]. Derived from parameters.
    """
    rate = 1
    for k in range(len(tiers)):
        rate = max(rate, max(abs(tiers[k]["taker_e9"]), abs(tiers[k]["maker_e9"])))
    for m in range(len(markets)):
        divisor, factor = max(markets[m]["quote_div"], 1), max(markets[m]["quote_mul"], 1)
        quote_by[m, 0], quote_by[m, 1] = magic_of(divisor)
        quote_by[m, 2] = min(markets[m]["size_max"], (1 << 57) // (PRICE_MAX * factor))
        quote_by[m, 3] = FEE_ROOM // rate
