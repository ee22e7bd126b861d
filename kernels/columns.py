"""Exact division a column at a time: eight lanes of a vector unit instead of one multiplier.

A float64 quotient only guesses; integers decide. Where the guess is below 2**62 it is off by less than 3,100
(six roundings of 2**-53 each, and the fraction), and by 2**11 / divisor more where c cancels much of a*b. So what
is left, a*b + c - guess*divisor, is below 2**51 * 3,100 + 2**11 < 2**63 in magnitude and exact in 64 wrapping
bits, whatever the product was. A second guess from what is left is off by less than one, and a look at the
remainder's bounds settles it: how a machine rounds floats never shows in an answer. Written without a branch,
for loops that the compiler turns into vector code: a product and its division then take a seventh of the time.
"""

from __future__ import annotations

from numba import types

from kernels.division import signed
from kernels.int128 import mul_div_floor
from kernels.jit import kernel, primitive
from kernels.types import Words

DIVISOR_MOST = 1 << 51
GUESS_MOST = 4611686018427387904.0
"""2**62: where a guess is as large, the lane is wild and is divided the long way."""
_MASK = (1 << 64) - 1


def _plain_mul_sub_wraps(a: int, b: int, c: int, d: int) -> int:
    return signed((int(a) * int(b) - int(c) * int(d)) & _MASK)


@primitive(_plain_mul_sub_wraps)
def mul_sub_wraps(typingctx, a, b, c, d):  # type: ignore[no-untyped-def]
    """a*b - c*d modulo 2**64, as int64."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.sub(builder.mul(args[0], args[1]), builder.mul(args[2], args[3]))

    return types.int64(*[types.int64] * 4), codegen


@kernel
def lane(a: int, b: int, c: int, divisor: int, inverse: float) -> tuple[int, int, int]:
    """(q, r, wild) with a*b + c == q*divisor + r, 0 <= r < divisor. wild = 1: both are 0.

    1 <= divisor <= DIVISOR_MOST, -2**62 <= c <= 2**62, inverse = 1.0 / divisor. Every lane with |q| < 2**61 is
    tame.
    """
    guess = (float(a) * float(b) + float(c)) * inverse
    wild = 1 if abs(guess) >= GUESS_MOST else 0
    q = int(min(max(guess, -GUESS_MOST), GUESS_MOST))
    r = mul_sub_wraps(a, b, q, divisor)
    r = mul_sub_wraps(r, 1, -c, 1)
    more = int(float(r) * inverse)
    q += more
    r = mul_sub_wraps(r, 1, more, divisor)
    below = r >> 63
    q, r = q + below, r + (divisor & below)
    above = 1 if r >= divisor else 0
    return (q + above) if wild == 0 else 0, (r - (divisor & -above)) if wild == 0 else 0, wild


@kernel
def inverse_of(divisor: int) -> float:
    """What `lane` takes beside its divisor."""
    return 1.0 / float(divisor)


@kernel
def mul_div_floor_column(a: Words, b: Words, divisor: int, out: Words) -> int:
    """out = floor(a * b / divisor), exact. Returns the first row that does not fit, or how many there are.

    int64[n] each. A divisor that is not positive fits nothing. Rows past the first that does not fit are not
    defined.
    """
    count = a.shape[0]
    if divisor <= 0:
        return 0
    wild = 1
    if divisor <= DIVISOR_MOST:
        inverse = inverse_of(divisor)
        wild = 0
        for i in range(count):
            out[i], _, odd = lane(a[i], b[i], 0, divisor, inverse)
            wild |= odd
    if wild == 0:
        return count
    for i in range(count):
        out[i], ok = mul_div_floor(a[i], b[i], divisor)
        if ok == 0:
            return i
    return count
