"""What the chain says of a proof: the one finalized commit of the batch, with the same size and root."""

from __future__ import annotations

import asyncio

import pytest

from engine.common.errors import ChecksFailed
from relayer.chain.results import LandedTransaction
from relayer.core.checkpoint import Checkpoint
from relayer.core.payload import Chunk, Commit, Delta, encode_chunk, encode_commit
from relayer.core.proof_file import OnChain
from relayer.verify.proof_chain import Committed, read_commit
from tests.relayer.verify.material import SIGNER, wire_of

ROOT = bytes(range(32))
CHECKPOINT = Checkpoint("godark.test/log/0", 30, ROOT)
CHAIN = OnChain("devnet", 3, ("one", "two"), 0)


def commit(log_size: int = 30, root: bytes = ROOT, batch: int = 3) -> bytes:
    return encode_commit(Commit(batch, 10, 19, 3, log_size, root, 1, 1, bytes(32)))


class Node:
    """Tells of the transactions it is given; None: it knows no such one at finalized."""

    host = "node"

    def __init__(self, *landed: tuple[bytes, object] | None) -> None:
        self._landed = landed

    async def transactions(self, signatures: list[str], commitment: str) -> list[LandedTransaction | None]:
        assert (signatures, commitment) == (list(CHAIN.signatures), "finalized")
        return [
            one and LandedTransaction(7, one[1], None, wire_of(one[0]), 5000, None) for one in self._landed
        ]


def read(*landed: tuple[bytes, object] | None, shard_leaves: int = 1 << 26) -> Committed:
    return asyncio.run(read_commit(Node(*landed), CHAIN, CHECKPOINT, shard_leaves))  # type: ignore[arg-type]


def refused(*landed: tuple[bytes, object] | None) -> str:
    with pytest.raises(ChecksFailed) as caught:
        read(*landed)
    return caught.value.line()


def test_the_one_that_landed_is_told_with_its_slot_and_signer() -> None:
    wanted = Committed("two", 7, str(SIGNER.public_key))
    assert read(None, (commit(), None)) == wanted
    assert read((commit(), {"InstructionError": 1}), (commit(), None)) == wanted


def test_sizes_on_chain_count_over_all_shards() -> None:
    assert read((commit(30 + 5 * 64), None), None, shard_leaves=64).signature == "one"
    with pytest.raises(ChecksFailed, match="over 31 leaves"):
        read((commit(31 + 5 * 64), None), None, shard_leaves=64)


def test_what_did_not_land_once_proves_nothing() -> None:
    assert "no finalized transaction" in refused(None, None)
    assert "no finalized transaction" in refused((commit(), "failed"), None)
    assert "2 times" in refused((commit(), None), (commit(), None))


def test_a_batch_that_was_not_sent_is_not_asked_for() -> None:
    with pytest.raises(ChecksFailed, match="batch 3 was not sent"):
        asyncio.run(read_commit(Node(), CHAIN._replace(signatures=()), CHECKPOINT))  # type: ignore[arg-type]


def test_another_root_size_batch_or_memo_is_named() -> None:
    other = bytes(32)
    assert other.hex() in refused((commit(root=other), None), None)
    assert "over 29 leaves" in refused((commit(log_size=29), None), None)
    assert "over 0 leaves" in refused((commit(log_size=0), None), None)
    assert "batch 4, not 3" in refused((commit(batch=4), None), None)
    chunk = encode_chunk(Chunk(3, 0, (Delta(bytes(32), 0, 5, -5, 0, 0, 2),)))
    assert "commits none" in refused((chunk, None), None)
    assert "commits no batch" in refused((b"hello", None), None)
