"""Whether the chain holds what a proof file leads to: the commit of its batch, read back by JSON-RPC."""

from __future__ import annotations

from typing import NamedTuple

from engine.common.errors import ChecksFailed, MessageInvalid, PayloadInvalid
from relayer.chain.messages import fee_payer_of, parse_memo
from relayer.chain.rpc import RpcClient
from relayer.core.checkpoint import Checkpoint
from relayer.core.log import SHARD_LEAVES
from relayer.core.payload import Commit, decode
from relayer.core.proof_file import OnChain


class Committed(NamedTuple):
    """The finalized transaction that commits the batch. payer: the key that signed and paid for it."""

    signature: str
    slot: int
    payer: str


async def read_commit(
    rpc: RpcClient, chain: OnChain, checkpoint: Checkpoint, shard_leaves: int = SHARD_LEAVES
) -> Committed:
    """Find, among the transactions that the file names, the one that landed, and compare what it commits to.

    The chain counts leaves over all shards, a checkpoint within its own. ChecksFailed: none of them is finalized, or
    it commits to another batch, size or root, or more than one landed. RpcError: the node cannot be asked.
    """
    if not chain.signatures:
        raise ChecksFailed(
            f"the file names no transaction: batch {chain.batch} was not sent when it was written"
        )
    landed = await rpc.transactions(list(chain.signatures), "finalized")
    found = [(name, t) for name, t in zip(chain.signatures, landed, strict=True) if t and t.err is None]
    if not found:
        raise ChecksFailed(f"{rpc.host} knows no finalized transaction that commits batch {chain.batch}")
    if len(found) > 1:
        raise ChecksFailed(f"batch {chain.batch} was committed {len(found)} times")
    signature, transaction = found[0]
    try:
        commit = decode(parse_memo(transaction.wire))
    except (MessageInvalid, PayloadInvalid) as fault:
        raise ChecksFailed(f"transaction {signature} commits no batch: {fault.line()}") from fault
    if not isinstance(commit, Commit):
        raise ChecksFailed(f"transaction {signature} applies a batch and commits none")
    if commit.batch != chain.batch:
        raise ChecksFailed(f"transaction {signature} commits batch {commit.batch}, not {chain.batch}")
    size = (commit.log_size - 1) % shard_leaves + 1 if commit.log_size else 0
    if (size, commit.root) != (checkpoint.size, checkpoint.root):
        raise ChecksFailed(
            f"the chain has root {commit.root.hex()} over {size} leaves, the proof leads to"
            f" {checkpoint.root.hex()} over {checkpoint.size}"
        )
    return Committed(signature, transaction.slot, str(fee_payer_of(transaction.wire)))
