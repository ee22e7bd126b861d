"""The naive twin of the Merkle log: the recursive definitions of RFC 9162, over lists of leaf hashes."""

from __future__ import annotations

import hashlib


def leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def tree_head(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return hashlib.sha256(b"\x01" + tree_head(leaves[:k]) + tree_head(leaves[k:])).digest()


def inclusion(m: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*inclusion(m, leaves[:k]), tree_head(leaves[k:])]
    return [*inclusion(m - k, leaves[k:]), tree_head(leaves[:k])]


def consistency(m: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    if m == len(leaves):
        return [] if whole else [tree_head(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*consistency(m, leaves[:k], whole), tree_head(leaves[k:])]
    return [*consistency(m - k, leaves[k:], False), tree_head(leaves[:k])]


def inclusion_shape(m: int, n: int) -> str:
    """On which side the siblings of leaf m stand, bottom up: all that a verifier sees of m and n."""
    if n == 1:
        return ""
    k = split(n)
    return inclusion_shape(m, k) + "R" if m < k else inclusion_shape(m - k, n - k) + "L"


def consistency_shape(m: int, n: int, whole: bool = True) -> str:
    """The same for a consistency proof, beginning with whether the first hash is the earlier root."""
    if m == n:
        return "known" if whole else "given"
    k = split(n)
    if m <= k:
        return consistency_shape(m, k, whole) + "R"
    return consistency_shape(m - k, n - k, False) + "L"
