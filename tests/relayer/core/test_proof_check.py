"""What a proof file proves: every single-bit change of what is proven is rejected."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace

import pytest

from engine.common.errors import (
    CheckpointInvalid,
    GodarkError,
    LogSplit,
    NoteInvalid,
    ProofFileInvalid,
    ProofInvalid,
)
from relayer.core import note
from relayer.core.checkpoint import Checkpoint, encode_text
from relayer.core.proof_check import check
from relayer.core.proof_file import ProofFile, decode, encode, leaf_bytes, leaf_of
from relayer.core.rfc9162 import hash_leaf
from tests.relayer.core.fills import KEY, ORIGIN, SIGNER, STRANGER, leaves_of, log_of, proof_file, signed

LEAVES = leaves_of(13)
REFUSED = (ProofInvalid, ProofFileInvalid, NoteInvalid, CheckpointInvalid)


def flipped(data: bytes) -> Iterator[bytes]:
    """The bytes with each single bit changed."""
    for at in range(8 * len(data)):
        changed = bytearray(data)
        changed[at >> 3] ^= 1 << (at & 7)
        yield bytes(changed)


def reason(file: ProofFile, **given: object) -> object:
    with pytest.raises(ProofInvalid) as caught:
        check(file, **given)  # type: ignore[arg-type]
    return caught.value.context["reason"]


def test_every_leaf_at_every_size_is_proven() -> None:
    for size in range(1, 14):
        for index in range(size):
            proven = check(decode(encode(proof_file(LEAVES, index, size))))
            assert proven.checkpoint == Checkpoint(ORIGIN, size, log_of(LEAVES).root(size))
            assert proven.leaf_hash == hash_leaf(LEAVES[index].tobytes())
            assert (proven.key.text, proven.key_is_given, proven.checkpoint_is_given) == (KEY, False, False)


@pytest.mark.parametrize(("index", "size"), [(0, 1), (5, 13), (12, 13), (7, 8)])
def test_every_single_bit_change_of_what_is_proven_is_rejected(index: int, size: int) -> None:
    file = proof_file(LEAVES, index, size)
    changes = 0
    for data in flipped(leaf_bytes(file.leaf)):
        with pytest.raises(REFUSED):
            check(replace(file, leaf=leaf_of(data)))
        changes += 1
    for k, value in enumerate(file.proof):
        for data in flipped(value):
            assert reason(replace(file, proof=(*file.proof[:k], data, *file.proof[k + 1 :]))) == "root"
            changes += 1
    for bit in range(64):
        assert reason(replace(file, index=file.index ^ 1 << bit)) in ("index", "proof_length", "root")
        changes += 1
    for data in flipped(file.checkpoint):
        with pytest.raises((NoteInvalid, CheckpointInvalid)):
            check(replace(file, checkpoint=data))
        changes += 1
    assert changes > 112 * 8 + 64 + 32 * 8 * len(file.proof)


@pytest.mark.parametrize("index", [0, 12])
def test_no_bit_of_the_file_can_be_changed_but_for_where_it_is_on_chain(index: int) -> None:
    data = encode(proof_file(LEAVES, index))
    chain = data.index(b'"chain"')
    free = 0
    for at, changed in enumerate(flipped(data)):
        try:
            check(decode(changed))
        except REFUSED:
            continue
        assert at >> 3 > chain, data[max(0, (at >> 3) - 20) : (at >> 3) + 20]
        free += 1
    assert free, "what the operator says of the chain is not proven by the file"


def test_sizes_and_roots_that_were_not_signed_prove_nothing() -> None:
    log, file = log_of(LEAVES), proof_file(LEAVES, 5)
    for size in (*range(6, 13), 14, 16):
        for root in (log.root(13), log.root(min(size, 13))):
            body = encode_text(Checkpoint(ORIGIN, size, root))
            forged = file.checkpoint.replace(file.checkpoint.partition(b"\n\n")[0] + b"\n", body)
            with pytest.raises(NoteInvalid):
                check(replace(file, checkpoint=forged))


def test_a_proof_of_another_place_or_size_is_rejected() -> None:
    file = proof_file(LEAVES, 5)
    for index in range(13):
        if index != 5:
            assert reason(replace(file, index=index)) in ("root", "proof_length")
            assert reason(replace(file, leaf=leaf_of(LEAVES[index].tobytes()))) == "root"
    assert reason(replace(file, proof=file.proof[:-1])) == "proof_length"
    assert reason(replace(file, proof=(*file.proof, bytes(32)))) == "proof_length"
    assert reason(replace(file, proof=(file.proof[1], file.proof[0], *file.proof[2:]))) == "root"
    assert reason(replace(file, index=13)) == "index"
    assert reason(replace(proof_file(LEAVES, 0), index=16)) == "index"
    # The path of the last leaf is short, and is where that of number 3 begins: only its length tells them apart.
    assert reason(replace(proof_file(LEAVES, 12), index=3)) == "proof_length"


def test_who_signed_is_whom_the_caller_believes() -> None:
    file = proof_file(LEAVES, 5)
    assert check(file, key=KEY).key_is_given
    stranger = note.verifier_key(ORIGIN, STRANGER)
    with pytest.raises(NoteInvalid, match="no signature by"):
        check(file, key=stranger)
    # A forger signs a log of their own and says that this is the key: only a key from elsewhere tells.
    forged = replace(file, checkpoint=signed(log_of(LEAVES), 13, STRANGER), key=stranger)
    assert not check(forged).key_is_given
    with pytest.raises(NoteInvalid):
        check(forged, key=KEY)
    with pytest.raises(NoteInvalid, match="key"):
        check(file, key="nonsense")


def test_a_key_of_another_log_is_refused() -> None:
    other = note.verifier_key("godark.test/log/1", SIGNER)
    with pytest.raises(NoteInvalid):
        check(proof_file(LEAVES, 5), key=other)


def test_a_checkpoint_in_hand_is_the_one_that_the_proof_leads_to() -> None:
    file, log = proof_file(LEAVES, 5), log_of(LEAVES)
    body = encode_text(Checkpoint(ORIGIN, 13, log.root()))
    for held in (file.checkpoint, body):
        assert check(file, checkpoint=held).checkpoint_is_given
    assert reason(file, checkpoint=signed(log, 12)) == "checkpoint"
    assert reason(file, checkpoint=body.replace(b"test", b"text")) == "checkpoint"
    with pytest.raises(CheckpointInvalid):
        check(file, checkpoint=b"nothing\n")


def test_a_split_view_is_told_by_name() -> None:
    file, other = proof_file(LEAVES, 5), log_of(leaves_of(13, seed=2))
    with pytest.raises(LogSplit, match="split view") as caught:
        check(file, checkpoint=signed(other, 13))
    assert other.root().hex() in caught.value.line()
    unsigned = encode_text(Checkpoint(ORIGIN, 13, other.root()))
    assert reason(file, checkpoint=unsigned) == "checkpoint"
    with pytest.raises(NoteInvalid):
        check(file, checkpoint=signed(other, 13, STRANGER))


def test_signatures_of_others_do_not_stand_in_the_way() -> None:
    file = proof_file(LEAVES, 5)
    witness = base64.b64encode(bytes(76)).decode()
    assert check(replace(file, checkpoint=file.checkpoint + f"— witness.test {witness}\n".encode()))


def test_refusals_are_one_line() -> None:
    file = proof_file(LEAVES, 5)
    with pytest.raises(GodarkError) as caught:
        check(replace(file, index=4))
    assert "\n" not in caught.value.line()
    assert caught.value.exit_code
