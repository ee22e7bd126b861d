"""The other side: what the chain itself says, read back by JSON-RPC and compared with the recomputation."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.common.errors import MessageInvalid, PayloadInvalid
from relayer.chain.messages import parse_memo
from relayer.chain.rpc import RpcClient
from relayer.core.graph import COMMIT, Node
from relayer.core.payload import Commit, decode
from relayer.verify.batches import PlainBatch, expected_nodes

_PAGE = 1000
_READ_AT_ONCE = 1000


@dataclass(frozen=True)
class OnChain:
    """One settlement transaction as the chain has it."""

    slot: int
    memo: bytes
    finalized: bool


@dataclass
class ChainEvidence:
    """Every settlement transaction found. A node that landed twice has two entries."""

    transactions: dict[Node, list[OnChain]] = field(default_factory=dict)
    finalized: int = 0
    foreign: int = 0

    def one(self, node: Node) -> OnChain | None:
        """The single successful, finalized transaction of a node; None if there is none, or more than one."""
        found = self.transactions.get(node, [])
        return found[0] if len(found) == 1 and found[0].finalized else None


async def read_chain(rpc: RpcClient, payer: str) -> ChainEvidence:
    """Read back everything that `payer` ever landed successfully. RpcError: the node cannot be asked."""
    entries = []
    before = None
    while True:
        page = await rpc.signatures_for_address(payer, before, _PAGE)
        entries += [e for e in page if e.err is None]
        if len(page) < _PAGE:
            break
        before = page[-1].signature
    evidence = ChainEvidence()
    for at in range(0, len(entries), _READ_AT_ONCE):
        part = entries[at : at + _READ_AT_ONCE]
        landed = await rpc.transactions([e.signature for e in part], "finalized")
        for entry, transaction in zip(part, landed, strict=True):
            if transaction is None:
                _note(evidence, entry.slot, None)
            elif transaction.err is None:
                _note(evidence, transaction.slot, transaction.wire)
    return evidence


def _note(evidence: ChainEvidence, slot: int, wire: bytes | None) -> None:
    if wire is None:
        evidence.foreign += 1
        return
    try:
        memo = parse_memo(wire)
        value = decode(memo)
    except (MessageInvalid, PayloadInvalid):
        evidence.foreign += 1
        return
    node = Node(value.batch, COMMIT if isinstance(value, Commit) else value.chunk)
    evidence.finalized += 1
    evidence.transactions.setdefault(node, []).append(OnChain(slot, memo, True))


def root_differences(batches: list[PlainBatch], chain: ChainEvidence) -> list[str]:
    """Commits whose root or log size on chain is not the recomputed one."""
    wrong = []
    for batch in batches:
        found = chain.one(Node(batch.commit.batch))
        value = decode(found.memo) if found else None
        if not isinstance(value, Commit):
            continue
        if (value.root, value.log_size) != (batch.commit.root, batch.commit.log_size):
            wrong.append(f"batch {batch.commit.batch}")
    return wrong


def count_differences(batches: list[PlainBatch], chain: ChainEvidence) -> list[str]:
    """Nodes missing on chain, nodes nobody asked for, and memos whose numbers or deltas are not ours."""
    expected = expected_nodes(batches)
    wrong = [f"{node} is not on chain" for node in expected if not chain.transactions.get(node)]
    wrong += [f"{node} is on chain and in no batch" for node in chain.transactions if node not in expected]
    for node, memo in expected.items():
        for found in chain.transactions.get(node, []):
            if _without_root(found.memo) != _without_root(memo):
                wrong.append(f"{node} differs")
    return wrong


def _without_root(memo: bytes) -> object:
    """A memo's content but for root, log size and ordinals, which checks of their own look at."""
    value = decode(memo)
    if isinstance(value, Commit):
        return value._replace(root=b"", log_size=0, first=0, last=0)
    return value


def batch_differences(batches: list[PlainBatch], chain: ChainEvidence) -> list[str]:
    """Nodes that landed twice, and commits on chain that span other ordinals than ours.

    Ours cover the journal without gap or overlap; a commit that is missing is counted elsewhere.
    """
    wrong = [
        f"{node} landed {len(found)} times" for node, found in chain.transactions.items() if len(found) > 1
    ]
    for batch in batches:
        found = chain.transactions.get(Node(batch.commit.batch))
        value = decode(found[0].memo) if found else None
        if not isinstance(value, Commit):
            continue
        if (value.first, value.last) != (batch.commit.first, batch.commit.last):
            wrong.append(f"batch {value.batch} spans {value.first} to {value.last}")
    return wrong


def dag_differences(batches: list[PlainBatch], chain: ChainEvidence) -> list[str]:
    """Edges along which the child did not land in a later slot than its parent."""
    wrong = []
    for batch in batches:
        for child, parents in batch.parents.items():
            landed = chain.one(child)
            for parent in parents:
                before = chain.one(parent)
                if landed is not None and before is not None and landed.slot <= before.slot:
                    wrong.append(f"{child} in slot {landed.slot}, {parent} in slot {before.slot}")
    return wrong
