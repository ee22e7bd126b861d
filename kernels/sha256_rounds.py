"""SHA-256 (FIPS 180-4) as what its three forms here share: constants, and the shapes of the messages we hash.

A message is a byte in front of data whose length is known, so its padding is too. A node is 0x01 and 64 bytes,
two blocks, of which the second holds one byte that is not constant.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

MASK = 0xFFFFFFFF
BLOCK_BYTES = 64
HASH_BYTES = 32
ROWS = 16
"""So many messages are hashed at once."""
LEAF_PREFIX, NODE_PREFIX = 0x00, 0x01
NODE_BITS = 8 * (1 + 2 * HASH_BYTES)


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


def _cube_root(value: int) -> int:
    root = 1 << -(-value.bit_length() // 3)
    while (lower := (2 * root + value // root**2) // 3) < root:
        root = lower
    return root


INITIAL: Final = tuple(math.isqrt(prime << 64) & MASK for prime in _primes(8))
"""The first 32 bits of the fractions of the square roots of the first eight primes."""
ROUND: Final = tuple(_cube_root(prime << 96) & MASK for prime in _primes(64))
"""The same of the cube roots of the first 64."""


def blocks_of(width: int) -> int:
    """Blocks of a message of one byte and `width` more, its padding included."""
    return (1 + width + 9 + BLOCK_BYTES - 1) // BLOCK_BYTES


def padding_of(width: int) -> NDArray[np.uint32]:
    """What makes the words of a message of one byte and `width` more whole: uint32[blocks * 32].

    Of each block sixteen masks of what is data, then sixteen words to put in: 0x80 behind it, its length in bits.
    """
    blocks = blocks_of(width)
    data = np.zeros(blocks * BLOCK_BYTES, np.uint8)
    data[: 1 + width] = 0xFF
    put = np.zeros_like(data)
    put[1 + width] = 0x80
    put[-8:] = np.frombuffer((8 * (1 + width)).to_bytes(8, "big"), np.uint8)
    words = np.stack([part.view(">u4").reshape(blocks, 16) for part in (data, put)], axis=1)
    return np.ascontiguousarray(words.astype(np.uint32).reshape(-1))


def rotated(word: int, right: int) -> int:
    return (word >> right | word << (32 - right)) & MASK


def small_sigma0(word: int) -> int:
    return rotated(word, 7) ^ rotated(word, 18) ^ word >> 3


def small_sigma1(word: int) -> int:
    return rotated(word, 17) ^ rotated(word, 19) ^ word >> 10
