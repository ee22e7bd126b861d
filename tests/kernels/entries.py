"""Ways into the kernels: primitives wrapped so that Python may call them, and arguments as int64.

Arguments are np.int64 in both modes: compiled code is then specialised once, and with the JIT off an
overflow shows as a warning instead of growing past 64 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from kernels import int128, prefetch, slots
from kernels.jit import kernel
from tests.kernels.twins import I64_MAX, I64_MIN

EDGES = sorted(
    {0, 1, -1, 2, -2, 10**6, -(10**12), I64_MIN, I64_MIN + 1, I64_MAX, I64_MAX - 1}
    | {s * (2**k + d) for k in (31, 32, 61, 62) for s in (1, -1) for d in (-1, 0, 1)}
)
int64s = st.one_of(st.sampled_from(EDGES), st.integers(I64_MIN, I64_MAX), st.integers(-1000, 1000))
"""Any int64, the edges of its range and of its halves more often than chance would."""
divisors = st.one_of(
    st.sampled_from([1, 2, 3, 10**6, 10**9, 10**12, 2**31, 2**62, I64_MAX]), st.integers(1, I64_MAX)
)


def run(function: Callable[..., Any], *args: Any) -> Any:
    """Call a kernel with every Python integer as np.int64; its answer as Python integers."""
    out = function(*(np.int64(a) if isinstance(a, int) else a for a in args))
    if isinstance(out, tuple):
        return tuple(int(x) for x in out)
    return None if out is None else int(out)


@kernel
def mul_add_divmod(a: int, b: int, c: int, divisor: int) -> tuple[int, int, int]:
    return int128.mul_add_divmod(a, b, c, divisor)


@kernel
def mul_add_divmod_by(
    a: int, b: int, c: int, divisor: int, reciprocal: int, shift: int
) -> tuple[int, int, int]:
    return int128.mul_add_divmod_by(a, b, c, divisor, reciprocal, shift)


@kernel
def reciprocal_of(divisor: int) -> tuple[int, int]:
    return int128.reciprocal_of(divisor)


@kernel
def divmod128(hi: int, lo: int, divisor: int) -> tuple[int, int, int]:
    return int128.divmod128(hi, lo, divisor)


@kernel
def mul_add128(hi: int, lo: int, a: int, b: int) -> tuple[int, int]:
    return int128.mul_add128(hi, lo, a, b)


@kernel
def mix(a: int, b: int) -> int:
    return slots.mix(a, b)


@kernel
def fetch(rows: np.ndarray, row: int) -> int:
    return prefetch.prefetch(rows, row)
