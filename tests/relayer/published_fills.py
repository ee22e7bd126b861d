"""A published log of fills with the relayer's record of it, as the relayer leaves them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from relayer.core.graph import Node
from relayer.core.leaf import LEAF
from relayer.core.lifecycle import State
from relayer.publisher import LOG, Publisher
from relayer.store import Signature, Store
from tests.relayer.core.fills import SIGNER, leaves_of

ORIGIN = "godark.test/log"
SHARD_LEAVES = 1024


def fills(count: int, first_seq: int = 1, source: int = 1) -> np.ndarray:
    """uint8[count, 112]: fills of one source, numbered from `first_seq`; trade id = 10 times the number."""
    leaves = leaves_of(count, seed=first_seq)
    rows = leaves.view(LEAF).reshape(-1)
    rows["seq"] = np.arange(first_seq, first_seq + count)
    rows["source"] = source
    rows["trade_id"] = 10 * rows["seq"]
    return leaves


def publish(data_dir: Path, batches: Sequence[np.ndarray], shard_leaves: int = SHARD_LEAVES) -> Path:
    """Publish and record these batches, numbered from 1; the folder of the shards."""
    directory = data_dir / "relayer" / LOG
    store = Store(data_dir / "relayer" / "store.sqlite")
    publisher = Publisher(directory, SIGNER, ORIGIN, shard_leaves=shard_leaves)
    shards = publisher.begin(store)
    for batch, leaves in enumerate(batches, 1):
        signed = publisher.write([(batch, shards.append(leaves))])
        with store.transaction():
            store.add_checkpoints(signed)
            store.plan(Node(batch), b"commit")
        publisher.announce(signed)
    store.close()
    return directory


def settle(data_dir: Path, batch: int, signatures: Sequence[str], slot: int) -> None:
    """Record these signatures for a batch's commit; final in that slot, or none yet where it is 0."""
    store = Store(data_dir / "relayer" / "store.sqlite")
    with store.transaction():
        store.add_signatures(
            Signature(name, Node(batch), b"wire", height) for height, name in enumerate(signatures)
        )
        store.set_states([(Node(batch), State.FINALIZED if slot else State.SIGNED, slot)])
    store.close()
