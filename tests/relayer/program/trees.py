"""Merkle trees of a test's size, made the plain way."""

from __future__ import annotations

import hashlib

from relayer.core.rfc9162 import hash_leaf, hash_node, split_point

LEAF_BYTES = 112


def leaf(number: int) -> bytes:
    """A leaf unlike any other."""
    return hashlib.shake_128(number.to_bytes(8, "little")).digest(LEAF_BYTES)


def leaves(count: int) -> list[bytes]:
    """The first leaves of a log."""
    return [leaf(number) for number in range(count)]


def root(hashes: list[bytes]) -> bytes:
    """The root over leaf hashes (at least one)."""
    if len(hashes) == 1:
        return hashes[0]
    middle = split_point(len(hashes))
    return hash_node(root(hashes[:middle]), root(hashes[middle:]))


def proof(hashes: list[bytes], index: int) -> list[bytes]:
    """The inclusion proof of a leaf, bottom up."""
    if len(hashes) == 1:
        return []
    middle = split_point(len(hashes))
    if index < middle:
        return [*proof(hashes[:middle], index), root(hashes[middle:])]
    return [*proof(hashes[middle:], index - middle), root(hashes[:middle])]


def hashes(count: int) -> list[bytes]:
    """The hashes of the first leaves."""
    return [hash_leaf(one) for one in leaves(count)]
