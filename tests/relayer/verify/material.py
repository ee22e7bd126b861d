"""Evidence of a small run: a journal of half an hour and one payment, and the chain it must have led to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from solders.hash import Hash
from solders.keypair import Keypair

from engine.core.apply import Machine
from engine.venue.simulator import Simulator
from kernels.frames import FRAME
from relayer.chain.messages import memo_message, parse_memo, sign
from relayer.chain.results import LandedTransaction, SignatureEntry
from relayer.core.graph import Node
from relayer.core.payload import Chunk, Commit, decode, encode_chunk, encode_commit
from relayer.signer.keyfile import KeyfileSigner
from relayer.verify.batches import PlainBatch, PlainBatches
from relayer.verify.books import Audit
from tests.engine.journal.material import Frames, append, open_writer

SECOND_NS = 10**9
HOUR_NS = 3600 * SECOND_NS
START_NS = 472_222 * HOUR_NS - 1300 * SECOND_NS
SECONDS = 1400
ROWS_PER_CHUNK = 4
SIGNER = KeyfileSigner(Keypair.from_seed(bytes([5] * 32)))
PAYER = str(SIGNER.public_key)
BLOCKHASH = str(Hash(bytes([7] * 32)))


@cache
def run_frames() -> Frames:
    """Two markets, eight accounts, a few fills every ten seconds, over a full hour; batches of a minute."""
    venue = Simulator(
        3, markets=2, accounts=8, observation_age_ns=60 * SECOND_NS, batch_window_ns=60 * SECOND_NS
    )
    parts = [venue.genesis(START_NS), venue.tick(START_NS), venue.register()]
    for second in range(1, SECONDS + 1):
        now_ns = START_NS + second * SECOND_NS
        if second % 10 == 0:
            parts.append(venue.step(now_ns, 3))
        parts.append(venue.tick(now_ns))
    return np.concatenate(parts).view(FRAME)


def write_journal(directory: Path) -> bytes:
    """The run as a journal at rest; the digest of the state of who wrote it."""
    machine = Machine()
    writer = open_writer(directory)
    append(writer, run_frames(), [200] * 100, machine)
    writer.close()
    return machine.state.digest()


def audited(directory: Path) -> tuple[Audit, PlainBatches]:
    """The journal recomputed, and not judged yet."""
    batches = PlainBatches(ROWS_PER_CHUNK)
    audit = Audit(directory, batches)
    audit.recompute()
    return audit, batches


@dataclass(frozen=True)
class Entry:
    """One transaction of a chain. err: what the node says went wrong."""

    slot: int
    wire: bytes
    err: object = None


def wire_of(memo: bytes) -> bytes:
    """A signed transaction with one memo."""
    return sign(memo_message(memo, SIGNER.public_key, BLOCKHASH), SIGNER).wire


class FakeChain:
    """Enough of an RpcClient to be read back: newest first, in pages, as a node tells its history."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self.pages = 0

    async def signatures_for_address(
        self, address: str, before: str | None = None, limit: int = 1000
    ) -> list[SignatureEntry]:
        """The page behind `before`."""
        assert address == PAYER
        self.pages += 1
        newest = range(len(self.entries) - 1 if before is None else int(before) - 1, -1, -1)
        return [
            SignatureEntry(str(k), self.entries[k].slot, self.entries[k].err, "finalized")
            for k in newest[:limit]
        ]

    async def transactions(self, signatures: list[str], commitment: str) -> list[LandedTransaction | None]:
        """Each by its number."""
        assert commitment == "finalized"
        found = [self.entries[int(s)] for s in signatures]
        return [LandedTransaction(e.slot, e.err, None, e.wire, 5000, None) for e in found]


Entries = dict[Node, Entry]


def settle(batches: list[PlainBatch]) -> Entries:
    """What a relayer without fault leaves on chain: each node once, in the slot after the last it waits for."""
    landed: Entries = {}
    for batch in batches:
        for node, memo in batch.payloads.items():
            slot = 1 + max((landed[p].slot for p in batch.parents[node]), default=0)
            landed[node] = Entry(slot, wire_of(memo))
    return landed


def altered(entries: Entries, node: Node, change: Callable[[Commit | Chunk], Commit | Chunk]) -> Entries:
    """The same chain with the memo of one node changed."""
    value = change(decode(parse_memo(entries[node].wire)))
    new = encode_commit(value) if isinstance(value, Commit) else encode_chunk(value)
    return entries | {node: replace(entries[node], wire=wire_of(new))}
