"""verify_fill: the proofs that hold, and everything that does not."""

from __future__ import annotations

import base64
import hashlib
import struct

import pytest
from solders.instruction import AccountMeta
from solders.system_program import ID as SYSTEM

from relayer.core.log import SHARD_LEAVES
from relayer.program.build import PROGRAM
from relayer.program.errors import ProgramError as E
from relayer.program.instructions import Checkpoint, Position, discriminator
from relayer.program.sandbox import FEATURES
from tests.relayer.program.stage import Stage, both_feature_sets, with_account, with_accounts, with_data
from tests.relayer.program.trees import hashes, leaf, proof, root

SIZE = 21


@pytest.fixture(scope="module", params=FEATURES)
def stage(request: pytest.FixtureRequest) -> Stage:
    """A log of 5, then 21 leaves. What verifies changes nothing, so one stage is enough."""
    return Stage(request.param).initialise().commit(5).commit(SIZE)


def _claim(stage: Stage, index: int, size: int = SIZE):
    batch = 1 if size == 5 else 2
    return stage.position.verify(batch, index, leaf(index), proof(hashes(size), index))


@both_feature_sets
def test_every_leaf_of_small_logs(features: str) -> None:
    stage = Stage(features).initialise()
    for size in (1, 2, 3, 8, 13):
        stage.commit(size)
        for index in range(size):
            claim = stage.position.verify(stage.batch, index, leaf(index), proof(hashes(size), index))
            assert stage.run(claim) is None


def test_an_early_batch_still_proves(stage: Stage) -> None:
    assert stage.run(_claim(stage, 3, 5)) is None


def test_what_it_says(stage: Stage) -> None:
    outcome = stage.chain.send(_claim(stage, 20))
    event = discriminator("event:FillVerified") + struct.pack("<QQ", 2, 20)
    assert f"Program data: {base64.b64encode(event).decode()}" in outcome.logs


def test_every_single_bit_of_a_claim(stage: Stage) -> None:
    """Index, leaf and proof: the one true claim is the only one that passes, and each refusal has its reason."""
    good = _claim(stage, 18)
    before = stage.everything(good)
    for bit in range(64, 8 * len(good.data)):
        changed = bytearray(bytes(good.data))
        changed[bit // 8] ^= 1 << bit % 8
        index = struct.unpack_from("<Q", changed, 8)[0]
        expected = E.WRONG_ROOT
        if index >= SIZE:
            expected = E.INDEX_OUTSIDE
        elif len(proof(hashes(SIZE), index)) != len(proof(hashes(SIZE), 18)):
            expected = E.PROOF_LENGTH
        assert stage.run(with_data(good, bytes(changed))) is expected, bit
    assert stage.everything(good) == before


def test_a_hash_missing_or_to_spare(stage: Stage) -> None:
    for index in (0, 7, 16, 20):
        hashed = proof(hashes(SIZE), index)
        for wrong in (hashed[:-1], [*hashed, bytes(32)], [*hashed, hashed[-1]], []):
            claim = stage.position.verify(2, index, leaf(index), wrong)
            stage.refused(E.PROOF_LENGTH, claim)


def test_hashes_in_another_order(stage: Stage) -> None:
    claim = stage.position.verify(2, 3, leaf(3), proof(hashes(SIZE), 3)[::-1])
    stage.refused(E.WRONG_ROOT, claim)


def test_a_proof_at_another_size(stage: Stage) -> None:
    claim = stage.position.verify(2, 2, leaf(2), proof(hashes(5), 2))
    stage.refused(E.PROOF_LENGTH, claim)


def test_a_node_is_no_leaf(stage: Stage) -> None:
    """Prefixes keep leaves and nodes apart: a node's two children are no leaf, whatever is proven above them."""
    hashed = hashes(SIZE)
    children = (hashed[0] + hashed[1]).ljust(112, b"\0")
    stage.refused(E.PROOF_LENGTH, stage.position.verify(2, 0, children, proof(hashed, 0)[1:]))


@pytest.mark.parametrize("index", [SIZE, SIZE + 1, 2**63, 2**64 - 1])
def test_an_index_behind_the_log(stage: Stage, index: int) -> None:
    stage.refused(E.INDEX_OUTSIDE, stage.position.verify(2, index, leaf(0), proof(hashes(SIZE), 0)))


def test_an_empty_log_has_no_leaf() -> None:
    stage = Stage().initialise()
    empty = stage.position.commit(stage.relayer.pubkey(), 1, stage.log, stage.log)
    assert stage.run(empty, stage.relayer) is None
    stage.refused(E.INDEX_OUTSIDE, stage.position.verify(1, 0, leaf(0), []))


def test_a_log_that_goes_on_in_another_shard() -> None:
    """Sizes count over all shards, places in one: what a commit's root is of, is the shard that its size ends in."""
    stage = Stage().initialise().commit(5)
    for size, leaves in ((SHARD_LEAVES + 3, 3), (SHARD_LEAVES + 8, 8), (2 * SHARD_LEAVES + 1, 1)):
        log = Checkpoint(size, root(hashes(leaves)))
        made = stage.position.commit(stage.relayer.pubkey(), stage.batch + 1, stage.log, log)
        assert stage.run(made, stage.relayer) is None
        stage.batch, stage.log = stage.batch + 1, log
        for index in range(leaves):
            claim = stage.position.verify(stage.batch, index, leaf(index), proof(hashes(leaves), index))
            assert stage.run(claim) is None
        stage.refused(E.INDEX_OUTSIDE, stage.position.verify(stage.batch, leaves, leaf(0), []))
        beyond = stage.position.verify(stage.batch, SHARD_LEAVES, leaf(0), proof(hashes(leaves), 0))
        stage.refused(E.INDEX_OUTSIDE, beyond)
    assert stage.run(_claim(stage, 4, 5)) is None


def test_other_lengths(stage: Stage) -> None:
    good = bytes(_claim(stage, 0).data)
    for length in (8, 127, len(good) - 1, len(good) - 31):
        stage.refused(E.INSTRUCTION_LENGTH, with_data(_claim(stage, 0), good[:length]))
    stage.refused(E.INSTRUCTION_LENGTH, with_data(_claim(stage, 0), good + b"\0"))


def test_other_numbers_of_accounts(stage: Stage) -> None:
    good = _claim(stage, 0)
    for metas in ([], [*good.accounts, AccountMeta(SYSTEM, False, False)]):
        stage.refused(E.ACCOUNT_COUNT, with_accounts(good, metas))


@both_feature_sets
def test_a_commit_that_is_not_ours(features: str) -> None:
    stage = Stage(features).initialise().commit(5)
    key = stage.position.commit_address(1)[0]
    _, data, _ = stage.chain.account(key) or pytest.fail("no commit")
    for owner in (SYSTEM, stage.stranger.pubkey()):
        stage.put(stage.stranger.pubkey(), data, owner)
        stage.refused(E.WRONG_OWNER, with_account(_claim(stage, 0, 5), 0, pubkey=stage.stranger.pubkey()))
    other = Position(stage.chain.deploy(PROGRAM.read_bytes(), b"other", stage.stranger))
    stage.put(other.commit_address(1)[0], data, other.program)
    stage.refused(E.WRONG_OWNER, with_account(_claim(stage, 0, 5), 0, pubkey=other.commit_address(1)[0]))


@both_feature_sets
def test_a_commit_that_is_not_there_or_was_closed(features: str) -> None:
    stage = Stage(features).initialise().commit(5)
    stage.refused(E.WRONG_OWNER, stage.position.verify(2, 0, leaf(0), proof(hashes(5), 0)))
    key = stage.position.commit_address(1)[0]
    stage.put(key, b"", stage.program)
    stage.refused(E.WRONG_ACCOUNT_LENGTH, _claim(stage, 0, 5))
    stage.put(key, bytes(104), stage.program)
    stage.refused(E.WRONG_DISCRIMINATOR, _claim(stage, 0, 5))
    stage.put(key, b"", SYSTEM)
    stage.refused(E.WRONG_OWNER, _claim(stage, 0, 5))


def test_an_account_of_ours_that_is_no_commit(stage: Stage) -> None:
    stage.refused(E.WRONG_DISCRIMINATOR, with_account(_claim(stage, 0), 0, pubkey=stage.position.exchange))


@both_feature_sets
def test_a_commit_of_another_length_or_version(features: str) -> None:
    stage = Stage(features).initialise().commit(5)
    key = stage.position.commit_address(1)[0]
    _, data, owner = stage.chain.account(key) or pytest.fail("no commit")
    for changed, error in (
        (data[:-1], E.WRONG_ACCOUNT_LENGTH),
        (data + b"\0", E.WRONG_ACCOUNT_LENGTH),
        (data[:8] + b"\0" + data[9:], E.WRONG_VERSION),
    ):
        stage.put(key, changed, owner)
        stage.refused(error, _claim(stage, 0, 5))


def test_a_leaf_of_the_longest_log_that_fits_a_transaction() -> None:
    """26 levels in 1,232 bytes: a made-up path of hashes and the root it leads to."""
    index, size = 2**25 + 12345, 2**26
    hashed = [hashlib.sha256(bytes([k])).digest() for k in range(26)]
    node, at = hashlib.sha256(b"\0" + leaf(7)).digest(), index
    for sibling in hashed:
        pair = sibling + node if at & 1 else node + sibling
        node, at = hashlib.sha256(b"\1" + pair).digest(), at >> 1
    stage = Stage().initialise().commit(1)
    key = stage.position.commit_address(1)[0]
    _, data, owner = stage.chain.account(key) or pytest.fail("no commit")
    stage.put(key, data[:64] + struct.pack("<Q", size) + node, owner)
    outcome = stage.chain.send(stage.position.verify(1, index, leaf(7), hashed))
    assert outcome.err is None
    assert outcome.units <= 150 * 26 + 6_000
