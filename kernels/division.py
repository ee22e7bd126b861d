"""Division of 128 by 64 bits with a rounding: what `kernels/int128.py` is made of, in LLVM and in plain Python.

A signed number is divided by its magnitude: by the CPU's own instruction, or, where the divisor's reciprocal
is given, by two multiplications (Möller and Granlund, "Improved division by invariant integers", 2011,
algorithm 4). Every plain body takes the same steps as the code emitted beside it.
"""

from __future__ import annotations

import llvmlite.binding
from llvmlite import ir

from kernels.jit import JIT_DISABLED, need_runtime_library

_MASK = (1 << 64) - 1
FLOOR, CEIL, TRUNC, HALF_EVEN, HALF_AWAY = range(5)
_HAS_DIVQ = llvmlite.binding.get_default_triple().startswith("x86_64")

if not JIT_DISABLED:
    if _HAS_DIVQ:
        llvmlite.binding.initialize_native_target()
        llvmlite.binding.initialize_native_asmparser()
    else:
        need_runtime_library()


def join(hi: int, lo: int) -> int:
    return (int(hi) << 64) | (int(lo) & _MASK)


def signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


def split(value: int) -> tuple[int, int]:
    return signed((value >> 64) & _MASK), signed(value & _MASK)


Parts = tuple[int, int] | None


def divide(magnitude: int, divisor: int) -> Parts:
    return divmod(magnitude, int(divisor)) if divisor > 0 else None


def divide_by(magnitude: int, divisor: int, reciprocal: int, shift: int) -> Parts:
    d = int(divisor)
    if d <= 0 or magnitude >> 64 >= d:
        return None
    shifted, norm = magnitude << int(shift), d << int(shift)
    guess = (int(reciprocal) & _MASK) * (shifted >> 64) + shifted
    q = ((guess >> 64) + 1) & _MASK
    r = (shifted - q * norm) & _MASK
    if r > guess & _MASK:
        q, r = (q - 1) & _MASK, (r + norm) & _MASK
    if r >= norm:
        q, r = q + 1, r - norm
    return q, r >> int(shift)


def rounded(value: int, parts: Parts, divisor: int, mode: int) -> tuple[int, int, int]:
    """(quotient rounded by `mode`, remainder of the floor, ok) from the division of |value|."""
    if parts is None:
        return 0, 0, 0
    q, r = parts
    rest = int(divisor) - r
    nearest = r > rest or (r == rest and (mode == HALF_AWAY or q % 2 == 1))
    up = (value < 0 < r, value >= 0 < r, False, nearest, nearest)[mode]
    q = -(q + up) if value < 0 else q + up
    if not -(1 << 63) <= q < 1 << 63:
        return 0, 0, 0
    return q, (rest if value < 0 < r else r), 1


def emit_wide(builder: ir.IRBuilder, hi: ir.Value, lo: ir.Value) -> ir.Value:
    i128 = ir.IntType(128)
    high = builder.shl(builder.sext(hi, i128), ir.Constant(i128, 64))
    return builder.or_(high, builder.zext(lo, i128))


def emit_halves(builder: ir.IRBuilder, value: ir.Value) -> tuple[ir.Value, ir.Value]:
    i64 = ir.IntType(64)
    high = builder.trunc(builder.lshr(value, ir.Constant(value.type, 64)), i64)
    return high, builder.trunc(value, i64)


def emit_product(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    i128 = ir.IntType(128)
    return builder.mul(builder.sext(a, i128), builder.sext(b, i128))


def emit_pack(builder: ir.IRBuilder, values: list[ir.Value]) -> ir.Value:
    out = ir.Constant(ir.ArrayType(ir.IntType(64), len(values)), ir.Undefined)
    for position, value in enumerate(values):
        out = builder.insert_value(out, value, position)
    return out


def emit_2by1(builder: ir.IRBuilder, hi: ir.Value, lo: ir.Value, divisor: ir.Value) -> list[ir.Value]:
    """[quotient, remainder] of hi * 2**64 + lo, unsigned. hi < divisor, else the instruction traps."""
    i64 = ir.IntType(64)
    if _HAS_DIVQ:
        pair = ir.LiteralStructType([i64, i64])
        kind = ir.FunctionType(pair, [i64, i64, i64])
        divide = ir.InlineAsm(kind, "divq $4", "={ax},={dx},{ax},{dx},r,~{flags}", False)
        both = builder.call(divide, [lo, hi, divisor])
        return [builder.extract_value(both, k) for k in range(2)]
    i128 = ir.IntType(128)
    value = builder.or_(builder.shl(builder.zext(hi, i128), ir.Constant(i128, 64)), builder.zext(lo, i128))
    quotient = builder.trunc(builder.udiv(value, builder.zext(divisor, i128)), i64)
    return [quotient, builder.sub(lo, builder.mul(quotient, divisor))]


def _emit_divide(builder: ir.IRBuilder, magnitude: ir.Value, given: list[ir.Value]) -> list[ir.Value]:
    """[quotient, remainder, does it fit 64 bits] of an unsigned 128-bit number by given[0]."""
    i64 = ir.IntType(64)
    zero, one = ir.Constant(i64, 0), ir.Constant(i64, 1)
    hi, lo = emit_halves(builder, magnitude)
    positive = builder.icmp_signed(">", given[0], zero)
    divisor = builder.select(positive, given[0], one)
    fits = builder.and_(positive, builder.icmp_unsigned("<", hi, divisor))
    q, r = emit_2by1(builder, builder.select(fits, hi, zero), lo, divisor)
    return [q, r, fits]


def _emit_divide_by(builder: ir.IRBuilder, magnitude: ir.Value, given: list[ir.Value]) -> list[ir.Value]:
    """The same by given = [divisor, reciprocal, shift]: no branch, no division."""
    i64, i128 = ir.IntType(64), ir.IntType(128)
    zero, one = ir.Constant(i64, 0), ir.Constant(i64, 1)
    divisor, reciprocal = given[0], given[1]
    shift = builder.and_(given[2], ir.Constant(i64, 63))
    fits = builder.and_(
        builder.icmp_signed(">", divisor, zero),
        builder.icmp_unsigned("<", emit_halves(builder, magnitude)[0], divisor),
    )
    shifted = builder.shl(magnitude, builder.zext(shift, i128))
    high, low = emit_halves(builder, shifted)
    norm = builder.shl(divisor, shift)
    guess = builder.add(builder.mul(builder.zext(reciprocal, i128), builder.zext(high, i128)), shifted)
    guess_high, guess_low = emit_halves(builder, guess)
    q = builder.add(guess_high, one)
    r = builder.sub(low, builder.mul(q, norm))
    over = builder.icmp_unsigned(">", r, guess_low)
    q = builder.sub(q, builder.zext(over, i64))
    r = builder.select(over, builder.add(r, norm), r)
    under = builder.icmp_unsigned(">=", r, norm)
    q = builder.add(q, builder.zext(under, i64))
    r = builder.select(under, builder.sub(r, norm), r)
    return [q, builder.lshr(r, shift), fits]


def _emit_up(builder: ir.IRBuilder, mode: int, parts: list[ir.Value], below: ir.Value) -> ir.Value:
    """Whether the magnitude's quotient is rounded up. parts: [quotient, remainder, divisor - remainder]."""
    q, r, rest = parts
    i1, i64 = ir.IntType(1), ir.IntType(64)
    some = builder.icmp_unsigned("!=", r, ir.Constant(i64, 0))
    if mode == FLOOR:
        return builder.and_(below, some)
    if mode == CEIL:
        return builder.and_(builder.not_(below), some)
    if mode == TRUNC:
        return ir.Constant(i1, 0)
    tie = builder.icmp_unsigned("==", r, rest)
    if mode == HALF_EVEN:
        tie = builder.and_(tie, builder.trunc(q, i1))
    return builder.or_(builder.icmp_unsigned(">", r, rest), tie)


def emit_rounded(
    builder: ir.IRBuilder, value: ir.Value, given: list[ir.Value], mode: int
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """(quotient, remainder of the floor, ok) of the signed 128-bit `value` by a divisor, given in 1 or 3."""
    i64 = ir.IntType(64)
    nothing = ir.Constant(i64, 0)
    below = builder.icmp_signed("<", value, ir.Constant(value.type, 0))
    magnitude = builder.select(below, builder.neg(value), value)
    emit = _emit_divide if len(given) == 1 else _emit_divide_by
    q, r, fits = emit(builder, magnitude, given)
    rest = builder.sub(given[0], r)
    up = builder.zext(_emit_up(builder, mode, [q, r, rest], below), i64)
    largest = builder.add(ir.Constant(i64, (1 << 63) - 1), builder.zext(below, i64))
    ok = builder.and_(fits, builder.icmp_unsigned("<=", q, builder.sub(largest, up)))
    q = builder.add(q, up)
    q = builder.select(below, builder.neg(q), q)
    some = builder.icmp_unsigned("!=", r, nothing)
    r = builder.select(builder.and_(below, some), rest, r)
    return builder.select(ok, q, nothing), builder.select(ok, r, nothing), builder.zext(ok, i64)
