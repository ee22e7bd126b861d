"""What RFC 9162 says of a Merkle tree, in plain Python: enough to check a proof, and quick to load."""

from __future__ import annotations

import hashlib

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
LEAF_PREFIX = b"\x00"
NODE_PREFIX = b"\x01"


def hash_leaf(leaf: bytes) -> bytes:
    """The leaf hash of one byte string."""
    return hashlib.sha256(LEAF_PREFIX + leaf).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    """The hash of the node over two child hashes."""
    return hashlib.sha256(NODE_PREFIX + left + right).digest()


def split_point(width: int) -> int:
    """The largest power of two below `width` (at least 2): how many leaves the left child holds."""
    return 1 << ((width - 1).bit_length() - 1)


def is_subtree(start: int, end: int, size: int) -> bool:
    """Whether leaves [start, end) are a subtree of a log of `size` leaves, now or at an earlier size."""
    return 0 <= start < end <= size and start % (1 << (end - start - 1).bit_length()) == 0
