"""pymerkle's tree over our log: its proofs, its verification, our hashes.

pymerkle counts leaves from 1 and asks for the roots of ranges; the log has the complete ones in its array. What
pymerkle then proves and verifies is its own work. Its inclusion proofs are the leaf hash followed by the RFC 9162
proof; its consistency proofs are of a format of their own, made here of the log's nodes all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

import numpy as np
from pymerkle.core import BaseMerkleTree

from kernels.sha256 import HASH_BYTES
from relayer.core.log import MerkleLog


class LogTree(BaseMerkleTree):
    """A `pymerkle.BaseMerkleTree` (SHA-256, RFC 9162 prefixes) that stores its leaves in a `MerkleLog`.

    log: the one to read and append to, also while others append to it; entries are byte strings of any width.
    """

    def __init__(self, log: MerkleLog | None = None) -> None:
        self.log = MerkleLog() if log is None else log
        super().__init__("sha256")

    def append_entries(self, entries: Iterable[bytes]) -> int:
        """Append entries in order, hashed by the kernels; the size after it."""
        with self.lock:
            for width, run in groupby(entries, len):
                raw = b"".join(rows := list(run))
                self.log.append(np.frombuffer(raw, np.uint8).reshape(len(rows), width))
            return self.log.size

    def _encode_entry(self, data: bytes) -> bytes:
        return data

    def _store_leaf(self, data: bytes, digest: bytes) -> int:
        self.log.append_hashes(np.frombuffer(digest, np.uint8).reshape(1, HASH_BYTES))
        return self.log.size

    def _get_leaf(self, index: int) -> bytes:
        return self.log.leaf_hash(index - 1)

    def _get_leaves(self, offset: int, width: int) -> list[bytes]:
        return [row.tobytes() for row in self.log.level(0)[offset : offset + width]]

    def _get_size(self) -> int:
        return self.log.size

    def _get_subroot(self, offset: int, width: int) -> bytes:
        """The root over leaves [offset, offset + width), width a power of two that divides offset."""
        return self.log.range_root(offset, offset + width)

    def _get_root(self, start: int, end: int) -> bytes:
        """The root over leaves [start, end): every range that a proof of pymerkle names is a subtree of the log."""
        return self.log.range_root(start, end) if start < end else bytes(self.hash_empty())
