"""Exact decimals and rationals on int64: what the venues' rules need beyond one multiply-divide.

A rational is (num, den) with den > 0, in lowest terms wherever a function here returned it. Products and
sums are exact and refused (`ok` = 0) only if the result in lowest terms does not fit. Results lie within
+-(2**63 - 1), so that each may be negated.
"""

from __future__ import annotations

from kernels.int128 import divmod128, mul_add128, mul_add_divmod, mul_div_floor
from kernels.jit import kernel
from kernels.oracle import power10
from kernels.types import Words

LIMBS = 10
LIMB_BITS = 30
LIMB = 1 << LIMB_BITS
_SPLIT = 1_000_000_000


@kernel
def magnitude(value: int) -> tuple[int, int]:
    """(|value|, ok): -2**63 has none."""
    if value < -9223372036854775807:
        return 0, 0
    return abs(value), 1


@kernel
def multiply(a: int, b: int) -> tuple[int, int]:
    """(a * b, ok) within +-(2**63 - 1)."""
    product, _, ok = mul_add_divmod(a, b, 0, 1)
    if product < -9223372036854775807:
        return 0, 0
    return product, ok


@kernel
def subtract(a: int, b: int) -> tuple[int, int]:
    """(a - b, ok)."""
    difference, _, ok = mul_add_divmod(b, -1, a, 1)
    return difference, ok


@kernel
def scaled_product(a: int, b: int, exponent: int) -> tuple[int, int]:
    """(a * b * 10**exponent toward zero, ok), for any exponent; within +-(2**63 - 1)."""
    m, ok_a = magnitude(a)
    n, ok_b = magnitude(b)
    if ok_a == 0 or ok_b == 0:
        return 0, 0
    if m == 0 or n == 0 or exponent < -37:
        return 0, 1
    if exponent > 18:
        return 0, 0
    if exponent >= 0:
        value, ok = multiply(m, n)
        if ok == 1:
            value, ok = multiply(value, power10(exponent))
    elif exponent >= -18:
        value, ok = mul_div_floor(m, n, power10(-exponent))
    else:
        value, ok = _far_down(m, n, -exponent), 1
    return (value if (a > 0) == (b > 0) else -value), ok


@kernel
def _far_down(m: int, n: int, digits: int) -> int:
    """floor(m * n / 10**digits) for m, n >= 0 and 19 <= digits <= 37.

    A divisor past 10**18 is no int64, so m is split at 10**9: its upper part times n is below 10**29 and, cut
    by ten digits or more, fits. Floors of floors are exact.
    """
    low, _ = mul_div_floor(m % _SPLIT, n, _SPLIT)
    first = min(digits - 9, 18)
    value, _, _ = mul_add_divmod(m // _SPLIT, n, low, power10(first))
    return value // power10(digits - 9 - first)


@kernel
def gcd(a: int, b: int) -> int:
    """Greatest common divisor of any `a` and `b` > 0; `b` if a = 0."""
    a = a % b
    while a != 0:
        a, b = b % a, a
    return b


@kernel
def ratio(num: int, den: int) -> tuple[int, int, int]:
    """(num, den, ok) of num/den in lowest terms, den > 0. ok = 0: den is 0, or something is -2**63."""
    m, ok_num = magnitude(num)
    n, ok_den = magnitude(den)
    if ok_num == 0 or ok_den == 0 or n == 0:
        return 0, 1, 0
    g = gcd(m, n)
    return (m // g if (num < 0) == (den < 0) else -(m // g)), n // g, 1


@kernel
def times(num_a: int, den_a: int, num_b: int, den_b: int) -> tuple[int, int, int]:
    """(num, den, ok) of the product of two rationals in lowest terms."""
    g = gcd(num_a, den_b)
    h = gcd(num_b, den_a)
    num, ok_num = multiply(num_a // g, num_b // h)
    den, ok_den = multiply(den_a // h, den_b // g)
    if ok_num == 0 or ok_den == 0:
        return 0, 1, 0
    return num, den, 1


@kernel
def plus(num_a: int, den_a: int, num_b: int, den_b: int) -> tuple[int, int, int]:
    """(num, den, ok) of the sum of two rationals in lowest terms.

    With g the common part of the denominators, only a divisor of g can cancel; it is found from the
    numerator modulo g, so that the numerator itself may take 128 bits until it is divided.
    """
    g = gcd(den_a, den_b)
    up_a = den_b // g
    up_b = den_a // g
    hi, lo = mul_add128(0, 0, num_a, up_a)
    hi, lo = mul_add128(hi, lo, num_b, up_b)
    _, part, _ = mul_add_divmod(num_a % g, up_a % g, 0, g)
    _, rest, _ = mul_add_divmod(num_b % g, up_b % g, part, g)
    common = gcd(rest, g)
    num, _, ok_num = divmod128(hi, lo, common)
    den, ok_den = multiply(up_b, den_b // common)
    if ok_num == 0 or ok_den == 0 or num < -9223372036854775807:
        return 0, 1, 0
    return num, den, 1


@kernel
def put_natural(out: Words, value: int) -> None:
    """Write `value` >= 0 as limbs of 30 bits, lowest first. out: int64[LIMBS]."""
    for i in range(LIMBS):
        out[i] = value % LIMB
        value = value // LIMB


@kernel
def scale_natural(out: Words, factor: int) -> None:
    """Multiply limbs by `factor` >= 0 in place. Four int64 factors (252 bits) fit the 300 bits there are."""
    low = factor % LIMB
    middle = (factor // LIMB) % LIMB
    high = factor // (LIMB * LIMB)
    for i in range(LIMBS - 1, -1, -1):
        total = low * out[i]
        if i > 0:
            total += middle * out[i - 1]
        if i > 1:
            total += high * out[i - 2]
        out[i] = total
    carry = 0
    for i in range(LIMBS):
        total = out[i] + carry
        out[i] = total % LIMB
        carry = total // LIMB


def int_of_limbs(limbs: Words) -> int:
    """The Python integer of limbs, which may be signed each."""
    return sum(int(limb) << (LIMB_BITS * i) for i, limb in enumerate(limbs))
