"""Whether a proof file proves what it says: the fill, its hash, the path, the root, the signature. No I/O.

The log's inclusion proofs bind leaf, place and root; the size is bound by the signed checkpoint alone, so nothing
is taken from the file that the checkpoint also says.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.common.errors import LogSplit, ProofInvalid
from relayer.core.checkpoint import Checkpoint, Note, decode_text
from relayer.core.note import VerifierKey, parse_verifier_key, read_checkpoint
from relayer.core.proof_file import ProofFile, leaf_bytes
from relayer.core.proofs import verify_inclusion
from relayer.core.rfc9162 import hash_leaf


class Proven(NamedTuple):
    """What a proof file proves, given that `key` is the log's.

    leaf_hash: of the leaf as rebuilt from the fields in clear. key_is_given: the caller brought the key; else it
    is the file's own word. checkpoint_is_given: the caller brought a checkpoint, and it says the same.
    """

    file: ProofFile
    leaf_hash: bytes
    checkpoint: Checkpoint
    key: VerifierKey
    key_is_given: bool
    checkpoint_is_given: bool


def check(file: ProofFile, *, key: str | None = None, checkpoint: bytes | None = None) -> Proven:
    """Check all that can be checked without asking anybody.

    key: the verifier key that is known to be the log's; None: the one in the file. checkpoint: one that the caller
    holds, as a signed note or its text alone: it must be the one that the proof leads to.
    Raises NoteInvalid, CheckpointInvalid; ProofInvalid, its context's `reason` as of `verify_inclusion`, or
    `checkpoint` (the caller's is another one); LogSplit (the caller's is signed too, and they contradict each other).
    """
    verifier = parse_verifier_key(file.key if key is None else key)
    signed = read_checkpoint(file.checkpoint, verifier.text)
    if checkpoint is not None:
        _compare(signed, decode_text(checkpoint), verifier)
    leaf_hash = hash_leaf(leaf_bytes(file.leaf))
    verify_inclusion(leaf_hash, file.index, signed.size, file.proof, signed.root)
    return Proven(file, leaf_hash, signed, verifier, key is not None, checkpoint is not None)


def _compare(signed: Checkpoint, held: Note, key: VerifierKey) -> None:
    """That the checkpoint in the file is the one that the caller holds."""
    ours = held.checkpoint
    if ours.origin != signed.origin:
        raise ProofInvalid(
            f"your checkpoint is of the log {ours.origin}, the proof of {signed.origin}", reason="checkpoint"
        )
    if ours.size != signed.size:
        raise ProofInvalid(
            f"the proof leads to the log at {signed.size} leaves, your checkpoint is at {ours.size}: ask for a proof"
            " to yours (godark prove --checkpoint)",
            reason="checkpoint",
        )
    if ours.root != signed.root:
        roots = f"{signed.root.hex()} in the file, {ours.root.hex()} in your checkpoint; keep both"
        if held.signatures:
            read_checkpoint(held.body + b"\n" + held.signatures, key.text)
            raise LogSplit(f"split view: {key.name} signed two roots over {signed.size} leaves: {roots}")
        raise ProofInvalid(f"two roots over {signed.size} leaves: {roots}", reason="checkpoint")
