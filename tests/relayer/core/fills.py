"""A small signed log of fills, and proof files of it. The log is the plain one: nothing here waits for kernels."""

from __future__ import annotations

import numpy as np
from solders.keypair import Keypair
from solders.signature import Signature

from relayer.core import note
from relayer.core.checkpoint import Checkpoint, encode_text
from relayer.core.leaf import LEAF, LEAF_BYTES
from relayer.core.proof_file import OnChain, ProofFile, leaf_of
from relayer.core.proofs import inclusion_proof
from relayer.core.rfc9162 import hash_leaf
from relayer.signer.keyfile import KeyfileSigner
from tests.relayer.core import twin

ORIGIN = "godark.test/log/0"
SIGNER, STRANGER = (KeyfileSigner(Keypair.from_seed(bytes([k] * 32))) for k in (7, 8))
KEY = note.verifier_key(ORIGIN, SIGNER)
COMMIT = str(Signature.from_bytes(bytes(range(64))))
CHAIN = OnChain("devnet", 3, (COMMIT,), 1234)


def leaves_of(count: int, seed: int = 1) -> np.ndarray:
    """uint8[count, 112]: fills 1.. of the matching engine, numbers as wide as they may be."""
    random = np.random.default_rng(seed)
    rows = np.zeros(count, LEAF)
    rows["version"], rows["kind"], rows["source"] = 1, 1, 1
    rows["seq"] = np.arange(1, count + 1)
    rows["market"] = random.integers(0, 200, count)
    for name in ("time_ns", "trade_id", "price", "size"):
        rows[name] = random.integers(-(1 << 63), 1 << 63, count, dtype=np.int64)
    for name in ("maker", "taker"):
        rows[name] = random.integers(0, 256, (count, 32), dtype=np.uint8)
    return rows.view(np.uint8).reshape(count, LEAF_BYTES)


class PlainLog:
    """A log by the recursive definition."""

    def __init__(self, leaves: np.ndarray) -> None:
        self._hashes = [hash_leaf(leaf.tobytes()) for leaf in leaves]

    @property
    def size(self) -> int:
        return len(self._hashes)

    def range_root(self, start: int, end: int) -> bytes:
        return twin.tree_head(self._hashes[start:end])

    def root(self, size: int | None = None) -> bytes:
        return self.range_root(0, self.size if size is None else size)


def log_of(leaves: np.ndarray) -> PlainLog:
    return PlainLog(leaves)


def signed(log: PlainLog, size: int, signer: KeyfileSigner = SIGNER) -> bytes:
    """The signed checkpoint of a log at a size."""
    return note.sign(encode_text(Checkpoint(ORIGIN, size, log.root(size))), ORIGIN, signer)


def proof_file(
    leaves: np.ndarray, index: int, size: int | None = None, chain: OnChain | None = CHAIN
) -> ProofFile:
    """The proof of one leaf at a size of the log of `leaves`."""
    log = log_of(leaves)
    size = log.size if size is None else size
    proof = tuple(inclusion_proof(log, index, size))
    return ProofFile(leaf_of(leaves[index].tobytes()), index, proof, signed(log, size), KEY, chain)
