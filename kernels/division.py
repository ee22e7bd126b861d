"""Division of 128 by 64 bits with a rounding: what `kernels/int128.py` is made of, in LLVM and in plain Python.

A negative number is divided by way of its complement: floor(x / d) = ~floor(~x / d), so that rounding down
needs no look at the remainder, and the other roundings step up from there. What is left is an unsigned
division: by the CPU's own instruction, or, where the divisor's reciprocal is given, by two multiplications
(Möller and Granlund, "Improved division by invariant integers", 2011, algorithm 4). Every plain body takes
the same steps as the code emitted beside it.
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


def divide(bare: int, divisor: int) -> Parts:
    return divmod(bare, int(divisor)) if divisor > 0 else None


def divide_by(bare: int, divisor: int, reciprocal: int, shift: int) -> Parts:
    d = int(divisor)
    if d <= 0 or bare >> 64 >= d:
        return None
    shifted, norm = bare << int(shift), d << int(shift)
    guess = (int(reciprocal) & _MASK) * (shifted >> 64) + shifted
    q = ((guess >> 64) + 1) & _MASK
    r = (shifted - q * norm) & _MASK
    if r > guess & _MASK:
        q, r = (q - 1) & _MASK, (r + norm) & _MASK
    if r >= norm:
        q, r = q + 1, r - norm
    return q, r >> int(shift)


def bared(value: int) -> int:
    """What is divided in place of `value`."""
    return ~value if value < 0 else value


def rounded(value: int, parts: Parts, divisor: int, mode: int) -> tuple[int, int, int]:
    """(quotient rounded by `mode`, remainder of the floor, ok) from the division of `bared(value)`."""
    if parts is None:
        return 0, 0, 0
    q, r = parts
    if value < 0:
        q, r = ~q, int(divisor) - 1 - r
    rest = int(divisor) - r
    over, tie = r > rest, r == rest
    up = (False, r > 0, value < 0 < r, over or (tie and q % 2 == 1), over or (tie and value >= 0))[mode]
    q += up
    if not -(1 << 63) <= q < 1 << 63:
        return 0, 0, 0
    return q, r, 1


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


def _emit_divide(builder: ir.IRBuilder, hi: ir.Value, lo: ir.Value, given: list[ir.Value]) -> list[ir.Value]:
    """[quotient, remainder, does it fit 64 bits] of unsigned hi * 2**64 + lo by given[0]."""
    i64 = ir.IntType(64)
    zero, one = ir.Constant(i64, 0), ir.Constant(i64, 1)
    positive = builder.icmp_signed(">", given[0], zero)
    divisor = builder.select(positive, given[0], one)
    fits = builder.and_(positive, builder.icmp_unsigned("<", hi, divisor))
    q, r = emit_2by1(builder, builder.select(fits, hi, zero), lo, divisor)
    return [q, r, fits]


def _emit_divide_by(
    builder: ir.IRBuilder, hi: ir.Value, lo: ir.Value, given: list[ir.Value]
) -> list[ir.Value]:
    """The same by given = [divisor, reciprocal, shift]: no branch, no division."""
    i64, i128 = ir.IntType(64), ir.IntType(128)
    zero, one = ir.Constant(i64, 0), ir.Constant(i64, 1)
    divisor, reciprocal = given[0], given[1]
    shift = builder.and_(given[2], ir.Constant(i64, 63))
    fits = builder.and_(builder.icmp_signed(">", divisor, zero), builder.icmp_unsigned("<", hi, divisor))
    shifted = builder.shl(emit_wide(builder, hi, lo), builder.zext(shift, i128))
    high, low = emit_halves(builder, shifted)
    norm = builder.shl(divisor, shift)
    guess = builder.add(builder.mul(builder.zext(reciprocal, i128), builder.zext(high, i128)), shifted)
    guess_high, guess_low = emit_halves(builder, guess)
    q = builder.add(guess_high, one)
    r = builder.sub(low, builder.mul(q, norm))
    over = builder.icmp_unsigned(">", r, guess_low)
    q = builder.select(over, guess_high, q)
    r = builder.select(over, builder.add(r, norm), r)
    under = builder.icmp_unsigned(">=", r, norm)
    q = builder.add(q, builder.zext(under, i64))
    r = builder.select(under, builder.sub(r, norm), r)
    return [q, builder.lshr(r, shift), fits]


def _emit_up(builder: ir.IRBuilder, mode: int, parts: list[ir.Value], below: ir.Value) -> ir.Value:
    """Whether the floor is rounded up. parts: [floor, its remainder, divisor - remainder]."""
    q, r, rest = parts
    i1, i64 = ir.IntType(1), ir.IntType(64)
    if mode == FLOOR:
        return ir.Constant(i1, 0)
    some = builder.icmp_unsigned("!=", r, ir.Constant(i64, 0))
    if mode == CEIL:
        return some
    if mode == TRUNC:
        return builder.and_(below, some)
    tie = builder.icmp_unsigned("==", r, rest)
    odd = builder.trunc(q, i1) if mode == HALF_EVEN else builder.not_(below)
    return builder.or_(builder.icmp_unsigned(">", r, rest), builder.and_(tie, odd))


def emit_rounded(
    builder: ir.IRBuilder, value: ir.Value, given: list[ir.Value], mode: int
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """(quotient, remainder of the floor, ok) of the signed 128-bit `value` by a divisor, given in 1 or 3."""
    i64 = ir.IntType(64)
    nothing, top = ir.Constant(i64, 0), ir.Constant(i64, 63)
    hi, lo = emit_halves(builder, value)
    sign = builder.ashr(hi, top)
    below = builder.icmp_signed("<", hi, nothing)
    emit = _emit_divide if len(given) == 1 else _emit_divide_by
    bare, r, fits = emit(builder, builder.xor(hi, sign), builder.xor(lo, sign), given)
    q = builder.xor(bare, sign)
    r = builder.add(builder.xor(r, sign), builder.and_(sign, given[0]))
    up = builder.zext(_emit_up(builder, mode, [q, r, builder.sub(given[0], r)], below), i64)
    out = builder.add(q, up)
    # The quotient fits if it has the sign of the value, with one way out to either side: -1 and up is 0, and
    # a floor one below the least int64 that is rounded up is the least.
    past = builder.lshr(bare, top)
    if mode != FLOOR:
        stepped = builder.select(below, builder.sub(past, up), builder.lshr(out, top))
        past = builder.select(below, builder.and_(past, stepped), builder.or_(past, stepped))
        wild = builder.icmp_unsigned(">", bare, ir.Constant(i64, 1 << 63))
        past = builder.or_(past, builder.zext(wild, i64))
    ok = builder.and_(fits, builder.icmp_unsigned("==", past, nothing))
    return builder.select(ok, out, nothing), builder.select(ok, r, nothing), builder.zext(ok, i64)
